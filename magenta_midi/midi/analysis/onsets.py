"""Struck chords, the input of the measures of rhythm and texture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.midi.analysis.analysis import onset_groups
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int

__all__ = ["Onsets", "find_onsets", "melody_and_below"]

# Notes looked back on for one that still sounds.
_BACK = 24

# A key let go so soon after the next is struck was legato.
_LEGATO_S = 0.06


class Onsets(NamedTuple):
  """The chords of a piece in order; a single note is a chord too."""

  time_s: Float[np.ndarray, " n"]  # of its first note, from 0
  first: Int[np.ndarray, " n"]  # its first note's number
  notes: Int[np.ndarray, " n"]  # how many notes it has
  lowest: Int[np.ndarray, " n"]  # key
  highest: Int[np.ndarray, " n"]  # key
  velocity: Float[np.ndarray, " n"]  # mean
  chord: Int[np.ndarray, " k"]  # of each note: the chord it belongs to


def find_onsets(score: Score) -> Onsets:
  """The chords of all parts, as if played on one piano."""
  score = score.merged()
  notes, chord = score.notes, onset_groups(score)
  first = np.flatnonzero(np.diff(chord, prepend=-1))
  if not len(first):
    none = np.empty(0, np.int64)
    return Onsets(np.empty(0), none, none, none, none, np.empty(0), none)
  key = notes["key"].astype(np.int64)
  count = np.diff(first, append=len(notes))
  return Onsets(
    # Rounded: a later start must not tip what lies on an edge.
    time_s=np.round(notes["onset_s"][first] - notes["onset_s"][0], 6),
    first=first,
    notes=count,
    lowest=np.minimum.reduceat(key, first),
    highest=np.maximum.reduceat(key, first),
    velocity=np.add.reduceat(notes["velocity"].astype(float), first) / count,
    chord=chord,
  )


def melody_and_below(
  notes: np.ndarray, onsets: Onsets
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " l"]]:
  """Chords with a melody note, and chords with a note below the melody.

  A note is below where a higher key is struck with it or still held. In a
  chord, the highest key is the melody's and the lowest the one below.

  Args:
    notes: All of one part, of `NOTE_DTYPE`.
    onsets: Theirs.

  Returns:
    Numbers of chords; of some chords both.
  """
  if not len(notes):
    return np.empty(0, np.int64), np.empty(0, np.int64)
  key, onset_s = notes["key"], notes["onset_s"]
  end_s = onset_s + notes["duration_s"]
  back = min(_BACK, len(notes) - 1)
  # Padded, so that row i of the windows is the `back` notes before note i.
  end_s = np.append(np.full(back, -np.inf), end_s[:-1])
  earlier = np.append(np.zeros(back, key.dtype), key[:-1])
  window = np.lib.stride_tricks.sliding_window_view
  below = np.zeros(len(notes), bool)
  if back:
    held = window(end_s, back) > (onset_s + _LEGATO_S)[:, None]
    below = (held & (window(earlier, back) > key[:, None])).any(axis=1)
  below |= key < onsets.highest[onsets.chord]
  count = np.add.reduceat(below.astype(np.int64), onsets.first)
  return np.flatnonzero(count < onsets.notes), np.flatnonzero(count)
