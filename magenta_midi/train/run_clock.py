"""Clock and schedule of a training run."""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Literal

__all__ = ["CLOCKS", "Clock", "RunClock", "RunSchedule", "processor_s"]

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSchedule:
  """Length of a run, and when it evaluates, saves and ends early."""

  # Length in optimizer steps; None: in minutes.
  steps: int | None = None
  minutes: float | None = None
  clock: Clock = "wall"
  # Steps between two lines of the log. Each line waits for the device.
  log_every_steps: int = 20
  # Evaluations, where `Marks.evaluations` does not spread them over the run:
  # by steps or, without these, by minutes.
  evaluate_every_steps: int | None = None
  evaluate_every_min: float = float("inf")
  # States beside those of evaluations.
  save_every_steps: int | None = None
  save_every_min: float = float("inf")
  # Stalls in a row after which the run ends; 0: never.
  early_stopping: int = 0
  # Kind of stall: an evaluation that is no better than the best, or than the
  # one before.
  stall: Literal["not the best", "no gain"] = "not the best"
  # Part of the run, 0..1, up to which nothing counts as a stall.
  no_stall_until: float = 0.0
  # Whether states of the best evaluation are kept, and whether the run ends
  # with the best one.
  keep_best: bool = False
  end_at_best: bool = False
  # Nats an event by which the training loss may rise above its lowest before
  # the run goes back to an earlier state (`guard`), judged from a step on; 0:
  # it never does.
  guard: float = 0.0
  guard_from_step: int = 0
  # Whether the minutes begin once the first step is compiled.
  skip_compiling: bool = False


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
