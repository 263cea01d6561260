"""How likely struck notes are at each place of a bar, at each tempo.

A hidden Markov model of a pianist's pulse. Its state is a tempo, a place in the
bar and a feel (straight or triplet). In steps of 20 ms the place moves on; the
tempo may change at each beat, a little more easily than much. Notes are a
Poisson process whose rate depends on the place in the bar: beats are struck
more often than what lies between, the first beat by the bass. These rates were
measured (`beat_tables.json`).

Source: the bar pointer of Whiteley, Cemgil and Godsill, ISMIR 2006, with the
tempo changes of Krebs, Böck and Widmer, ISMIR 2015; here on MIDI notes.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from typing import NamedTuple

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = [
  "BEATS_PER_BAR",
  "KINDS",
  "PLACES",
  "STEP_S",
  "BeatModel",
  "STRAIGHT",
  "TOGETHER_S",
  "TRIPLETS",
  "USUAL_LOW",
  "Strikes",
  "beat_model",
  "find_strikes",
  "measured_strikes",
  "sureness",
  "usual_low",
]

STEP_S = 0.02
# Times within a step that have rates of their own: 5 ms each.
PARTS_OF_STEP = 4
BEATS_PER_BAR = 4
# Feels, the first axis of the tables.
STRAIGHT, TRIPLETS = 0, 1
# Places in a beat of the tables, and kinds of strikes: without and with the
# bass, of one note, two, or more.
PLACES, KINDS = 48, 6
# Beats from 0.3 s to 1.2 s: 200 to 50 a minute.
_PERIODS = np.arange(15, 61)
# The usual tempo and its spread, as a natural logarithm; of POP909.
_USUAL_S, _SPREAD = 0.68, 0.4
# exp(-_STEADY * |log ratio|): how unlikely a change of tempo at a beat is.
_STEADY = 150.0
# Hands are no clocks: standard deviation in s.
_JITTER_S = 0.018
# Least rate anywhere, as a share of the mean: grace notes, rolled chords.
_FLOOR = 0.15
# Notes of one moment depend on one another; so each says less.
_WEIGHT = 0.6
# Notes closer than this are one strike.
TOGETHER_S = 0.03
# Key around which the lowest notes lie before anything is heard; the bass lies
# so many semitones below where they usually do.
USUAL_LOW = 55.0
_BELOW, _FORGET = 2, 0.05
# Mean logarithm of how much likelier strikes were where they came than at any
# place. Of 30 pop songs whose beats are found it is 0.6 to 1.8, where they are
# not 0.4 to 0.9, of free piano rolls -0.3 to 0.1, of jazz in time 0.1 to 0.8.
_HALF_SURE, _TURN = 0.35, 0.1


class Strikes(NamedTuple):
  """Notes struck together, in order."""

  time_s: Float[np.ndarray, " n"]  # mean of their onsets
  kind: Int[np.ndarray, " n"]  # 0..KINDS - 1


def find_strikes(
  onset_s: Float[np.ndarray, " n"],
  key: Int[np.ndarray, " n"],
  *,
  low: float = USUAL_LOW,
) -> Strikes:
  """Joins notes to strikes; what is to come changes nothing before it.

  Args:
    onset_s: Ascending, in seconds.
    key: MIDI keys.
    low: Key around which the lowest notes lay before the first.
  """
  if not len(onset_s):
    return Strikes(np.empty(0), np.empty(0, np.int64))
  first = np.flatnonzero(np.diff(onset_s, prepend=-np.inf) > TOGETHER_S)
  count = np.diff(np.append(first, len(onset_s)))
  lowest = np.minimum.reduceat(key.astype(np.int64), first)
  usual = np.empty(len(first))
  for index, key_below in enumerate(lowest.tolist()):
    low = usual_low(low, key_below)
    usual[index] = low
  bass = lowest < usual - _BELOW
  return Strikes(
    np.add.reduceat(onset_s, first) / count,
    bass * 3 + np.minimum(count - 1, 2),
  )


def usual_low(before: float, lowest: int) -> float:
  """Key around which the lowest notes lie, after one more strike."""
  return before + _FORGET * (lowest - before)


def sureness(gain: float) -> float:
  """Confidence in a pulse, 0 to 1.

  Args:
    gain: Mean logarithm of how much likelier strikes are where they came than
      at any place of the same tempo.
  """
  return 1 / (1 + math.exp(-(gain - _HALF_SURE) / _TURN))


class BeatModel:
  """States and their rates.

  Arrays are `[f, b, p]`: feel, beat of the bar, place. On the last axis the
  places of all tempos follow one another.

  Args:
    tables: `[f, KINDS, BEATS_PER_BAR, PLACES]` strikes of a kind in one place
      of one beat, on average.

  Attributes:
    period: int `[m]` steps of a beat, of each tempo.
    first: int `[m]` index of a tempo's first place.
    last: int `[m]` index of its last place.
    phase: `[p]` place in the beat, 0..1.
    change: `[m, m]` probability of each change of tempo at a beat.
    prior: Probability of each state before anything is heard.
    period_of: int `[p]` steps of a beat.
    quiet: Logarithm of the likelihood of a step without notes.
    quiet_likelihood: The likelihood itself.
  """

  def __init__(self, tables: Float[np.ndarray, "f c b q"]):
    feels = len(tables)
    self.period = _PERIODS
    self.last = np.cumsum(_PERIODS) - 1
    self.first = self.last - _PERIODS + 1
    self.phase = np.concatenate([np.arange(n) / n for n in _PERIODS])
    ratio = np.log(_PERIODS[:, None] / _PERIODS[None])
    change = np.exp(-_STEADY * np.abs(ratio))
    self.change = change / change.sum(axis=1, keepdims=True)
    usual = np.exp(-0.5 * (np.log(_PERIODS * STEP_S / _USUAL_S) / _SPREAD) ** 2)
    prior = np.repeat(usual / _PERIODS, _PERIODS)
    shape = (feels, BEATS_PER_BAR, len(self.phase))
    self.prior = np.broadcast_to(prior / (prior.sum() * feels * 4), shape)
    rates = np.stack(
      [
        _rates(table, part / PARTS_OF_STEP)
        for table in tables
        for part in range(PARTS_OF_STEP)
      ]
    ).reshape(feels, PARTS_OF_STEP, KINDS, *shape[1:])
    total = rates[:, 0].sum(axis=1)
    self.quiet = -_WEIGHT * STEP_S * total
    self.quiet_likelihood = np.exp(self.quiet)
    self.period_of = np.repeat(_PERIODS, _PERIODS)
    mean = rates.mean(axis=(0, 3, 4), keepdims=True)
    self._struck = np.moveaxis(_WEIGHT * np.log(rates / mean), 0, 2)
    # The same against any place of the same tempo: how clear the pulse is.
    same = np.add.reduceat(rates, self.first, axis=-1).sum(
      axis=3, keepdims=True
    )
    same = same / (self.period * BEATS_PER_BAR)
    same = np.repeat(same, self.period, axis=-1)
    self._clear = np.moveaxis(np.log(rates / same), 0, 2)

  def struck(self, kind: int, late_s: float) -> Float[np.ndarray, "f b p"]:
    """Logarithm of the likelihood of a strike, beside one at any place.

    Args:
      kind: Of the strike.
      late_s: How long after the step's beginning it comes, 0 up to `STEP_S`.
    """
    return self._struck[_part(late_s), kind]

  def clear(self, kind: int, late_s: float) -> Float[np.ndarray, "f b p"]:
    """Logarithm of a strike's rate over that at any place of its tempo."""
    return self._clear[_part(late_s), kind]


