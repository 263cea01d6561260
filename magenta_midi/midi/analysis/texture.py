"""Measures of texture: chords, figures, melody and bass.

Everything is a share of what is struck, 0..1; several may be high at once.
"""

from __future__ import annotations

import numpy as np

from magenta_midi.midi.analysis.chords import QUALITIES
from magenta_midi.midi.analysis.onsets import (
  Onsets,
  find_onsets,
  melody_and_below,
)
from magenta_midi.midi.score import Score
from magenta_midi.typing import Int

__all__ = [
  "accompaniment",
  "arpeggio",
  "chord_share",
  "runs",
  "single_line",
  "stride",
]

_CHORD_NOTES = 3
# Legato: keys overlap for so long, or half of the time between the notes,
# and it is still one line.
_LEGATO_S = 0.1
_ROUNDING_S = 1e-6
# Figures: time and semitones from note to note.
_RUN_S = 0.35
_BROKEN_S = 0.6
_LEAP, _WIDEST = 3, 16
_UNEVEN = 2.2  # longest of three intervals to the shortest
# Least shares, near a chord, of the chords with melody and of those with
# either melody or notes below, and of the notes that are below.
_MELODY, _APART, _BELOW = 0.15, 0.2, 0.15
_NEAR = 4  # chords on either side
# Stride: semitones from bass to chord, time from bass to bass, how far off
# the middle the chord may be, and ratio of one such time to the next.
_STRIDE = 7
_STRIDE_S = (0.3, 2.4)
_HALF_WAY = 0.12
_STEADY = 1.35


def _parts(score: Score) -> tuple[Onsets, np.ndarray, np.ndarray]:
  score = score.merged()
  onsets = find_onsets(score)
  return onsets, *melody_and_below(score.notes, onsets)


def _chord_masks() -> np.ndarray:
  inside = np.zeros(4096, bool)
  masks = np.arange(4096)
  for name, tones in QUALITIES.items():
    if name in ("sus2", "6", "m6"):
      continue
    for root in range(12):
      chord = sum(1 << (root + tone) % 12 for tone in tones)
      inside |= masks & ~chord == 0
  several = np.array([bin(mask).count("1") >= 3 for mask in masks])
  return inside & several


# Whether pitch classes, as bits, are three or more of one chord.
_IN_CHORD = _chord_masks()


def chord_share(score: Score) -> float:
  """Share of notes struck with two others or more."""
  return share_in_chords(find_onsets(score))


def single_line(score: Score) -> float:
  """Share of onsets of one note with no other held."""
  return share_alone(score.merged().notes, find_onsets(score))


def arpeggio(score: Score) -> float:
  """Share of onsets in broken chords, Alberti bass included."""
  return share_broken(*_parts(score))


def runs(score: Score) -> float:
  """Share of onsets in scales: four notes or more by step, one way, fast."""
  return share_in_scales(*_parts(score))


def accompaniment(score: Score) -> float:
  """Share of onsets where a melody goes above notes of another rhythm."""
  return share_accompanied(*_parts(score))


def stride(score: Score) -> float:
  """Share of the time with a low bass and higher chords by turns."""
  return share_of_stride(find_onsets(score))


def share_in_chords(onsets: Onsets) -> float:
  """See `chord_share`."""
  full = onsets.notes >= _CHORD_NOTES
  return float(onsets.notes[full].sum() / max(onsets.notes.sum(), 1))


def share_alone(notes: np.ndarray, onsets: Onsets) -> float:
  """See `single_line`."""
  if not len(notes):
    return 0.0
  end_s = np.maximum.accumulate(notes["onset_s"] + notes["duration_s"])
  held_until_s = np.append(-np.inf, end_s[onsets.first[1:] - 1])
  room_s = np.append(np.diff(onsets.time_s), np.inf)
  legato_s = np.minimum(_LEGATO_S, 0.5 * room_s)
  late_s = held_until_s - notes["onset_s"][onsets.first]
  alone = (onsets.notes == 1) & (late_s <= legato_s + _ROUNDING_S)
  return float(alone.mean())


def share_broken(
  onsets: Onsets, melody: Int[np.ndarray, " m"], below: Int[np.ndarray, " l"]
) -> float:
  """See `arpeggio`; `melody` and `below` are `melody_and_below`."""
  marked = np.zeros(len(onsets.time_s), bool)
  for chord, key in _voices(onsets, melody, below):
    gap_s = np.diff(onsets.time_s[chord])
    leap = np.abs(np.diff(key))
    fine = (gap_s < _BROKEN_S) & (leap >= _LEAP) & (leap <= _WIDEST)
    fine = fine[:-2] & fine[1:-1] & fine[2:]
    three = np.stack([gap_s[:-2], gap_s[1:-1], gap_s[2:]])
    fine &= three.max(axis=0) < _UNEVEN * three.min(axis=0)
    bit = np.left_shift(1, key % 12)
    fine &= _IN_CHORD[bit[:-3] | bit[1:-2] | bit[2:-1] | bit[3:]]
    _mark(marked, chord, fine)
  return float(marked.mean()) if len(marked) else 0.0


