"""Tempo: from ticks to seconds, and between seconds and beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from magenta_midi.typing import Float, Int

DEFAULT_BPM = 120.0
DEFAULT_US_PER_BEAT = 500_000


@dataclass(frozen=True, eq=False)
class TempoMap:
  """Beats per minute, piecewise constant over time.

  Before the first time and after the last one the tempo goes on unchanged.
  """

  time_s: np.ndarray  # [n], strictly ascending, first is 0
  bpm: np.ndarray  # [n], quarter notes a minute, positive

  def __post_init__(self) -> None:
    time_s = np.array(self.time_s, np.float64)
    bpm = np.array(self.bpm, np.float64)
    if time_s.shape != bpm.shape or time_s.ndim != 1 or not len(time_s):
      raise ValueError(
        "time_s and bpm must be one-dimensional, equally long and not empty, "
        f"got shapes {time_s.shape} and {bpm.shape}."
      )
    if time_s[0] != 0 or not (np.diff(time_s) > 0).all():
      raise ValueError("Tempo times must ascend from 0. Sort them first.")
    if not (np.isfinite(bpm) & (bpm > 0)).all():
      raise ValueError(
        f"bpm must be positive and finite, got {bpm.min()} to {bpm.max()}."
      )
    for array in (time_s, bpm):
      array.setflags(write=False)
    object.__setattr__(self, "time_s", time_s)
    object.__setattr__(self, "bpm", bpm)

  @classmethod
  def constant(cls, bpm: float | int = DEFAULT_BPM) -> TempoMap:
    """One tempo throughout."""
    return cls(np.zeros(1), np.full(1, float(bpm)))

  @property
  def _beat_of_change(self) -> np.ndarray:
    beats = np.diff(self.time_s) * self.bpm[:-1] / 60
    return np.concatenate([[0.0], np.cumsum(beats)])

  def beats_at(self, seconds: Float[np.ndarray, " n"]) -> np.ndarray:
    """Quarter notes since 0 at each time."""
    i = np.maximum(np.searchsorted(self.time_s, seconds, "right") - 1, 0)
    return self._beat_of_change[i] + (seconds - self.time_s[i]) * (
      self.bpm[i] / 60
    )

  def seconds_at(self, beats: Float[np.ndarray, " n"]) -> np.ndarray:
    """Seconds since 0 at each number of quarter notes."""
    starts = self._beat_of_change
    i = np.maximum(np.searchsorted(starts, beats, "right") - 1, 0)
    return self.time_s[i] + (beats - starts[i]) * (60 / self.bpm[i])

  def crop(self, start_s: float | int) -> TempoMap:
    """The same tempos with `start_s` as the new zero."""
    i = max(int(np.searchsorted(self.time_s, start_s, "right")) - 1, 0)
    time_s = self.time_s[i:] - start_s
    time_s[0] = 0.0
    return TempoMap(time_s, self.bpm[i:])

  def shifted(self, seconds: float | int) -> TempoMap:
    """The same tempos later; the first one reaches back to 0."""
    if seconds < 0:
      return self.crop(-seconds)
    time_s = self.time_s + seconds
    time_s[0] = 0.0
    return TempoMap(time_s, self.bpm)

  def equals(self, other: TempoMap, *, tolerance: float | int = 0.0) -> bool:
    """Same changes; times and tempos at most `tolerance` apart."""
    return len(self.bpm) == len(other.bpm) and bool(
      (np.abs(self.time_s - other.time_s) <= tolerance).all()
      and (np.abs(self.bpm - other.bpm) <= tolerance).all()
    )


class TickClock(NamedTuple):
  """Seconds at each tick of a file."""

  tick: np.ndarray  # of each change, ascending, first 0
  second: np.ndarray  # of each change
  seconds_per_tick: np.ndarray  # from each change on

  @classmethod
  def steady(cls, seconds_per_tick: float) -> TickClock:
    """A clock without tempo changes."""
    return cls(np.zeros(1, np.int64), np.zeros(1), np.full(1, seconds_per_tick))

  @classmethod
  def from_tempos(
    cls,
    tick: Int[np.ndarray, " n"],
    us_per_beat: Int[np.ndarray, " n"],
    ticks_per_beat: int,
  ) -> TickClock:
    """A clock from tempo messages in ascending ticks.

    Of several at one tick the last counts; 120 bpm holds before the first.
    """
    tick = np.concatenate([[0], tick]).astype(np.int64)
    us = np.concatenate([[DEFAULT_US_PER_BEAT], us_per_beat]).astype(np.float64)
    last = np.append(tick[1:] != tick[:-1], True)
    tick, us = tick[last], us[last]
    changed = np.append(True, us[1:] != us[:-1])
    tick, us = tick[changed], us[changed]
    per_tick = us * 1e-6 / ticks_per_beat
    second = np.cumsum(np.diff(tick) * per_tick[:-1])
    return cls(tick, np.concatenate([[0.0], second]), per_tick)

  def seconds_at(self, tick: Int[np.ndarray, " n"]) -> np.ndarray:
    """Seconds at each tick."""
    if len(self.tick) == 1:
      return tick * self.seconds_per_tick[0]
    i = np.searchsorted(self.tick, tick, "right") - 1
    return self.second[i] + (tick - self.tick[i]) * self.seconds_per_tick[i]

  def ticks_at(self, seconds: Float[np.ndarray, " n"]) -> np.ndarray:
    """The nearest tick to each time, as int64."""
    i = np.maximum(np.searchsorted(self.second, seconds, "right") - 1, 0)
    part = (seconds - self.second[i]) / self.seconds_per_tick[i]
    return self.tick[i] + np.rint(part).astype(np.int64)

  def tempo_map(self, ticks_per_beat: int) -> TempoMap:
    """This clock's tempos over seconds."""
    # Two changes can fall on one time where ticks are far too short.
    later = np.append(np.diff(self.second) > 0, True)
    time_s = self.second[later]
    time_s[0] = 0.0
    return TempoMap(
      time_s, 60 / (self.seconds_per_tick[later] * ticks_per_beat)
    )
