"""`style`, and style and controls in `generate`, through the command line."""

import json

import numpy as np
import pytest

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.testing import (
  STYLE_ENTRY,
  tiny_generator,
  tiny_styled_generator,
)
from magenta_midi.transcribe import listener
from tests.support.command_line import refused, run
from tests.support.transcribing import SecondsAsNotes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("styled")
  model = tiny_styled_generator().model
  save_checkpoint(folder, model, codec={"name": "note"}, style=STYLE_ENTRY)
  return folder


@pytest.fixture(scope="module")
def deaf(tmp_path_factory):
  """A checkpoint that hears neither style nor controls."""
  folder = tmp_path_factory.mktemp("plain")
  save_checkpoint(folder, tiny_generator().model, codec={"name": "note"})
  return folder


@pytest.fixture
def cache(monkeypatch, tmp_path):
  monkeypatch.setenv("MAGENTA_MIDI_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


@pytest.fixture
def music(tmp_path):
  folder = tmp_path / "music"
  folder.mkdir()
  for name in ("prelude", "elise", "gymnopedie"):
    (folder / f"{name}.mid").write_bytes(phrase_path(name).read_bytes())
  (folder / "bad.mid").write_bytes(b"not MIDI")
  return folder


def run_json(capsys, *args):
  code, out, err = run(capsys, *args, "--json")
  assert code == 0, err
  return json.loads(out.strip().splitlines()[-1]), out, err


def test_all_are_compared_with_all(capsys, checkpoint):
  names = ["slow ballad", "busy loud stride", str(phrase_path("elise"))]
  facts, out, _ = run_json(capsys, "style", *names, "--checkpoint", checkpoint)
  assert facts["model"] == "descriptors"
  model = DescriptorStyle()
  vectors = [model.embed(name) for name in names]
  cosine = np.array(facts["cosine"])
  np.testing.assert_allclose(cosine, np.inner(vectors, vectors), atol=1e-5)
  for told, vector in zip(facts["prompts"], vectors, strict=True):
    assert told["tokens"] == model.tokenize(vector).tolist()
    assert not told["means_nothing"]
    assert " ".join(map(str, told["tokens"][:2])) in out
  table = "".join(out.splitlines()[:-1])
  assert "elise.mid" in table
  assert str(phrase_path("elise").parent) not in table


def test_a_folder_is_ranked_and_the_second_time_known(
  capsys, checkpoint, music, cache
):
  query = ("style", "slow ballad", "--nearest", music)
  found = []
  for _ in range(2):
    facts, out, err = run_json(capsys, *query, "--checkpoint", checkpoint)
    assert "bad.mid: left out" in err
    assert "gymnopedie.mid" in out
    found.append(facts)
  assert [facts["cached"] for facts in found] == [0, 3]
  assert found[0]["nearest"] == found[1]["nearest"]
  cosines = [file["cosine"] for file in found[0]["nearest"]]
  assert cosines == sorted(cosines, reverse=True)
  assert found[0]["nearest"][0]["file"].endswith("gymnopedie.mid")
  assert found[0]["files"] == 3
  assert (cache / "style.sqlite").is_file()
  facts, _, _ = run_json(capsys, *query, "--top", 1, "--checkpoint", checkpoint)
  assert len(facts["nearest"]) == 1


def test_a_text_that_means_nothing_is_said(
  capsys, monkeypatch, checkpoint, tmp_path
):
  neutral = DescriptorStyle().embed("slow")
  monkeypatch.setattr(DescriptorStyle, "neutral", neutral, raising=False)
  monkeypatch.setattr(
    DescriptorStyle, "understands", lambda self, text: text != "slow"
  )
  facts, _, err = run_json(
    capsys, "style", "slow", "loud", "--checkpoint", checkpoint
  )
  assert [told["means_nothing"] for told in facts["prompts"]] == [True, False]
  assert facts["prompts"][0]["neutral"] == pytest.approx(1.0, abs=1e-5)
  assert "'slow' says nothing" in err
  _, _, err = run_json(
    capsys,
    *("generate", "--seconds", 2, "--prompt", "slow", "--prompt", "loud:2"),
    *("--checkpoint", checkpoint, "--out", tmp_path / "out.mid"),
  )
  assert "'slow' says nothing" in err


@pytest.mark.parametrize("options", [(), ("--guidance", 3)])
def test_a_text_that_means_nothing_steers_nothing(
  capsys, checkpoint, tmp_path, options
):
  """The notes are those without a prompt; with another, those of the other."""

  def notes(*prompts):
    facts, score, err = generated(
      capsys,
      tmp_path,
      checkpoint,
      *(part for text in prompts for part in ("--prompt", text)),
      *("--seed", 5, *options),
    )
    return score.notes, facts["guidance"], err

  plain, guidance, err = notes()
  assert guidance == 0.0 and "says nothing" not in err
  for nonsense in ("쿠쿠루 삥뽕", "猫の餌:3", "qwxz"):
    same, guidance, err = notes(nonsense)
    np.testing.assert_array_equal(same, plain)
    assert guidance == 0.0
    [line] = [line for line in err.splitlines() if "says nothing" in line]
    assert line.startswith(repr(nonsense.removesuffix(":3")))
  slow, _, _ = notes("느리게")
  assert len(slow) != len(plain) or (slow != plain).any()
  both, guidance, err = notes("느리게", "쿠쿠루 삥뽕:9")
  np.testing.assert_array_equal(both, slow)
  assert guidance > 0
  assert "'쿠쿠루 삥뽕' says nothing" in err
  # Only a weight of 0 is left.
  same, guidance, _ = notes("slow:0", "쿠쿠루 삥뽕")
  np.testing.assert_array_equal(same, plain)
  assert guidance == 0.0


def generated(capsys, tmp_path, checkpoint, *args):
  out = tmp_path / "out.mid"
  facts, _, err = run_json(
    capsys,
    *("generate", "--seconds", 4, "--checkpoint", checkpoint, "--out", out),
    *args,
  )
  return facts, Score.from_file(out), err


def test_what_is_asked_is_guided_unless_switched_off(
  capsys, tmp_path, checkpoint
):
  for args, guidance in (
    ((), 0.0),
    (("--prompt", "slow ballad:2"), 1.5),
    (("--density", 4, "--loudness", 60, "--pedal", 0.5), 0.75),
    (("--prompt", "slow", "--guidance", 0), 0.0),
    (("--prompt", "slow", "--guidance", 3), 3.0),
  ):
    facts, _, err = generated(capsys, tmp_path, checkpoint, *args)
    assert facts["guidance"] == guidance
    assert "note:" not in err


def test_a_register_holds_and_the_rest_is_told(capsys, tmp_path, deaf):
  args = ("--register", "48-72", "--density", 4, "--temperature", "1.5")
  facts, score, err = generated(capsys, tmp_path, deaf, *args)
  key = score.notes["key"]
  assert ((key >= 48) & (key <= 72)).all()
  notes = [line for line in err.splitlines() if line.startswith("note:")]
  assert len(notes) == 1
  assert "without controls; of them only --register holds" in notes[0]
  assert facts["guidance"] == 0.0


def test_mistakes_are_one_line_and_write_nothing(
  capsys, tmp_path, checkpoint, music, cache, monkeypatch
):
  monkeypatch.setattr(listener, "load_transcriber", SecondsAsNotes)
  out = tmp_path / "out.mid"
  silent, one, sound = (
    tmp_path / name for name in ("silent.mid", "one.mid", "sound.wav")
  )
  Score.empty().to_file(silent)
  Score.from_arrays(
    onset_s=np.zeros(1), duration_s=np.ones(1), key=[60], velocity=[70]
  ).to_file(one)
  sound.write_bytes(b"no audio")
  (tmp_path / "empty").mkdir()
  prompts = [
    ((" ",), "is empty"),
    (("",), "is empty"),
    ((":2",), "is empty"),
    (("slow " * 2000,), "at most 2000 characters long, got 9999"),
    (("calm:-1", "loud"), "the weight must be a number from 0 to"),
    (("calm:nan",), "got nan"),
    (("calm:inf",), "got inf"),
    (("calm:0", "loud:0"), "all weights are 0"),
    ((silent,), "silent.mid: holds no notes"),
    ((one,), "one.mid: "),
    ((tmp_path / "absent.mid",), "no such file"),
    ((music / "bad.mid",), "bad.mid"),
    ((sound,), "sound.wav: not read as audio"),
    ((tmp_path / "absent.mp3",), "absent.mp3: no such file"),
  ]
  generate = ("generate", "--seconds", 2, "--out", out)
  for given, message in prompts:
    as_options = [part for text in given for part in ("--prompt", text)]
    for args in (("style", *given), (*generate, *as_options)):
      line = refused(capsys, *args, "--checkpoint", checkpoint)
      assert message in line, args
  cases = [
    (("style", "медленная баллада"), "known word, got 'медленная баллада'"),
    (
      ("style", "猫", "--nearest", music),
      "prompts that say nothing about music",
    ),
    (
      (*generate, "--density", -1),
      "--density must be a number from 0 to 1000 (notes a second), got -1",
    ),
    (
      (*generate, "--density", "nan"),
      "--density must be a number from 0 to 1000 (notes a second), got nan",
    ),
    (
      (*generate, "--loudness", 200),
      "--loudness must be a number from 1 to 127",
    ),
    ((*generate, "--register", "72"), "expected two MIDI keys, as 48-72"),
    ((*generate, "--register", "72-48"), "Give the lower first"),
    (
      (*generate, "--register", "48-200"),
      "the highest key must be a number from 0",
    ),
    ((*generate, "--pedal", 2), "--pedal must be a number from 0 to 1, got 2"),
    (
      (*generate, "--guidance", "nan"),
      "--guidance must be a number from 0 to 8",
    ),
    (("style",), "Missing argument"),
    (("style", "slow", "--nearest", tmp_path / "absent"), "no such folder"),
    (("style", "slow", "--nearest", tmp_path / "empty"), "holds no MIDI files"),
    (("style", "slow", "--top", 0), "--top"),
  ]
  for args, message in cases:
    assert message in refused(capsys, *args, "--checkpoint", checkpoint), args
  assert not out.exists()


@pytest.mark.usefixtures("cache")
def test_a_folder_of_bad_files_is_refused(capsys, tmp_path, checkpoint):
  (tmp_path / "bad").mkdir()
  (tmp_path / "bad" / "bad.mid").write_bytes(b"not MIDI")
  code, _, err = run(
    capsys,
    *("style", "slow", "--nearest", tmp_path / "bad"),
    *("--checkpoint", checkpoint),
  )
  assert code == 2
  assert "none of its MIDI files could be read" in err.splitlines()[-1]


def test_replay_hears_prompts_and_plays_again(capsys, tmp_path, checkpoint):
  out, again = tmp_path / "out.mid", tmp_path / "again.mid"
  folder = tmp_path / "duet"
  model = tiny_styled_generator(parts=9).model
  save_checkpoint(folder, model, codec={"name": "note"}, style=STYLE_ENTRY)
  facts, _, _ = run_json(
    capsys,
    *("replay", phrase_path("gymnopedie"), "--seconds", 12, "--out", out),
    *("--mode", "simultaneous", "--checkpoint", folder),
    *("--prompt", "slow:2", "--prompt", "loud", "--control", "density=3"),
  )
  assert facts["compiles_while_playing"] == 0
  session = json.loads(out.with_suffix(".json").read_text())
  assert any(entry[0] == "s" and entry[1] for entry in session["trace"])
  run_json(capsys, "replay", out.with_suffix(".json"), "--out", again)
  assert again.read_bytes() == out.read_bytes()
