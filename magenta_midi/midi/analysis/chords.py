"""Chords by name: root and quality of what sounds together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.midi.analysis.analysis import PITCH_CLASSES
from magenta_midi.typing import Float, Int

__all__ = ["QUALITIES", "Chord", "chord_tones", "find_chord", "find_chords"]

# Semitones from the root up. Of equally good ones the earlier is taken.
QUALITIES = {
  "maj": (0, 4, 7),
  "min": (0, 3, 7),
  "7": (0, 4, 7, 10),
  "maj7": (0, 4, 7, 11),
  "min7": (0, 3, 7, 10),
  "m7b5": (0, 3, 6, 10),
  "dim7": (0, 3, 6, 9),
  "dim": (0, 3, 6),
  "aug": (0, 4, 8),
  "sus4": (0, 5, 7),
  "7sus4": (0, 5, 7, 10),
  "mMaj7": (0, 3, 7, 11),
  "6": (0, 4, 7, 9),
  "m6": (0, 3, 7, 9),
  "sus2": (0, 2, 7),
}

_SUFFIXES = {"maj": "", "min": "m", "min7": "m7"}

# Bonus for the root in the bass; a fit is at most 1. It is enough to separate
# C6 from Am7, which fit equally, and too little to turn G7 over B into Bdim.
_ROOT_IN_BASS = 0.01

# A pitch class that sounds three times as long counts twice: it matters more
# that a note is there than for how long.
_COMPRESSION = 0.6

_NAMES = tuple(QUALITIES)
# Row 12 q + r: quality q on root r.
_TONES = np.array(
  [
    [(tone - root) % 12 in intervals for tone in range(12)]
    for intervals in QUALITIES.values()
    for root in range(12)
  ]
)
_TEMPLATES = _TONES / np.sqrt(_TONES.sum(axis=1, keepdims=True))
# By bass, 12 for none.
_BONUS = np.vstack(
  [
    _ROOT_IN_BASS * (np.arange(len(_TONES)) % 12 == bass % 12) * (bass < 12)
    for bass in range(13)
  ]
)
# Rounding must not decide between chords that fit alike.
_PREFERENCE = np.arange(len(_TONES)) * -1e-9


class Chord(NamedTuple):
  """A chord and how well it fits."""

  root: int  # pitch class, C is 0
  quality: str  # one of QUALITIES
  score: float  # cosine with what sounds, at most 1; 0.01 more: root in bass

  @property
  def name(self) -> str:
    """Such as `Am7`; a major triad has no suffix."""
    suffix = _SUFFIXES.get(self.quality, self.quality)
    return f"{PITCH_CLASSES[self.root]}{suffix}"

  @property
  def pitch_classes(self) -> frozenset[int]:
    """Its tones, 0..11."""
    return frozenset(
      (self.root + interval) % 12 for interval in QUALITIES[self.quality]
    )


def find_chord(
  weights: Float[np.ndarray, " 12"], bass: int | None = None
) -> Chord:
  """The chord that fits best.

  Args:
    weights: How much of each pitch class there is, from C up; not negative.
    bass: Lowest key or its pitch class: tells C6 from Am7.

  Raises:
    ValueError: All weights are 0.
  """
  heard = weights**_COMPRESSION
  norm = np.sqrt(heard @ heard)
  if not norm > 0:
    raise ValueError(
      "a chord needs at least one pitch class that sounds, got weights of 0."
    )
  scores = _TEMPLATES @ heard
  scores /= norm
  if bass is not None:
    scores += _BONUS[bass % 12]
  best = int((scores + _PREFERENCE).argmax())
  return Chord(best % 12, _NAMES[best // 12], float(scores[best]))


def find_chords(
  weights: Float[np.ndarray, "n 12"], bass: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """As `find_chord`, for many at once.

  Args:
    weights: A row for each; a row of zeros is no chord.
    bass: Of each; negative for none.

  Returns:
    Numbers of chords, for `chord_tones`; -1 for none.
  """
  heard = weights**_COMPRESSION
  norm = np.sqrt((heard * heard).sum(axis=1))
  sounds = norm > 0
  heard /= np.where(sounds, norm, 1.0)[:, None]
  # Not `@`: the threads of BLAS would wait for each other while playing.
  scores = np.einsum("nk,qk->nq", heard, _TEMPLATES)
  scores += _BONUS[np.where(bass < 0, 12, bass % 12)]
  return np.where(sounds, (scores + _PREFERENCE).argmax(axis=1), -1)


def chord_tones(numbers: Int[np.ndarray, " n"]) -> np.ndarray:
  """Mask of the pitch classes of chords, bool `[n, 12]`; empty for -1."""
  return _TONES[numbers] & (numbers >= 0)[:, None]
