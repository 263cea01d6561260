"""Notes from posteriors of onsets and of sounding keys, as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from magenta_midi.limits import COUNT, SHARE
from magenta_midi.settings import check_bounds
from magenta_midi.typing import Float

__all__ = ["NoteTracker", "TrackedNote", "TrackerConfig"]


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
  """When a note begins and ends.

  The defaults are for basic-pitch's network, chosen on four renders of held-out
  music that no figure is taken from.
  """

  # Least posterior of an onset, which must also be a maximum in time.
  onset: float | int = 0.6
  # Least posterior of a key that sounds.
  sounding: float | int = 0.2
  # A note has ended after this many frames below `sounding`.
  patience: int = 8
  # Shorter notes are left out, frames.
  shortest: int = 4

  def __post_init__(self) -> None:
    """Refuses what no posterior and no length can be."""
    check_bounds(self, SHARE, "onset", "sounding")
    check_bounds(self, COUNT, "patience", "shortest")


class TrackedNote(NamedTuple):
  """A note on the clock of the frames.

  Attributes:
    onset: Frames from the first one, with a fraction.
    offset: Likewise.
    row: Column of the posteriors.
    level: Greatest level of its key in its first frames, as given.
  """

  onset: float
  offset: float
  row: int
  level: float


# Frames in which a note reaches its level: 80 ms.
_FIRST_FRAMES = 7


class NoteTracker:
  """Follows all keys at once, frame by frame; memory does not grow.

  A note begins at a maximum of its onset's posterior, placed between frames by
  the parabola through the maximum and its neighbours. It ends before the
  frames in which the key no longer sounds, or where its key begins again.
  """

  def __init__(self, rows: int, config: TrackerConfig | None = None):
    self._config = config or TrackerConfig()
    # The two newest frames: whether one is a maximum shows in the next.
    self._onset = np.zeros((2, rows))
    self._sounding = np.zeros((2, rows))
    self._level = np.zeros((2, rows))
    self._frame = -2  # of the older one
    self._active = np.zeros(rows, bool)
    self._begin = np.zeros(rows)
    self._begin_frame = np.zeros(rows, int)
    self._last = np.zeros(rows, int)  # last frame that sounds
    self._loudest = np.zeros(rows)

  def feed(
    self,
    onset: Float[np.ndarray, "t k"],
    sounding: Float[np.ndarray, "t k"],
    level: Float[np.ndarray, "t k"],
  ) -> list[TrackedNote]:
    """Takes the next frames.

    Args:
      onset: Posterior that a key begins in a frame, 0..1.
      sounding: Posterior that it sounds.
      level: How loud it is, in any unit from 0 up.

    Returns:
      The notes that have ended, in the order of their ends.
    """
    notes: list[TrackedNote] = []
    held = (self._onset, self._sounding, self._level)
    for following in zip(onset, sounding, level, strict=True):
      self._step(following[0], notes)
      for pair, new in zip(held, following, strict=True):
        pair[0], pair[1] = pair[1], new
      self._frame += 1
    return notes

  def finish(self) -> list[TrackedNote]:
    """Ends what still sounds, after the last frames."""
    silence = np.zeros((2, len(self._active)))
    notes = self.feed(silence, silence, silence)
    for row in np.flatnonzero(self._active):
      self._end(int(row), float(self._last[row] + 1), notes)
    return notes

  def _step(self, following: np.ndarray, notes: list[TrackedNote]) -> None:
    """Decides on the newer of the two frames, before `following`."""
    before, onset = self._onset
    sounding, frame = self._sounding[1], self._frame + 1
    config = self._config
    peaks = (onset >= config.onset) & (onset > before) & (onset >= following)
    active = self._active
    if not active.any() and not peaks.any():
      return
    for row in np.flatnonzero(peaks):
      around = (before[row], onset[row], following[row])
      place = frame + _vertex(*map(float, around))
      if active[row]:
        self._end(int(row), min(float(self._last[row] + 1), place), notes)
      self._active[row] = True
      self._begin[row], self._begin_frame[row] = place, frame
      self._last[row] = frame
      self._loudest[row] = 0.0
    first = active & (frame - self._begin_frame < _FIRST_FRAMES)
    self._loudest[first] = np.maximum(
      self._loudest[first], self._level[1][first]
    )
    self._last[active & (sounding >= config.sounding)] = frame
    for row in np.flatnonzero(active & (frame - self._last >= config.patience)):
      self._end(int(row), float(self._last[row] + 1), notes)

  def _end(self, row: int, offset: float, notes: list[TrackedNote]) -> None:
    self._active[row] = False
    if self._last[row] - self._begin_frame[row] + 1 < self._config.shortest:
      return
    notes.append(
      TrackedNote(
        onset=float(self._begin[row]),
        offset=offset,
        row=row,
        level=float(self._loudest[row]),
      )
    )


def _vertex(left: float, middle: float, right: float) -> float:
  """Place of a parabola's maximum from its middle point, -0.5..0.5."""
  bend = left - 2 * middle + right
  if bend >= 0:
    return 0.0
  return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