def share_in_scales(
  onsets: Onsets, melody: Int[np.ndarray, " m"], below: Int[np.ndarray, " l"]
) -> float:
  """See `runs`; `melody` and `below` are `melody_and_below`."""
  marked = np.zeros(len(onsets.time_s), bool)
  for chord, key in _voices(onsets, melody, below):
    step = np.diff(key)
    fine = (np.diff(onsets.time_s[chord]) < _RUN_S) & (np.abs(step) <= 2)
    up, down = fine & (step > 0), fine & (step < 0)
    fine = (up[:-2] & up[1:-1] & up[2:]) | (down[:-2] & down[1:-1] & down[2:])
    _mark(marked, chord, fine)
  return float(marked.mean()) if len(marked) else 0.0


def share_accompanied(
  onsets: Onsets, melody: Int[np.ndarray, " m"], below: Int[np.ndarray, " l"]
) -> float:
  """See `accompaniment`; `melody` and `below` are `melody_and_below`."""
  n = len(onsets.time_s)
  if not n:
    return 0.0
  has_melody, has_below = np.zeros((2, n), bool)
  has_melody[melody] = has_below[below] = True
  lower = np.where(has_below, onsets.notes - has_melody, 0)
  flags = (has_melody, has_melody != has_below, lower, onsets.notes)
  total = np.zeros((4, n + 1))
  np.cumsum(np.stack(flags), axis=1, out=total[:, 1:])
  start = np.maximum(np.arange(n) - _NEAR, 0)
  end = np.minimum(np.arange(n) + _NEAR + 1, n)
  with_melody, with_one, under, notes = total[:, end] - total[:, start]
  near = end - start
  fine = (with_melody > _MELODY * near) & (with_one > _APART * near)
  return float((fine & (under > _BELOW * notes)).mean())


def share_of_stride(onsets: Onsets) -> float:
  """See `stride`."""
  if len(onsets.time_s) < 5:
    return 0.0
  low = onsets.lowest
  step = np.diff(low)
  bass = np.flatnonzero(
    np.append(True, step <= -_STRIDE) & np.append(step >= _STRIDE, True)
  )
  if len(bass) < 3:
    return 0.0
  # Under a melody the chords are below their neighbours as well.
  step = np.diff(low[bass])
  chord = np.append(True, step >= _STRIDE) & np.append(step <= -_STRIDE, True)
  return max(_share_between(onsets, bass), _share_between(onsets, bass[~chord]))


def _share_between(onsets: Onsets, bass: np.ndarray) -> float:
  """Share of the time between bass notes with a chord half way."""
  time_s = onsets.time_s
  if len(bass) < 3:
    return 0.0
  from_s, to_s = time_s[bass[:-1]], time_s[bass[1:]]
  span_s = to_s - from_s
  middle_s = (from_s + to_s) / 2
  after = np.minimum(np.searchsorted(time_s, middle_s), len(time_s) - 1)
  before = np.maximum(after - 1, 0)
  nearer = middle_s - time_s[before] < time_s[after] - middle_s
  chord = np.where(nearer, before, after)
  fine = (
    (np.abs(time_s[chord] - middle_s) < _HALF_WAY * span_s)
    & (onsets.notes[chord] >= _CHORD_NOTES)
    & (onsets.lowest[chord] >= onsets.lowest[bass[:-1]] + _STRIDE)
    & (span_s > _STRIDE_S[0])
    & (span_s < _STRIDE_S[1])
  )
  # Once is nothing; it goes on, in time.
  ratio = span_s[1:] / span_s[:-1]
  on = fine[1:] & fine[:-1] & (ratio < _STEADY) & (ratio > 1 / _STEADY)
  fine = np.append(on, False) | np.append(False, on)
  return float(span_s[fine].sum() / (time_s[-1] - time_s[0]))


def _voices(
  onsets: Onsets, melody: np.ndarray, below: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Top of all, melody and bottom, of 4 notes or more: (chords, keys)."""
  voices = [
    (np.arange(len(onsets.time_s)), onsets.highest),
    (melody, onsets.highest[melody]),
    (below, onsets.lowest[below]),
  ]
  return [(chord, key) for chord, key in voices if len(chord) >= 4]


def _mark(marked: np.ndarray, chord: np.ndarray, fours: np.ndarray) -> None:
  """Marks the chords of each four in a voice, by its first's number."""
  at = np.flatnonzero(fours)
  for offset in range(4):
    marked[chord[at + offset]] = True
