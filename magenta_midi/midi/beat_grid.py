"""A steady beat: where it falls, carried on from beats or given as a tempo."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from magenta_midi.limits import TEMPO
from magenta_midi.midi.analysis.beats import Beats
from magenta_midi.typing import Float

__all__ = ["BeatGrid"]

# Beats that the last tempo is taken from.
_LAST = 8


class BeatGrid(NamedTuple):
  """Beats of one tempo, without beginning or end.

  Attributes:
    beat_s: Time of one beat, in seconds.
    period_s: Of a beat.
    place: Of that beat in its bar; 0 is the first.
    beats_per_bar: 1 or more.
  """

  beat_s: float
  period_s: float
  place: int = 0
  beats_per_bar: int = 4

  @property
  def bpm(self) -> float:
    """Beats a minute."""
    return 60 / self.period_s

  @classmethod
  def at_tempo(
    cls, bpm: float | int, *, beat_s: float | int = 0.0, beats_per_bar: int = 4
  ) -> BeatGrid:
    """A grid whose bars begin at a time.

    Raises:
      ValueError: The tempo or the meter is out of range.
    """
    period_s = 60 / TEMPO.check("the tempo", bpm)
    if not 1 <= beats_per_bar <= 16:
      raise ValueError(f"a bar must have 1..16 beats, got {beats_per_bar}.")
    return cls(float(beat_s), period_s, 0, beats_per_bar)

  @classmethod
  def after(cls, beats: Beats) -> BeatGrid | None:
    """The grid on which the last beats go on; None: there are fewer than two.

    Bars have 4 beats, as those that are tracked.
    """
    last = beats.time_s[-_LAST:]
    if len(last) < 2:
      return None
    period_s, beat_s = np.polyfit(
      np.arange(len(last)) - (len(last) - 1), last, 1
    )
    return cls(float(beat_s), float(period_s), int(beats.place[-1]))

  def places(self, time_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Places in the bar, from 0 (its first beat) up to `beats_per_bar`."""
    beats = (np.asarray(time_s) - self.beat_s) / self.period_s + self.place
    return beats % self.beats_per_bar

  def beats_between(
    self, from_s: float | int, until_s: float | int
  ) -> list[tuple[float, int]]:
    """Times of the beats of a stretch, in seconds, and their places in bars."""
    first = math.ceil((from_s - self.beat_s) / self.period_s)
    stop = math.ceil((until_s - self.beat_s) / self.period_s)
    return [
      (
        self.beat_s + count * self.period_s,
        (self.place + count) % self.beats_per_bar,
      )
      for count in range(first, stop)
    ]
