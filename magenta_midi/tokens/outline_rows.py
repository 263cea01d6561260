"""Outlines as input-only frames of the encoder: rows of a table, and a time.

A frame is a beat or a chord; its rows are summed. What is given is what a
player on a stage knows at *now*: the beats just gone and to come, the chord
that sounds and those that follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.midi.outline import Outline
from magenta_midi.typing import Int

__all__ = [
  "FRAMES",
  "FRAME_ROWS",
  "ROWS",
  "OutlineFrames",
  "no_frames",
  "outline_frames",
]

# Rows of the table; 0 is none.
ROWS = 64
_BEAT, _PLACE = 1, 2  # 2-9: place in the bar
_METERS = {2: 10, 3: 11, 4: 12, 6: 13}
_CHORD, _NO_CHORD = 20, 21
_ROOT, _BASS, _CLASS = 22, 34, 46

# Most rows of a frame: what it is, root, bass, five pitch classes.
FRAME_ROWS = 8
_MAX_BEATS, _MAX_CHORDS = 20, 12
# Frames of an outline.
FRAMES = _MAX_BEATS + _MAX_CHORDS
# In steps of 10 ms from *now*: beats that are given, the beats nearest to
# `_BEATS_AROUND` if they are too many, and chords.
_BEATS_FROM, _BEATS_UNTIL, _BEATS_AROUND = -300, 500, 100
_CHORDS_FROM, _CHORDS_UNTIL = -200, 800
# A chord that has sounded for longer began here.
_LONGEST_AGO = -1000
# Keys of frames: those of notes that have none (`model.rotary.MIDDLE_KEY`), and
# C3.
_NO_KEY, _LOWEST_ROOT = 64, 48
# A full chord of more notes is given without these first: the fifth says least.
_LEAST_TELLING = (7, 2, 9, 5, 6, 8)


class OutlineFrames(NamedTuple):
  """An outline as the encoder reads it; arrays may have leading axes."""

  rows: Int[np.ndarray, "*b p 8"]  # of the table; only 0: no frame
  time: Int[np.ndarray, "*b p"]  # 10 ms steps from *now*
  # Where a frame stands among keys: a chord's root from C3 on, else 64.
  key: Int[np.ndarray, "*b p"]


def no_frames(*leading: int) -> OutlineFrames:
  """Frames that tell nothing."""
  return OutlineFrames(
    np.zeros((*leading, FRAMES, FRAME_ROWS), np.int32),
    np.zeros((*leading, FRAMES), np.int32),
    np.full((*leading, FRAMES), _NO_KEY, np.int32),
  )


def outline_frames(
  outline: Outline, now_ms: float | int, step_ms: int
) -> OutlineFrames:
  """What is given of an outline at a moment.

  Args:
    outline: Beats and chords.
    now_ms: The moment, on the outline's clock.
    step_ms: Length of a step.

  Returns:
    Beats from 3 s back to 5 s ahead, at most 20; then the chord that sounds 2 s
    back and those up to 8 s ahead, at most 12. `FRAMES` in all.
  """
  frames = no_frames()
  rows, time, key = frames

  def steps(time_ms: np.ndarray) -> np.ndarray:
    return np.floor((time_ms - now_ms) / step_ms + 0.5).astype(np.int64)

  at = steps(outline.beat_ms)
  given = np.flatnonzero((at >= _BEATS_FROM) & (at < _BEATS_UNTIL))
  nearest = np.argsort(np.abs(at[given] - _BEATS_AROUND), kind="stable")
  given = np.sort(given[nearest[:_MAX_BEATS]])
  count = len(given)
  rows[:count, 0] = _BEAT
  rows[:count, 1] = _PLACE + outline.place[given]
  rows[:count, 2] = [_METERS.get(int(m), 0) for m in outline.meter[given]]
  time[:count] = at[given]

  at = steps(outline.chord_ms)
  first = max(0, int(np.searchsorted(at, _CHORDS_FROM, side="right")) - 1)
  last = int(np.searchsorted(at, _CHORDS_UNTIL))
  for index in range(first, min(last, first + _MAX_CHORDS)):
    rows[count] = _chord_rows(outline, index)
    time[count] = max(int(at[index]), _LONGEST_AGO)
    root = int(outline.root[index])
    key[count] = _NO_KEY if root < 0 else _LOWEST_ROOT + root
    count += 1
  return frames


def _chord_rows(outline: Outline, index: int) -> list[int]:
  """The rows of one chord."""
  root = int(outline.root[index])
  if root < 0:
    found = [_CHORD, _NO_CHORD]
  else:
    above = [int(c - root) % 12 for c in np.flatnonzero(outline.classes[index])]
    most = FRAME_ROWS - 3
    for degree in _LEAST_TELLING:
      if len(above) > most and degree in above:
        above.remove(degree)
    classes = [_CLASS + (root + degree) % 12 for degree in sorted(above)[:most]]
    found = [_CHORD, _ROOT + root, _BASS + int(outline.bass[index]), *classes]
  return found + [0] * (FRAME_ROWS - len(found))
