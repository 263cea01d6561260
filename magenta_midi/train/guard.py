"""Guard of a run: notices when training collapses, and goes back.

A long run may lose within 60 steps what it learned in thousands, with no sign
before. So the guard keeps a copy of the arrays from a time when all was well;
when the loss rises, they go back, and the run continues at a lower rate with
the batches that come next. The guard decides by steps and by their losses
alone, so that a run by steps is repeatable.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["FACTOR", "WINDOW", "Guard", "Guarded", "WentBack"]

# Steps over which the loss is averaged.
WINDOW = 100
# Least number of steps between two copies: one that is too fresh may already
# hold the cause.
COPY_EVERY_STEPS = 200
# Of the learning rate, each time.
FACTOR = 0.7
# Of the threshold: below it all is well.
_WELL = 0.2


@runtime_checkable
class Guarded(Protocol):
  """A trainer whose arrays can go back.

  Attributes:
    rate_factor: Factor on the schedule's learning rate.
  """

  rate_factor: float

  def copied(self) -> Any:
    """A copy of every array that a step changes."""
    ...

  def go_back(self, copy: Any) -> None:
    """Takes the arrays from a copy, which stays; step and data go on."""
    ...


class WentBack(NamedTuple):
  """What the guard did."""

  step: int
  to_step: int  # of the copy
  nats: float  # over the last steps, an event; nan if they are no numbers
  lowest: float | None  # before; None: the run is too young
  rate_factor: float  # from now on

  def line(self) -> str:
    """For a person, one line."""
    before = "" if self.lowest is None else f" (lowest: {self.lowest:.2f})"
    return (
      f"step {self.step}: training collapsed to {self.nats:.2f} nats an event"
      f"{before}; back to the weights of step {self.to_step}, at"
      f" {self.rate_factor:.2g} of the learning rate"
    )


class Guard:
  """Judges the losses of a run's steps.

  Args:
    threshold: Nats an event above the lowest mean of `WINDOW` steps at which
      the run goes back.
    first_step: Losses before it are not judged: the warm-up.
    facts: Of a state's; {}: a new run.

  Attributes:
    rate_factor: Product of all factors so far.
    copied_step: Step of the copy; None: there is none yet.
  """

  def __init__(self, threshold: float, first_step: int, facts: dict[str, Any]):
    self.threshold = threshold
    self.first_step = first_step
    self.rate_factor: float = facts.get("rate_factor", 1.0)
    self.copied_step: int | None = None
    self._lowest: float | None = facts.get("lowest")
    self._recent: list[float] = list(facts.get("recent", []))
    self._copy: Any = None

  def facts(self) -> dict[str, Any]:
    """JSON values for a state."""
    return dict(
      rate_factor=self.rate_factor,
      lowest=self._lowest,
      recent=list(self._recent),
    )

  def add(self, step: int, losses: Sequence[float]) -> None:
    """Takes the losses of the last steps, nats an event.

    Args:
      step: Steps done; `losses` belong to the last of them.
      losses: One for each step.
    """
    early = max(0, self.first_step - (step - len(losses)))
    late = [loss for loss in losses[early:]]
    # Whatever the step: from numbers that are none, a run never recovers.
    late += [loss for loss in losses[:early] if not math.isfinite(loss)]
    self._recent = (self._recent + late)[-WINDOW:]

  @property
  def well(self) -> bool:
    """Whether the arrays of this moment are worth keeping."""
    if not all(map(math.isfinite, self._recent)):
      return False
    if self._lowest is None:
      return True
    whole = len(self._recent) == WINDOW
    return whole and self._mean < self._lowest + _WELL * self.threshold

  @property
  def _mean(self) -> float:
    return sum(self._recent) / len(self._recent)

  def copy(self, step: int, trainer: Guarded) -> None:
    """Copies the arrays, whatever the losses."""
    self._copy, self.copied_step = trainer.copied(), step

  def check(self, step: int, trainer: Guarded) -> WentBack | None:
    """Goes back, or copies the arrays if it is time.

    Args:
      step: Steps done, all of them added.
      trainer: The run's.

    Returns:
      What it did if it went back.
    """
    finite = all(map(math.isfinite, self._recent))
    whole = len(self._recent) == WINDOW
    high = (
      self._lowest is not None
      and whole
      and not (self._mean < self._lowest + self.threshold)
    )
    if not finite or high:
      return self._go_back(step, trainer)
    if self.well and (
      self.copied_step is None or step - self.copied_step >= COPY_EVERY_STEPS
    ):
      self.copy(step, trainer)
    if whole:
      mean = self._mean
      self._lowest = mean if self._lowest is None else min(self._lowest, mean)
    return None

  def _go_back(self, step: int, trainer: Guarded) -> WentBack:
    assert self.copied_step is not None
    self.rate_factor *= FACTOR
    found = WentBack(
      step, self.copied_step, self._mean, self._lowest, self.rate_factor
    )
    self._recent.clear()
    trainer.go_back(self._copy)
    trainer.rate_factor = self.rate_factor
    return found
