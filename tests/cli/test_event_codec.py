"""The `event` codec on the command line, and codecs that cannot be played."""

import pytest

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.event.codec import EventCodec
from tests.support.command_line import refused, run, run_json


def test_tokenize(capsys, tmp_path):
  back = tmp_path / "back.mid"
  facts = run_json(
    capsys, "tokenize", phrase_path(), "--codec", "event", "--out", back
  )
  assert facts["codec"] == "event"
  assert facts["vocab_size"] == 500
  assert facts["tokens"] == facts["frames"] > facts["chunks"] > 0
  assert 20 < facts["tokens_per_2s"] < 200
  assert facts["notes_in"] == facts["notes_out"] == len(Score.from_file(back))
  assert facts["onset_error_ms_max"] <= 5.0 + 1e-6
  assert facts["pedal_in"] == facts["pedal_out"] > 0
  assert facts["merged"] == 0


@pytest.mark.slow
def test_train_generate_and_evaluate(capsys, tmp_path):
  data = tmp_path / "data"
  data.mkdir()
  for index, name in enumerate(("prelude", "elise", "gymnopedie")):
    (data / f"{index}.mid").write_bytes(phrase_path(name).read_bytes())
  (tmp_path / "data.csv").write_text(
    "path,split\n0.mid,train\n1.mid,train\n2.mid,valid\n"
  )
  trained = run_json(
    capsys,
    *("train", "--data", data, "--codec", "event", "--preset", "tiny"),
    *("--steps", 2, "--out", tmp_path / "run"),
  )
  assert list(trained["held_out"]["levels"]) == [
    *("time_shift", "note_on", "velocity", "note_off")
  ]
  checkpoint = ("--checkpoint", trained["checkpoint"])
  out = tmp_path / "x.mid"
  made = run_json(
    capsys,
    *("generate", "--seconds", 4, "--context", phrase_path(), "--out", out),
    *("--top-p", "0.9", *checkpoint),
  )
  assert len(Score.from_file(out)) == (
    len(Score.from_file(phrase_path())) + made["notes"]
  )
  scored = run_json(capsys, "evaluate", data / "2.mid", *checkpoint)
  parts = sum(scored["levels"].values()) + scored["pedal"] + scored["end"]
  assert parts == pytest.approx(scored["nats_per_note"])
  # The run is one of this codec: it cannot go on with another.
  code, _, err = run(
    capsys,
    *("train", "--data", data, "--preset", "tiny", "--steps", 2),
    *("--out", tmp_path / "run"),
  )
  assert code == 2 and "holds a run with other settings" in err


def test_a_checkpoint_of_audio_tokens_is_refused(capsys, tmp_path):
  model = tiny_generator().model
  settings = {"levels": 16, "frames_per_s": 25}
  out = tmp_path / "out.mid"
  for name, expected in (
    ("spectrostream", "a Magenta RealTime checkpoint, for export-t5x"),
    ("remi", "another kind"),
  ):
    folder = tmp_path / name
    save_checkpoint(folder, model, codec={"name": name, "settings": settings})
    # Found before the weights, which may be gigabytes, are read.
    (folder / "weights.safetensors").unlink()
    for command in (
      ("generate", "--seconds", 2, "--out", out),
      ("evaluate", phrase_path()),
    ):
      line = refused(capsys, *command, "--checkpoint", folder)
      assert expected in line
      assert "this command plays MIDI codecs (event, note)" in line
  assert not out.exists()


def test_a_codec_that_does_not_fit_its_model_is_refused(capsys, tmp_path):
  model = tiny_generator(codec=EventCodec()).model
  cases = (
    ({"name": "note", "settings": {}}, "its model has levels of"),
    ({"name": "event", "settings": {"bins": 3}}, "settings of codec 'event'"),
    ({"settings": {}}, "codec.name must be a string, got null"),
  )
  for codec, expected in cases:
    save_checkpoint(tmp_path, model, codec=codec)
    assert expected in refused(
      capsys,
      *("generate", "--seconds", 2, "--out", tmp_path / "x.mid"),
      *("--checkpoint", tmp_path),
    )
