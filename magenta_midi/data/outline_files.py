"""Beats and chords beside a MIDI file: `NAME.beats` and `NAME.lab`.

`NAME.beats` has a line for each beat: its time in seconds and its place in the
bar, from 1. `NAME.lab` has a line for each chord: begin and end in seconds, and
a symbol as in `C:min7` or `N`. Both are as in MIREX's collections; columns are
parted by spaces or tabs, further ones are left out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from magenta_midi.bounded_files import read_text
from magenta_midi.data.pieces import packed_times
from magenta_midi.midi.harmony.chord_symbols import parse_chord
from magenta_midi.midi.outline import PLACES, Outline
from magenta_midi.midi.score import Score
from magenta_midi.plain_text import line

__all__ = [
  "OutlineFileError",
  "has_outline",
  "outline_paths",
  "read_outline",
  "read_packed_outline",
]

# Times in files beyond this are errors.
_MOST_S = 100 * 3600.0


class OutlineFileError(ValueError):
  """A file of beats or chords that cannot be read; one line, with the place."""


def outline_paths(midi_file: Path) -> tuple[Path, Path]:
  """Where a file's beats and chords would be."""
  return midi_file.with_suffix(".beats"), midi_file.with_suffix(".lab")


def has_outline(midi_file: Path) -> bool:
  """Whether there are beats or chords beside a file."""
  return any(path.is_file() for path in outline_paths(midi_file))


def read_packed_outline(midi_file: Path, score: Score) -> Outline | None:
  """Beats and chords of a file on the clock of its packed piece.

  Args:
    midi_file: The file.
    score: What was read from it.

  Raises:
    OutlineFileError: A line is not as it should be.
    OSError: A file cannot be read.
  """
  outline = read_outline(midi_file)
  if outline is None:
    return None
  beat_ms, chord_ms = (
    np.maximum.accumulate(packed_times(score, time_ms / 1000))
    for time_ms in (outline.beat_ms, outline.chord_ms)
  )
  return dataclasses.replace(outline, beat_ms=beat_ms, chord_ms=chord_ms)


def read_outline(midi_file: Path) -> Outline | None:
  """Beats and chords of a file, in its own time; None: there are none.

  Raises:
    OutlineFileError: A line is not as it should be.
    OSError: A file cannot be read.
  """
  beats, chords = outline_paths(midi_file)
  if not has_outline(midi_file):
    return None
  return Outline.of(
    _beats(beats) if beats.is_file() else [],
    _chords(chords) if chords.is_file() else [],
  )


def _beats(path: Path) -> list[tuple[float, int, int]]:
  rows = []
  for where, (time, place, *_) in _rows(path, 2):
    try:
      number = int(float(place))
    except ValueError:
      number = 0
    if not 1 <= number <= PLACES:
      raise OutlineFileError(
        f"{where}: a beat's place in its bar must be in 1..{PLACES}, got"
        f" {line(place, longest=20)}."
      )
    rows.append((_time(where, time), number - 1))
  _check_order(path, [time for time, _ in rows])
  return [(*row, meter) for row, meter in zip(rows, _meters(rows), strict=True)]


def _meters(rows: list[tuple[float, int]]) -> list[int]:
  """Beats of each beat's bar: one more than its last place."""
  place = np.array([place for _, place in rows], int)
  if not len(place):
    return []
  bar = np.cumsum(np.diff(place, prepend=-1) <= 0)
  last = np.zeros(bar[-1] + 1, int)
  np.maximum.at(last, bar, place)
  # The first and the last bar may be cut off.
  usual = int(np.median(last[1:-1])) if len(last) > 2 else int(last.max())
  last[[0, -1]] = np.maximum(last[[0, -1]], usual)
  return (last[bar] + 1).tolist()


def _chords(path: Path) -> list[tuple[float, int, int, tuple[int, ...]]]:
  found: list[tuple[float, int, int, tuple[int, ...]]] = []
  for where, (begin, _, symbol, *_) in _rows(path, 3):
    try:
      chord = parse_chord(symbol)
    except ValueError as error:
      raise OutlineFileError(f"{where}: {error}") from None
    if chord.root is None or chord.bass is None:
      root, bass, classes = -1, -1, ()
    else:
      root, bass = chord.root, chord.bass
      classes = tuple(sorted(chord.classes))
    row = (_time(where, begin), root, bass, classes)
    # A chord that is written for each bar begins once.
    if not found or found[-1][1:] != row[1:]:
      found.append(row)
  _check_order(path, [time for time, *_ in found])
  return found


def _rows(path: Path, columns: int) -> list[tuple[str, list[str]]]:
  """Each line that is not empty: where it is, and its columns."""
  found = []
  for number, text in enumerate(read_text(path).splitlines(), 1):
    words = text.split()
    if not words:
      continue
    where = f"{path}, line {number}"
    if len(words) < columns:
      raise OutlineFileError(
        f"{where}: expected {columns} columns, got {len(words)}."
      )
    found.append((where, words))
  return found


def _time(where: str, text: str) -> float:
  """A time, ms."""
  try:
    time_s = float(text)
  except ValueError:
    time_s = np.nan
  if not abs(time_s) < _MOST_S:
    raise OutlineFileError(
      f"{where}: expected a time in seconds, got {line(text, longest=20)}."
    )
  return 1000 * time_s


def _check_order(path: Path, time_ms: list[float]) -> None:
  if np.any(np.diff(time_ms) < 0):
    raise OutlineFileError(f"{path}: its lines must be in the order of time.")
