"""A player's groove, measured: where in the beat they strike, and how late.

Beats are tracked and smoothed, so that a beat is where the player's time goes
and not where their last note fell. Then strikes are counted by their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.midi.analysis.beat_model import PLACES, find_strikes
from magenta_midi.midi.analysis.beats import track_beats
from magenta_midi.midi.groove import Groove
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float

__all__ = ["PlayedGroove", "measure_groove"]

# Below this confidence a recording is free, and says nothing of a groove.
_SURE = 0.5
# Fewer strikes than these are no groove.
_FEWEST = 100
# Beats on each side that a smooth beat is fitted to.
_AROUND = 4
# Strikes so near to a sixteenth belong to it, as a share of a beat.
_NEAR = 0.08
# Notes between these places of the beat are its second half.
_HALF = (0.42, 0.75)
# A half this rare, as a share of all strikes, has no swing.
_RARE = 0.05


class PlayedGroove(NamedTuple):
  """What was measured.

  Attributes:
    density: `[PLACES]` strikes by their place in the beat; its mean is 1.
    swing: Length of the first half of a beat over that of the second, where
      halves are struck; 1: straight. None: they are not.
    late_ms: By how much strikes at the beat and at the three sixteenths after
      it come late, on average; negative: early; None: there are too few.
    bpm: Median tempo.
    strikes: How many were counted.
  """

  density: Float[np.ndarray, " q"]
  swing: float | None
  late_ms: tuple[float | None, ...]
  bpm: float
  strikes: int

  def groove(self, name: str) -> Groove:
    """The table under a name."""
    return Groove(name, self.density)

  def to_json(self) -> dict[str, Any]:
    """What a file keeps."""
    density = np.round(self.density, 4).tolist()
    return {
      **self._asdict(),
      "density": density,
      "late_ms": list(self.late_ms),
    }

  @classmethod
  def from_json(cls, stored: Any) -> PlayedGroove:
    """Reads what `to_json` wrote.

    Raises:
      ValueError: It is not that.
    """
    try:
      density = np.asarray(stored["density"], np.float64)
      late_ms = tuple(
        None if x is None else float(x) for x in stored["late_ms"]
      )
      swing = stored["swing"]
      found = cls(
        density,
        None if swing is None else float(swing),
        late_ms,
        float(stored["bpm"]),
        int(stored["strikes"]),
      )
    except (KeyError, TypeError, ValueError, OverflowError):
      raise ValueError("its groove is damaged.") from None
    if density.shape != (PLACES,) or not (
      np.isfinite(density).all() and density.min() >= 0 and density.max() > 0
    ):
      raise ValueError(f"its groove must be {PLACES} densities from 0 up.")
    return found._replace(density=density / density.mean())


def measure_groove(scores: Iterable[Score]) -> PlayedGroove | None:
  """Measures the groove of recordings; None: too little of them has a beat.

  Takes a second for three minutes of music.

  Args:
    scores: Of one player; those without a clear pulse are left out.
  """
  places, lates, periods = [], [], []
  for score in scores:
    beats = track_beats(score)
    if beats.confidence < _SURE or len(beats.time_s) < 2 * _AROUND:
      continue
    notes = score.merged().notes
    time_s = find_strikes(notes["onset_s"].astype(float), notes["key"]).time_s
    beat_s = _smooth(beats.time_s)
    at = np.interp(time_s, beat_s, np.arange(len(beat_s)), -1, -1)
    inside = at >= 0
    index = np.minimum(at[inside].astype(np.int64), len(beat_s) - 2)
    places.append(at[inside] - index)
    lates.append(np.diff(beat_s)[index])
    periods.append(np.diff(beat_s))
  if not places:
    return None
  place, period_s = np.concatenate(places), np.concatenate(lates)
  if len(place) < _FEWEST:
    return None
  return PlayedGroove(
    _density(place),
    _swing(place),
    tuple(_late_ms(place, period_s, quarter) for quarter in range(4)),
    float(60 / np.median(np.concatenate(periods))),
    len(place),
  )


def _smooth(beat_s: np.ndarray) -> np.ndarray:
  """Each beat on a line through those around it."""
  found = np.empty(len(beat_s))
  for index in range(len(beat_s)):
    first = max(0, min(index - _AROUND, len(beat_s) - 2 * _AROUND - 1))
    near = beat_s[first : first + 2 * _AROUND + 1]
    slope, at_s = np.polyfit(np.arange(len(near)) - (index - first), near, 1)
    del slope
    found[index] = at_s
  return np.maximum.accumulate(found)


def _density(place: np.ndarray) -> np.ndarray:
  bins = np.floor(place * PLACES + 0.5).astype(np.int64) % PLACES
  count = np.bincount(bins, minlength=PLACES).astype(np.float64)
  count += 0.25 * (np.roll(count, 1) + np.roll(count, -1))
  return count / count.mean()


def _swing(place: np.ndarray) -> float | None:
  second = place[(place > _HALF[0]) & (place < _HALF[1])]
  if len(second) < _RARE * len(place):
    return None
  # The middle of the densest tenth of a beat: triplets and sixteenths beside
  # it do not draw it away.
  ordered = np.sort(second)
  width = 0.1
  inside = np.searchsorted(ordered, ordered + width) - np.arange(len(ordered))
  first = int(inside.argmax())
  half = float(np.median(ordered[first : first + int(inside[first])]))
  return half / (1 - half)


def _late_ms(
  place: np.ndarray, period_s: np.ndarray, quarter: int
) -> float | None:
  off = (place - quarter / 4 + 0.5) % 1 - 0.5
  near = np.abs(off) < _NEAR
  if near.sum() < _RARE * len(place):
    return None
  return float(np.mean(off[near] * period_s[near]) * 1000)
