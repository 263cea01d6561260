"""`transcribe` through the command line."""

import json

import numpy as np
import pytest

import magenta_midi.transcribe.transcribe as module
from magenta_midi.audio.render import render
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import MissingModelError
from tests.support.command_line import refused, run, run_json
from tests.support.transcribing import RATE, SecondsAsNotes, write_sound

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")


@pytest.fixture
def seconds(monkeypatch):
  monkeypatch.setattr(module, "load_transcriber", SecondsAsNotes)


def test_each_file_becomes_a_midi_file(capsys, tmp_path, seconds):
  first, second = (
    write_sound(tmp_path / "a.wav"),
    write_sound(tmp_path / "b.c.flac", 5),
  )
  out = tmp_path / "new" / "midi"
  facts = run_json(capsys, "transcribe", first, second, "--out", out)
  assert len(Score.from_file(out / "a.mid")) == 3
  assert len(Score.from_file(out / "b.c.mid")) == 5
  assert [one["notes"] for one in facts["files"]] == [3, 5]
  assert facts["refused"] == []


def test_a_folder_keeps_its_folders(capsys, tmp_path, seconds):
  write_sound(tmp_path / "in" / "x" / "a.wav")
  write_sound(tmp_path / "in" / "y" / "a.ogg")
  (tmp_path / "in" / "notes.txt").write_text("no audio")
  out = tmp_path / "out"
  run_json(capsys, "transcribe", tmp_path / "in", "--out", out)
  found = sorted(out.rglob("*.*"))
  assert found == [out / "x" / "a.mid", out / "y" / "a.mid"]


def test_files_that_are_no_use_are_left_out_and_the_others_kept(
  capsys, tmp_path, seconds
):
  good, last = (
    write_sound(tmp_path / "good.wav"),
    write_sound(tmp_path / "last.wav"),
  )
  silent = write_sound(tmp_path / "silent.wav", level=0.0)
  text = tmp_path / "text.wav"
  text.write_text("no audio")
  nan = tmp_path / "nan.wav"
  soundfile.write(nan, np.full(RATE, np.nan), RATE, subtype="FLOAT")
  out = tmp_path / "out"
  code, printed, said = run(
    capsys, "transcribe", good, silent, text, nan, last, "--out", out, "--json"
  )
  assert code == 2
  assert sorted(out.iterdir()) == [out / "good.mid", out / "last.mid"]
  lines = said.strip().splitlines()
  assert len(lines) == 4
  assert "silent.wav: no notes were heard" in lines[0]
  assert "text.wav: not read as audio" in lines[1]
  assert "nan.wav: has a sample that is NaN" in lines[2]
  assert "3 of 5 files" in lines[3]
  facts = json.loads(printed.strip().splitlines()[-1])
  assert len(facts["files"]) == 2
  assert len(facts["refused"]) == 3


def test_one_file_that_is_no_use_is_one_line(capsys, tmp_path, seconds):
  (tmp_path / "a.mp3").write_bytes(b"none" * 99)
  said = refused(
    capsys, "transcribe", tmp_path / "a.mp3", "--out", tmp_path / "out"
  )
  assert "a.mp3: not read as audio" in said


def test_mistakes_are_found_before_any_work(capsys, tmp_path):
  a, b = (
    write_sound(tmp_path / "x" / "a.wav"),
    write_sound(tmp_path / "y" / "a.wav"),
  )
  out = tmp_path / "out"
  assert "would both become" in refused(
    capsys, "transcribe", a, b, "--out", out
  )
  assert "no such file" in refused(
    capsys, "transcribe", tmp_path / "no.wav", "--out", out
  )
  (tmp_path / "empty").mkdir()
  assert "holds no audio file" in refused(
    capsys, "transcribe", tmp_path / "empty", "--out", out
  )
  assert not out.exists()


@pytest.mark.parametrize("option", [[], ["--fast"]])
def test_absent_weights_are_one_line_with_the_command(
  capsys, tmp_path, monkeypatch, option
):
  from importlib import metadata

  def absent(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, "distribution", absent)
  said = refused(
    capsys,
    *(
      "transcribe",
      write_sound(tmp_path / "a.wav"),
      "--out",
      tmp_path,
      *option,
    ),
  )
  assert "pip install --no-deps" in said


def test_fast_from_sound_to_notes(capsys, tmp_path):
  pytest.importorskip("onnxruntime")
  score = Score.from_arrays(
    onset_s=[0.5, 1.5, 2.5],
    duration_s=[0.8, 0.8, 0.8],
    key=[60, 64, 67],
    velocity=[80, 80, 80],
  )
  render(score, tmp_path / "a.wav", engine="numpy")
  try:
    module.load_transcriber(fast=True)
  except MissingModelError as error:
    pytest.skip(str(error))
  run_json(
    capsys, "transcribe", tmp_path / "a.wav", "--fast", "--out", tmp_path
  )
  found = Score.from_file(tmp_path / "a.mid").notes
  for note in score.notes:
    near = np.abs(found["onset_s"] - note["onset_s"]) < 0.03
    assert note["key"] in found["key"][near]