def _part(late_s: float) -> int:
  part = int(late_s / STEP_S * PARTS_OF_STEP)
  return min(max(part, 0), PARTS_OF_STEP - 1)


def _rates(
  table: Float[np.ndarray, "c b q"], late: float
) -> Float[np.ndarray, "c b p"]:
  """Strikes a second at each place of each tempo, `late` steps after it."""
  kinds, beats, places = table.shape
  flat = table.reshape(kinds, beats * places)
  count = beats * places
  mean = flat.sum(axis=1, keepdims=True) / beats
  away = np.minimum(np.arange(count), count - np.arange(count)) / places
  spectrum = np.fft.rfft(flat, axis=1)
  found = []
  for period in _PERIODS:
    period_s = period * STEP_S
    blur = np.exp(-0.5 * (away * period_s / _JITTER_S) ** 2)
    smooth = np.fft.irfft(
      spectrum * np.fft.rfft(blur / blur.sum()), count, axis=1
    )
    at = (np.arange(period * beats) + late) / period * places
    below = np.floor(at).astype(np.int64)
    share = at - below
    rate = smooth[:, below % count] * (1 - share)
    rate = rate + smooth[:, (below + 1) % count] * share
    rate = np.maximum(rate * places, _FLOOR * mean) / period_s
    found.append(rate.reshape(kinds, beats, period))
  return np.concatenate(found, axis=-1)


@functools.cache
def beat_model() -> BeatModel:
  """The model with the measured rates; made once, in a tenth of a second."""
  return BeatModel(measured_strikes())


def measured_strikes() -> Float[np.ndarray, "f c b q"]:
  """Strikes by feel, kind, beat of the bar and place, of POP909's songs."""
  folder = importlib.resources.files("magenta_midi.midi.analysis")
  text = (folder / "beat_tables.json").read_text(encoding="utf-8")
  return np.array(json.loads(text)["strikes"], float)
