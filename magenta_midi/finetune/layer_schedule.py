"""Learning rates of the model's parts over a fine-tuning run.

Discriminative rates and gradual unfreezing: the parts nearest to the output
learn first and fastest. The encoder of the context serves every player, so it
learns least.

Source: Howard and Ruder 2018, https://arxiv.org/abs/1801.06146
"""

from collections.abc import Iterable, Mapping

import numpy as np

from magenta_midi.limits import FRACTION, RATE_FACTOR
from magenta_midi.model.lora.lora import STACKS
from magenta_midi.typing import Float

__all__ = [
  "GROUPS",
  "check_learns",
  "check_schedule",
  "group_of",
  "group_rates",
]

# The stacks, and what belongs to none of them.
GROUPS = (*STACKS, "embeddings", "head")


def group_of(name: str) -> str:
  """The group that an array belongs to, by its dotted name."""
  for stack in STACKS:
    if name.startswith(f"{stack}_"):
      return stack
  return "head" if name.startswith("logits") else "embeddings"


def group_rates(
  rates: Mapping[str, float], unfreeze: Mapping[str, float], fraction: float
) -> Float[np.ndarray, " groups"]:
  """The factor on the learning rate of each of `GROUPS`.

  Args:
    rates: Factors; 1 where none is given.
    unfreeze: How much of the run is done when a group begins to learn, 0..1;
      0 where none is given.
    fraction: How much of the run is done.
  """
  return np.array(
    [
      rates.get(group, 1.0) if fraction >= unfreeze.get(group, 0.0) else 0.0
      for group in GROUPS
    ],
    np.float32,
  )


def check_schedule(
  rates: Mapping[str, float], unfreeze: Mapping[str, float]
) -> None:
  """Refuses what no group can do.

  Raises:
    ValueError: A group is unknown, or a value is out of range.
  """
  for what, given in (("stack_rates", rates), ("unfreeze", unfreeze)):
    if unknown := sorted(given.keys() - set(GROUPS)):
      raise ValueError(
        f"{what}: unknown part {', '.join(unknown)}. Known:"
        f" {', '.join(GROUPS)}."
      )
  for group, rate in rates.items():
    RATE_FACTOR.check(f"stack_rates: the factor of {group}", rate)
  for group, begins in unfreeze.items():
    FRACTION.check(f"unfreeze: where {group} begins", begins)


def check_learns(
  names: Iterable[str],
  rates: Mapping[str, float],
  unfreeze: Mapping[str, float],
) -> None:
  """Refuses a run whose first step would change nothing.

  Args:
    names: Of the arrays that are adapted.
    rates: As in `group_rates`.
    unfreeze: Likewise.

  Raises:
    ValueError: Says which parts are adapted.
  """
  first = group_rates(rates, unfreeze, 0.0)
  groups = sorted({group_of(name) for name in names}, key=GROUPS.index)
  if not any(first[GROUPS.index(group)] for group in groups):
    raise ValueError(
      f"nothing learns at first: of {', '.join(groups)}, which are adapted,"
      " one must have a rate above 0 and begin at 0."
    )
