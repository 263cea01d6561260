"""The command line, on real files, with a checkpoint of drawn weights."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import mido
import numpy as np
import pytest

from magenta_midi.cli.main import COMMANDS
from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from tests.support.command_line import refused, run, run_json


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoint")
  save_checkpoint(
    folder, tiny_generator().model, codec={"name": "note", "settings": {}}
  )
  return folder


# What is for people alone prints no JSON.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"serve"}))
def test_help_gives_units_and_defaults(capsys, name):
  code, out, _ = run(capsys, name, "--help")
  assert code == 0
  assert "--json" in out


def test_tokenize(capsys, tmp_path):
  back = tmp_path / "back.mid"
  facts = run_json(capsys, "tokenize", phrase_path(), "--out", back)
  assert facts["codec"] == "note"
  assert facts["notes_in"] == facts["notes_out"] == len(Score.from_file(back))
  assert facts["onset_error_ms_max"] <= 5.0 + 1e-6
  assert facts["pedal_in"] == facts["pedal_out"] > 0
  assert facts["tokens"] == 4 * facts["frames"]


def test_generate_writes_context_then_music(capsys, tmp_path, checkpoint):
  out, wav, png = (tmp_path / f"o.{e}" for e in ("mid", "wav", "png"))
  facts = run_json(
    capsys,
    *("generate", "--seconds", 5, "--context", phrase_path()),
    *("--checkpoint", checkpoint, "--temperature", "1.2,1,1,1"),
    *("--out", out, "--wav", wav, "--plot", png),
  )
  assert facts["chunks"] == 3
  assert facts["seconds"] == 5.0
  score, given = Score.from_file(out), Score.from_file(phrase_path())
  own = score.notes["part"] == score.notes["part"].max()
  start = np.ceil(given.notes["onset_s"][-1] * 100) / 100
  if facts["notes"]:
    assert own.sum() == facts["notes"]
    assert score.notes["onset_s"][own].min() >= start - 1e-3
    assert score.notes["onset_s"][own].max() < start + 5.02
  assert len(score) == len(given) + facts["notes"]
  assert wav.stat().st_size > 100_000
  assert png.read_bytes()[:4] == b"\x89PNG"


def test_generate_keeps_the_pulse_of_a_context(capsys, tmp_path, checkpoint):
  beat_s = 0.3 + 0.6 * np.arange(24)
  onset_s = np.sort(np.concatenate([beat_s, beat_s, beat_s, beat_s + 0.3]))
  context = tmp_path / "context.mid"
  Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(96, 0.2),
    # The bass strikes the first beat of each bar.
    key=np.tile([40, 64, 67, 72] + [60, 64, 67, 72] * 3, 6),
    velocity=np.full(96, 70),
  ).to_file(context)
  asked = ("generate", "--seconds", 2, "--checkpoint", checkpoint)
  asked += ("--out", tmp_path / "out.mid")
  kept = run_json(capsys, *asked, "--context", context)
  assert kept["tempo"] == pytest.approx(100, abs=1)
  assert kept["groove"] == "straight"
  assert kept["tempo_confidence"] > 0.5
  free = run_json(capsys, *asked, "--context", context, "--free")
  assert free["tempo"] is None
  told = run_json(capsys, *asked, "--tempo", 90, "--groove", "swing")
  assert (told["tempo"], told["groove"]) == (pytest.approx(90), "swing")
  assert told["tempo_confidence"] is None
  assert "--tempo or --free" in refused(capsys, *asked, "--tempo", 90, "--free")


def test_the_file_has_bars_chords_and_count_in(capsys, tmp_path, checkpoint):
  out, wav = tmp_path / "out.mid", tmp_path / "out.wav"
  asked = ("generate", "--seconds", 4, "--checkpoint", checkpoint)
  asked += ("--out", out, "--chords", "| Dm7 | G7 |", "--tempo", 120)
  run_json(capsys, *asked, "--meter", "3/4")
  plain = Score.from_file(out)
  run_json(capsys, *asked, "--meter", "3/4", "--count-in", 2, "--wav", wav)
  # Two bars of three beats of half a second.
  counted = Score.from_file(out)
  np.testing.assert_allclose(
    counted.notes["onset_s"], plain.notes["onset_s"] + 3.0, atol=2e-4
  )
  assert counted.repairs.drums_left_out == 6
  kinds = {}
  for message in mido.merge_tracks(mido.MidiFile(out).tracks):
    kinds.setdefault(message.type, []).append(message)
  assert [m.text for m in kinds["marker"]] == ["Dm7", "G7", "Dm7"]
  assert mido.tempo2bpm(kinds["set_tempo"][0].tempo) == pytest.approx(120)
  meter = kinds["time_signature"][0]
  assert (meter.numerator, meter.denominator) == (3, 4)
  # The first click stands at the beginning of the sound.
  with wave.open(str(wav)) as file:
    start = np.frombuffer(file.readframes(4410), "<i2")
  assert np.abs(start).max() > 3000
  line = refused(capsys, *asked[:-4], "--count-in", 1)
  assert "--count-in needs a beat" in line


def test_the_comp_is_a_track_of_its_own(capsys, tmp_path, checkpoint):
  out = tmp_path / "out.mid"
  asked = ("generate", "--seconds", 4, "--checkpoint", checkpoint, "--comp")
  asked += ("--out", out, "--chords", "| C/E | N.C. |", "--tempo", 120)
  facts = run_json(capsys, *asked)
  score = Score.from_file(out)
  comp = score.select(score.part_names.index("comp")).notes
  assert len(score) == facts["notes"] + len(comp)
  assert comp["onset_s"].tolist() == pytest.approx(
    [0.0, 0.0, 0.0, 1.0, 1.0], abs=1e-4
  )
  assert comp["key"][0] % 12 == 4
  assert (comp["onset_s"] + comp["duration_s"]).max() <= 2.0
  assert "--comp plays a chart" in refused(
    capsys, *asked[:6], "--out", out, "--comp"
  )


def test_the_same_seed_gives_the_same_file(capsys, tmp_path, checkpoint):
  outs = []
  for name in ("a", "b"):
    outs.append(tmp_path / f"{name}.mid")
    run_json(
      capsys,
      *("generate", "--seconds", 4, "--seed", 3, "--checkpoint", checkpoint),
      *("--out", outs[-1]),
    )
  assert outs[0].read_bytes() == outs[1].read_bytes()


def test_render(capsys, tmp_path):
  facts = run_json(
    capsys,
    *("render", phrase_path(), "--wav", tmp_path / "a.wav"),
    *("--plot", tmp_path / "a.png", "--engine", "numpy"),
  )
  assert facts["engine"] == "numpy"
  assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.wav"]


def test_evaluate_lists_bad_files(capsys, tmp_path, checkpoint):
  (tmp_path / "good.mid").write_bytes(phrase_path().read_bytes())
  (tmp_path / "bad.mid").write_bytes(b"not MIDI")
  code, out, err = run(
    capsys, "evaluate", tmp_path, "--checkpoint", checkpoint, "--json"
  )
  assert code == 0, err
  facts = json.loads(out.strip().splitlines()[-1])
  assert facts["notes"] == len(Score.from_file(phrase_path()))
  parts = sum(facts["levels"].values()) + facts["pedal"] + facts["end"]
  assert parts == pytest.approx(facts["nats_per_note"])
  assert "bad.mid" in err


def test_train_then_generate(capsys, tmp_path):
  data = tmp_path / "data"
  data.mkdir()
  for index, name in enumerate(("prelude", "elise", "gymnopedie")):
    (data / f"{index}.mid").write_bytes(phrase_path(name).read_bytes())
  (tmp_path / "data.csv").write_text(
    "path,split\n0.mid,train\n1.mid,train\n2.mid,valid\n"
  )
  facts = run_json(
    capsys,
    *("train", "--data", f"{data}:1.0", "--preset", "tiny", "--steps", 2),
    *("--out", tmp_path / "run"),
  )
  assert facts["held_out"]["pieces"] == 1
  assert (tmp_path / "run" / "loss.png").exists()
  made = run_json(
    capsys,
    *("generate", "--seconds", 2, "--checkpoint", facts["checkpoint"]),
    *("--out", tmp_path / "x.mid"),
  )
  assert made["checkpoint"] == facts["checkpoint"]


def test_ctrl_c_saves_and_the_same_command_continues(tmp_path):
  data = tmp_path / "data"
  data.mkdir()
  for name in ("prelude", "elise", "gymnopedie"):
    (data / f"{name}.mid").write_bytes(phrase_path(name).read_bytes())
  out = tmp_path / "run"
  command = [
    *(sys.executable, "-m", "magenta_midi.cli.main", "train"),
    *("--data", str(data), "--preset", "tiny", "--steps", "100000"),
    *("--out", str(out)),
  ]
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  try:
    while not (out / "log.jsonl").exists():
      assert process.poll() is None
      time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
  finally:
    process.kill()
  assert process.returncode == 130
  assert "the same command continues" in err
  config = json.loads((out / "checkpoint" / "config.json").read_text())
  assert config["notes"]["step"] >= 20
  assert not config["notes"]["finished"]


def test_info(capsys, checkpoint):
  facts = run_json(capsys, "info", "--checkpoint", checkpoint)
  assert facts["model"]["levels"] == 4
  assert facts["device"]


def test_mistakes_are_one_line_and_write_nothing(capsys, tmp_path, checkpoint):
  out = tmp_path / "out.mid"
  phrase = phrase_path()
  generate = ("generate", "--out", out, "--checkpoint", checkpoint)
  silent = tmp_path / "silent.mid"
  Score.empty().to_file(silent)
  broken = tmp_path / "broken.mid"
  broken.write_bytes(phrase.read_bytes()[:40])
  (tmp_path / "text.mid").write_text("no music")

  cases = [
    (("tokenize", phrase, "--codec", "nope"), "note"),
    (("tokenize", tmp_path / "absent.mid"), "no such file"),
    (("tokenize", silent), "holds no notes"),
    (("tokenize", tmp_path / "text.mid"), "text.mid"),
    ((*generate, "--seconds", 0), "--seconds must be a number above 0"),
    ((*generate, "--seconds", "nan"), "--seconds must be a number above 0"),
    ((*generate, "--seconds", 2, "--context", silent), "holds no notes"),
    ((*generate, "--seconds", 2, "--context", "absent.mid"), "no such file"),
    ((*generate, "--seconds", 2, "--prompt", "absent.mid"), "no such file"),
    ((*generate, "--seconds", 2, "--prompt", "calm:-1"), "weight"),
    (
      (*generate, "--seconds", 2, "--top-p", "2"),
      "--top-p must be a number above 0",
    ),
    (
      (*generate, "--seconds", 2, "--temperature", "hot"),
      "--temperature must be a number from 0 to 10, got 'hot'",
    ),
    ((*generate, "--seconds", 2, "--adapter", "me"), "no adapter"),
    (
      (*generate, "--seconds", 2, "--seed", -1),
      "--seed must be a whole number from 0",
    ),
    (
      ("generate", "--seconds", 2, "--out", out, "--checkpoint", tmp_path),
      "no checkpoint there",
    ),
    (("generate", "--seconds", 2, "--out", tmp_path), "is a folder"),
    (("generate", "--out", out), "--seconds"),
    ((*generate, "--seconds", 2, "--tempo", 0), "--tempo must be a number"),
    ((*generate, "--seconds", 2, "--groove", "polka"), "--groove"),
    (("evaluate", tmp_path / "absent"), "no such file or folder"),
    (("train", "--data", tmp_path / "absent"), "no such folder"),
    (
      ("train", "--data", phrase.parent, "--preset", "huge", "--steps", 1),
      "unknown preset",
    ),
    (("render", phrase), "nothing to write"),
    (("bench", "--events", 1), "--events must be a whole number from 2"),
    (("bench", "--config", "nonsense"), "v1-59m"),
    (
      ("bench", "--config", "tiny", "--checkpoint", checkpoint),
      "--checkpoint and --config exclude each other",
    ),
    (("bench", "--guidance", "nan"), "--guidance must be a number from 0 to 8"),
    (
      # The default's value, but given.
      ("bench", "--config", "v1-59m", "--events", 25),
      "--events does not apply to --config v1-59m",
    ),
    (
      ("bench", "--config", "v1-59m", "--guidance", 3),
      "--guidance does not apply to --config v1-59m",
    ),
    (("nonsense",), "nonsense"),
  ]
  for args, message in cases:
    assert message in refused(capsys, *args), args
  assert not out.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_work(capsys, tmp_path):
  tmp_path.chmod(0o500)
  line = refused(
    capsys, "generate", "--seconds", 2, "--out", tmp_path / "a" / "x.mid"
  )
  assert "cannot be written" in line


def test_a_file_in_the_way_of_the_folder_is_refused(capsys, tmp_path):
  (tmp_path / "file").write_text("")
  line = refused(
    capsys, "generate", "--seconds", 2, "--out", tmp_path / "file" / "x.mid"
  )
  assert "cannot be written" in line


def test_a_light_start():
  """Help and MIDI alone import no JAX."""
  code = (
    "import sys, magenta_midi.cli.main, magenta_midi;"
    "magenta_midi.Score;"
    "sys.exit(any(m in sys.modules for m in ('jax', 'flax', 'matplotlib')))"
  )
  done = subprocess.run([sys.executable, "-c", code], check=False)
  assert done.returncode == 0
  assert Path(__file__).exists()
