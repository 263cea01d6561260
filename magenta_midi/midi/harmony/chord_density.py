"""How often each pitch class is struck over a chord.

Measured over the chords of POP909 (`chord_density.json`), by quality, on beats
and between them, in the bass and above. A quality that never came there is made
of those that are like it, from its pitch classes.
"""

from __future__ import annotations

import functools
import importlib.resources
import json

import numpy as np

from magenta_midi.midi.harmony.chord_symbols import ChordSymbol
from magenta_midi.typing import Bool, Float

__all__ = [
  "BASS_BELOW",
  "OFF_BEAT",
  "ON_BEAT",
  "blended_density",
  "chord_density",
  "measured_densities",
  "register_of_keys",
]

# Keys below are the bass's register, about an octave below middle C.
BASS_BELOW = 48
ON_BEAT, OFF_BEAT = 0, 1
# Of what the root would have in the bass, how much it keeps where another bass
# is asked for; measured likewise.
_ROOT_KEEPS = 0.2
# exp(-_UNLIKE * n): weight of a quality that has n other pitch classes.
_UNLIKE = 1.0


def register_of_keys() -> Bool[np.ndarray, " 128"]:
  """Whether each key lies above the bass's register."""
  return np.arange(128) >= BASS_BELOW


@functools.lru_cache(maxsize=512)
def chord_density(chord: ChordSymbol) -> Float[np.ndarray, "2 2 12"]:
  """Density of pitch classes over a chord.

  In the bass's register the chord's bass takes the place of the root.

  Returns:
    By place (`ON_BEAT`, `OFF_BEAT`), register (bass, above) and pitch class
    from C up; the mean over pitch classes is 1. No chord: 1 everywhere. Not to
    be written to.
  """
  density = np.ones((2, 2, 12))
  if chord.root is not None and chord.bass is not None and chord.classes:
    intervals = tuple(sorted(chord.intervals))
    measured = measured_densities().get(intervals)
    if measured is None:
      measured = blended_density(intervals, measured_densities())
    density = measured.copy()
    low = (chord.bass - chord.root) % 12
    if low:
      root = density[:, 0, 0].copy()
      density[:, 0, 0] = _ROOT_KEEPS * root + density[:, 0, low]
      density[:, 0, low] = (1 - _ROOT_KEEPS) * root
    density = np.roll(density, chord.root, axis=2)
  density.setflags(write=False)
  return density


def blended_density(
  intervals: tuple[int, ...],
  measured: dict[tuple[int, ...], np.ndarray],
) -> Float[np.ndarray, "2 2 12"]:
  """What a quality would have, by those that are like it.

  Each interval is taken from the qualities that have it too if it belongs to
  the chord, else from those that do not; the more alike ones weigh more.

  Args:
    intervals: Semitones over the root of a quality that is not measured.
    measured: As of `measured_densities`.
  """
  asked = set(intervals)
  found = np.zeros((2, 2, 12))
  tones = []
  for interval in range(12):
    weights = {
      quality: np.exp(-_UNLIKE * len(asked.symmetric_difference(quality)))
      for quality in measured
      if (interval in quality) == (interval in asked)
    }
    if weights:
      total = sum(weights.values())
      found[:, :, interval] = sum(
        weight / total * measured[quality][:, :, interval]
        for quality, weight in weights.items()
      )
    else:
      tones.append(interval)
  # A tension that no measured quality has: as often as the other upper tones.
  upper = [x for x in asked if x not in (0, *tones)]
  for interval in tones:
    found[:, :, interval] = (
      found[:, :, upper].mean(axis=2) if upper else found.max(axis=2)
    )
  return found / found.mean(axis=2, keepdims=True)


@functools.cache
def measured_densities() -> dict[tuple[int, ...], np.ndarray]:
  """By the sorted semitones over the root: `[place, register, 12]`, mean 1."""
  text = (
    importlib.resources.files("magenta_midi.midi.harmony")
    .joinpath("chord_density.json")
    .read_text(encoding="utf-8")
  )
  return {
    tuple(map(int, quality.split())): np.array(density)
    for quality, density in json.loads(text).items()
  }
