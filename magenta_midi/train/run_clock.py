"""How much of a run is done: by its steps, or by the minutes it has trained."""

import os
import time
from collections.abc import Callable
from typing import Literal

__all__ = ["CLOCKS", "Clock", "RunClock", "processor_s"]

Clock = Literal["wall", "processor"]


def processor_s() -> float:
  """Seconds that this process has kept one of its cores busy, of all alike."""
  if hasattr(os, "sched_getaffinity"):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count() or 1
  return time.process_time() / cores


CLOCKS: dict[Clock, Callable[[], float]] = {
  "wall": time.monotonic,
  "processor": processor_s,
}


class RunClock:
  """The clock of one session of a run; it starts when it is made.

  Args:
    steps: Length of the run, optimizer steps; None: it is given in minutes.
    minutes: Length of the run, minutes of training.
    earlier_min: Trained in earlier sessions, minutes.
    clock: Seconds, never going back.

  Attributes:
    started_s: When it was made or started again, by the clock.

  Raises:
    ValueError: Neither length is given, or the one that counts is not
      positive.
  """

  def __init__(
    self,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    earlier_min: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
  ):
    length = minutes if steps is None else steps
    if length is None or length <= 0:
      raise ValueError(
        f"a run needs a positive number of steps or minutes, got {length}."
      )
    self._by_steps = steps is not None
    self._length = length
    self._earlier_min = earlier_min
    self._clock = clock
    self.started_s = clock()

  def start_again(self) -> None:
    """Counts this session from now: what came before it was no training."""
    self.started_s = self._clock()

  @property
  def now_s(self) -> float:
    """Of the clock, seconds."""
    return self._clock()

  @property
  def session_min(self) -> float:
    """Of this session, minutes."""
    return (self._clock() - self.started_s) / 60

  @property
  def minutes(self) -> float:
    """Of training, over all sessions."""
    return self._earlier_min + self.session_min

  def fraction(self, step: int) -> float:
    """How much of the run is done at a step; beyond its end above 1."""
    return (step if self._by_steps else self.minutes) / self._length
