"""Scores from MIDI files and folders, and back."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.io.files import SUFFIXES, MidiFileError
from magenta_midi.midi.score import Score

__all__ = [
  "SUFFIXES",
  "MidiFileError",
  "read_folder",
  "read_score",
  "write_score",
]


def read_score(path: str | PathLike[str]) -> Score:
  """Reads a MIDI file; see `Score.from_file`."""
  return Score.from_file(path)


def read_folder(
  folder: str | PathLike[str],
) -> tuple[list[tuple[Path, Score]], list[tuple[Path, str]]]:
  """Reads every MIDI file in a folder and the folders inside it.

  Returns:
    The scores, and the files that were refused with the reason; both sorted
    by path.

  Raises:
    MidiFileError: The folder is not there.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise MidiFileError(f"{folder}: no such folder")
  scores, refused = [], []
  for path in sorted(folder.rglob("*")):
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
      continue
    try:
      scores.append((path, read_score(path)))
    except MidiFileError as error:
      refused.append((path, str(error).removeprefix(f"{path}: ")))
  return scores, refused


def write_score(
  score: Score, path: str | PathLike[str], *, bars: BarMap | None = None
) -> None:
  """Writes a MIDI file; see `Score.to_file`."""
  score.to_file(path, bars=bars)
