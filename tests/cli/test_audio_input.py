"""Audio files where commands ask for MIDI."""

import numpy as np
import pytest

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import STYLE_ENTRY, tiny_styled_generator
from magenta_midi.transcribe import listener
from magenta_midi.transcribe.installed_file import MissingModelError
from tests.support.command_line import refused, run
from tests.support.transcribing import SecondsAsNotes, write_sound

pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("styled")
  model = tiny_styled_generator().model
  save_checkpoint(folder, model, codec={"name": "note"}, style=STYLE_ENTRY)
  return folder


@pytest.fixture(autouse=True)
def transcriber(monkeypatch, tmp_path):
  monkeypatch.setenv("MAGENTA_MIDI_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr(listener, "load_transcriber", SecondsAsNotes)


def succeeds(capsys, *args):
  code, out, err = run(capsys, *args)
  assert code == 0, err
  return out, err.strip().splitlines()


def test_a_context_may_be_sound_and_is_heard_once(capsys, tmp_path, checkpoint):
  context = write_sound(tmp_path / "take.wav", 12)
  generate = ("generate", "--seconds", 2, "--checkpoint", checkpoint)
  files = [tmp_path / "1.mid", tmp_path / "2.mid"]
  lines = [
    succeeds(capsys, *generate, "--context", context, "--out", out)[1]
    for out in files
  ]
  assert f"{context}: notes as seconds hears them" in lines[0]
  assert f"{context}: notes as seconds heard them before" in lines[1]
  assert files[0].read_bytes() == files[1].read_bytes()
  heard = Score.from_file(files[0]).notes
  for second in range(12):
    near = np.abs(heard["onset_s"] - second) < 0.01
    assert 60 + second in heard["key"][near]


def test_a_sound_under_another_name_is_known_and_another_sound_is_not(
  capsys, tmp_path
):
  first, other = (
    write_sound(tmp_path / "a.wav"),
    write_sound(tmp_path / "c.wav", 4),
  )
  copy = tmp_path / "b.wav"
  copy.write_bytes(first.read_bytes())
  said = []
  for path in (first, copy, other):
    said += succeeds(capsys, "tokenize", path)[1]
  assert ["before" in line for line in said] == [False, True, False]


def test_a_damaged_entry_of_the_cache_is_made_anew(capsys, tmp_path):
  path = write_sound(tmp_path / "a.wav")
  succeeds(capsys, "tokenize", path)
  (kept,) = (tmp_path / "cache" / "transcribed").iterdir()
  kept.write_bytes(b"damaged")
  assert "before" not in succeeds(capsys, "tokenize", path)[1][0]
  assert len(Score.from_file(kept)) == 3


def test_a_prompt_may_be_sound(capsys, tmp_path, checkpoint):
  sound = write_sound(tmp_path / "take.wav", 20)
  out, lines = succeeds(
    capsys, "style", sound, phrase_path(), "--checkpoint", checkpoint
  )
  assert "take.wav" in out
  assert f"{sound}: notes as seconds hears them" in lines
  _, lines = succeeds(
    capsys,
    *("generate", "--seconds", 2, "--checkpoint", checkpoint),
    *("--prompt", f"{sound}:2", "--prompt", "slow"),
    *("--out", tmp_path / "out.mid"),
  )
  assert f"{sound}: notes as seconds heard them before" in lines


def test_sound_that_is_no_use_and_absent_weights_are_one_line(
  capsys, tmp_path, checkpoint, monkeypatch
):
  bad = tmp_path / "bad.wav"
  bad.write_bytes(b"no audio")
  out = ("--out", tmp_path / "out.mid", "--checkpoint", checkpoint)
  generate = ("generate", "--seconds", 2, *out)
  for option in ("--context", "--prompt"):
    said = refused(capsys, *generate, option, bad)
    assert "bad.wav: not read as audio" in said

  def absent(fast=False):
    raise MissingModelError("get it with: pip install --no-deps transkun")

  monkeypatch.setattr(listener, "load_transcriber", absent)
  monkeypatch.setenv("MAGENTA_MIDI_CACHE", str(tmp_path / "other"))
  for option in ("--context", "--prompt"):
    sound = write_sound(tmp_path / "a.wav")
    assert "pip install" in refused(capsys, *generate, option, sound)
  assert not (tmp_path / "out.mid").exists()
