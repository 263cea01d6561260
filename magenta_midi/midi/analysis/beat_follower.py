"""Beats of music while it is played: only what was heard so far counts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from magenta_midi.midi.analysis.beat_model import (
  STEP_S,
  TOGETHER_S,
  TRIPLETS,
  USUAL_LOW,
  beat_model,
  find_strikes,
  sureness,
  usual_low,
)

__all__ = ["BeatFollower", "Pulse"]

# Notes of one strike are awaited for so many steps.
_LAG = 2
# How well strikes were predicted fades with this time.
_MEMORY_S = 8.0
# States whose tempo and place are so near to the likeliest are taken together,
# as shares of a beat: a step is 20 ms, a hand is more exact.
_NEAR_TEMPO, _NEAR_PLACE = 0.1, 0.2
# After so long without a note nothing is known any more.
FORGET_S = 12.0


class Pulse(NamedTuple):
  """Where the beat is.

  Attributes:
    beat_s: Time of a beat, at most one beat ago, in s.
    period_s: Of a beat.
    place: Of that beat in its bar of 4; 0 is the first.
    confidence: 0 to 1: how well notes were predicted by the pulse.
    triplets: Whether the beat is felt in three parts, not in two and four.
  """

  beat_s: float
  period_s: float
  place: int
  confidence: float
  triplets: bool = False

  @property
  def bpm(self) -> float:
    """Beats a minute."""
    return 60 / self.period_s


class BeatFollower:
  """Follows the pulse of notes as they come; bars have 4 beats.

  A second of music takes 5 to 10 ms of a core.
  """

  def __init__(self):
    self._model = beat_model()
    self._last_s: float | None = None

  def _restart(self, now_s: float) -> None:
    self._start_s = now_s
    self._step = 0
    self._state = self._model.prior.copy()
    self._heard: list[tuple[float, int]] = []
    self._low = USUAL_LOW
    self._struck_s: float = now_s
    # Sum of what was gained by predicting, and of its weights.
    self._gain = self._weight = 0.0

  def hear(self, time_s: float, key: int) -> None:
    """Takes a note's onset.

    Args:
      time_s: In seconds of any clock, not before the last one's.
      key: MIDI key.
    """
    if self._last_s is None or time_s - self._last_s > FORGET_S:
      self._restart(time_s - STEP_S)
    self._last_s = time_s
    self._heard.append((time_s, key))

  def advance(self, now_s: float) -> None:
    """Goes on to a time, with all that was heard before it."""
    if self._last_s is None:
      return
    if now_s - self._last_s > FORGET_S:
      self._last_s = None
      return
    stop = math.floor((now_s - self._start_s) / STEP_S) - _LAG
    while self._step < stop:
      self._advance_step()

  def _advance_step(self) -> None:
    model, state = self._model, self._state
    ended = state[..., model.last] @ model.change
    state = np.roll(state, 1, axis=2)
    # The beat after the last of a bar is the first of the next.
    state[..., model.first] = np.roll(ended, 1, axis=1)
    state *= model.quiet_likelihood
    begin_s = self._start_s + self._step * STEP_S
    for time_s, kind in self._strikes(begin_s + STEP_S):
      late_s = time_s - begin_s
      clear = np.exp(model.clear(kind, late_s))
      fade = math.exp((self._struck_s - time_s) / _MEMORY_S)
      self._struck_s = time_s
      gain = math.log(float((state * clear).sum() / state.sum()))
      self._gain = fade * self._gain + gain
      self._weight = fade * self._weight + 1
      state *= np.exp(model.struck(kind, late_s))
    self._state = state / state.sum()
    self._step += 1

  def _strikes(self, before_s: float) -> list[tuple[float, int]]:
    """Time and kind of the strikes that begin before a time."""
    found = []
    while self._heard and self._heard[0][0] < before_s:
      count, last_s = 0, self._heard[0][0]
      for time_s, _ in self._heard:
        if time_s - last_s > TOGETHER_S:
          break
        count, last_s = count + 1, time_s
      onset_s, key = map(np.array, zip(*self._heard[:count], strict=True))
      del self._heard[:count]
      strike = find_strikes(onset_s, key, low=self._low)
      self._low = usual_low(self._low, int(key.min()))
      found.append((float(strike.time_s[0]), int(strike.kind[0])))
    return found

  def pulse(self) -> Pulse | None:
    """Where the beat is; None while nothing is heard."""
    if self._last_s is None or not self._weight:
      return None
    model, state = self._model, self._state
    feel, beat, place = np.unravel_index(state.argmax(), state.shape)
    phase = model.phase - model.phase[place]
    period = model.period_of[place]
    near = np.abs(model.period_of - period) <= _NEAR_TEMPO * period
    near &= np.abs((phase + 0.5) % 1 - 0.5) < _NEAR_PLACE
    weight = state.sum(axis=(0, 1)) * near
    weight = weight / weight.sum()
    period_s = float(weight @ model.period_of) * STEP_S
    turn = np.angle(weight @ np.exp(2j * np.pi * phase)) / (2 * np.pi)
    since = float(model.phase[place] + turn) * period_s
    at_s = self._start_s + (self._step - 1) * STEP_S
    sure = sureness(self._gain / self._weight)
    return Pulse(
      at_s - since, period_s, int(beat), sure, bool(feel == TRIPLETS)
    )
