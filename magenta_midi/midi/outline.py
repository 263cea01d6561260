"""The outline of a piece: when its beats fall and its chords begin.

Times of an outline may lie in the past or in the future: a pianist knows the
beat and the chart before the notes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = ["NO_OUTLINE", "PLACES", "Outline"]

# Most beats of a bar.
PLACES = 8
_CLASSES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
  """Beats and chords, each in the order of time.

  Attributes:
    beat_ms: Time of each beat, ms.
    place: Its place in the bar, 0 is the first, below `PLACES`.
    meter: Beats of its bar, 1 to `PLACES`.
    chord_ms: When each chord begins, ms; it lasts until the next.
    root: Its root, 0 (C) to 11, -1 where there is no chord.
    bass: Its bass likewise.
    classes: Whether each pitch class, from C, belongs to it.
  """

  beat_ms: Float[np.ndarray, " n"]
  place: Int[np.ndarray, " n"]
  meter: Int[np.ndarray, " n"]
  chord_ms: Float[np.ndarray, " m"]
  root: Int[np.ndarray, " m"]
  bass: Int[np.ndarray, " m"]
  classes: Int[np.ndarray, "m 12"]

  @classmethod
  def of(
    cls,
    beats: Sequence[tuple[float | int, int, int]] = (),
    chords: Sequence[tuple[float | int, int, int, tuple[int, ...]]] = (),
  ) -> Outline:
    """An outline of rows.

    Args:
      beats: Time in ms, place in the bar from 0, beats of the bar.
      chords: Time in ms, root, bass, pitch classes; root -1: no chord.

    Raises:
      ValueError: A place, a bar, a root, a bass or a class is out of range, or
        a time is not finite or before the one above it.
    """
    at = np.array([row[0] for row in beats], float)
    place = np.array([row[1] for row in beats], np.int8)
    meter = np.array([row[2] for row in beats], np.int8)
    begins = np.array([row[0] for row in chords], float)
    root = np.array([row[1] for row in chords], np.int8)
    bass = np.array([row[2] for row in chords], np.int8)
    classes = np.zeros((len(chords), _CLASSES), np.int8)
    for index, row in enumerate(chords):
      if any(not 0 <= one < _CLASSES for one in row[3]):
        raise ValueError(f"pitch classes must be in 0..11, got {row[3]}.")
      classes[index, list(row[3])] = 1
    if np.any((meter < 1) | (meter > PLACES) | (place < 0) | (place >= meter)):
      raise ValueError(
        f"a bar must have 1..{PLACES} beats, and a beat lie inside its bar."
      )
    if np.any((root < -1) | (root >= _CLASSES) | (bass < -1)):
      raise ValueError("roots must be in 0..11, or -1 without a chord.")
    if np.any(bass >= _CLASSES):
      raise ValueError("basses must be in 0..11, or -1 without a chord.")
    for name, time in (("beats", at), ("chords", begins)):
      if not np.all(np.isfinite(time)) or np.any(np.diff(time) < 0):
        raise ValueError(f"{name} must be in the order of time.")
    return cls(at, place, meter, begins, root, bass, classes)

  def moved(
    self, *, by_ms: float | int = 0.0, tempo: float | int = 1.0, up: int = 0
  ) -> Outline:
    """The same beats and chords, later, at another tempo, transposed.

    Args:
      by_ms: Added to every time, after the tempo.
      tempo: Times are divided by it.
      up: Semitones.
    """
    is_chord = self.root >= 0

    def transposed(degree: np.ndarray) -> np.ndarray:
      return np.where(is_chord, (degree + up) % _CLASSES, -1).astype(np.int8)

    return Outline(
      self.beat_ms / tempo + by_ms,
      self.place,
      self.meter,
      self.chord_ms / tempo + by_ms,
      transposed(self.root),
      transposed(self.bass),
      np.roll(self.classes, up, axis=1),
    )

  def between(self, from_ms: float | int, until_ms: float | int) -> Outline:
    """Beats and chords of a stretch, with the chord that sounds first."""
    first, last = np.searchsorted(self.beat_ms, (from_ms, until_ms))
    sounds = int(np.searchsorted(self.chord_ms, from_ms, side="right")) - 1
    end = np.searchsorted(self.chord_ms, until_ms)
    n, m = slice(first, last), slice(max(0, sounds), end)
    return self._of(n, m)

  def without(self, *, beats: bool = False, chords: bool = False) -> Outline:
    """The same without beats, without chords, or without both."""
    return self._of(slice(0 if beats else None), slice(0 if chords else None))

  def _of(self, n: slice, m: slice) -> Outline:
    return Outline(
      self.beat_ms[n],
      self.place[n],
      self.meter[n],
      self.chord_ms[m],
      self.root[m],
      self.bass[m],
      self.classes[m],
    )


NO_OUTLINE = Outline.of()
