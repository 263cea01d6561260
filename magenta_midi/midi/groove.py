"""Grooves: how often notes are struck at each place of the beat."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from magenta_midi.limits import TIGHTNESS, split_number
from magenta_midi.midi.analysis.beat_model import (
  PLACES,
  STRAIGHT,
  TRIPLETS,
  measured_strikes,
)
from magenta_midi.typing import Float

__all__ = ["AUTO", "GROOVES", "Groove", "groove_named", "split_groove"]

# Straight or triplet, as the music is.
AUTO = "auto"
GROOVES = ("straight", "swing", "triplet", "rubato")
# Least density anywhere, of a mean of 1: what is rare stays possible.
_FLOOR = 0.05
# Ratio of the first to the second note of a swung pair, by tempo: soloists
# swing less the faster it is. After Friberg and Sundström, Music Perception
# 2002 (19), 333-349, figure 5, where drummers go from 3.5 to 1 and soloists
# stay below 2.
_SWING_BPM, _SWING_RATIO = (80.0, 140.0, 200.0, 300.0), (2.0, 1.8, 1.5, 1.15)


class Groove(NamedTuple):
  """Density of onsets by place in the beat.

  Attributes:
    name: One of `GROOVES`, or a player's `@NAME`.
    density: `[PLACES]`, its mean is 1; the first place is the beat.
  """

  name: str
  density: Float[np.ndarray, " q"]

  def log_density(self, place: Float[np.ndarray, " n"]) -> np.ndarray:
    """Logarithm of the density at places in beats (whole numbers: beats)."""
    at = np.asarray(place) % 1 * PLACES
    below = np.floor(at).astype(np.int64)
    share = at - below
    density = self.density[below % PLACES] * (1 - share)
    density = density + self.density[(below + 1) % PLACES] * share
    return np.log(np.maximum(density, _FLOOR))


def split_groove(text: str) -> tuple[str, float]:
  """Splits `NAME[:WEIGHT]`; without a weight it is 1.

  Raises:
    ValueError: The weight is not from 0 to 2.
  """
  name, weight = split_number(text)
  if weight is None:
    return name, 1.0
  return name, TIGHTNESS.check("the weight of a groove", weight)


def groove_named(name: str, bpm: float | int) -> Groove:
  """A groove by its name.

  Args:
    name: One of `GROOVES`; `rubato` prefers no place.
    bpm: Tempo: the faster, the straighter a swing is.

  Raises:
    ValueError: The name is unknown.
  """
  match name:
    case "straight":
      return Groove(name, _measured(STRAIGHT))
    case "triplet":
      return Groove(name, _measured(TRIPLETS))
    case "swing":
      ratio = float(np.interp(bpm, _SWING_BPM, _SWING_RATIO))
      return Groove(name, _swung(_measured(STRAIGHT), ratio))
    case "rubato":
      return Groove(name, np.ones(PLACES))
  raise ValueError(
    f"unknown groove {name!r}. Choose one of {', '.join(GROOVES)}."
  )


@functools.cache
def _measured(feel: int) -> np.ndarray:
  """Of POP909's songs of a feel, a little smoothed."""
  density = measured_strikes()[feel].sum(axis=0).mean(axis=0)
  density = density + 0.25 * (np.roll(density, 1) + np.roll(density, -1))
  return density / density.mean()


def _swung(straight: np.ndarray, ratio: float) -> np.ndarray:
  """The straight groove with its second half late."""
  half = ratio / (1 + ratio)
  place = np.arange(PLACES) / PLACES
  # The place in the straight beat that is played here.
  source = np.where(
    place < half, 0.5 * place / half, 0.5 + 0.5 * (place - half) / (1 - half)
  )
  density = np.interp(
    source * PLACES, np.arange(PLACES + 1), np.append(straight, straight[0])
  )
  return density / density.mean()
