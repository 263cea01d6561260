"""Comparison of two checkpoints on the same music, with an interval."""

import dataclasses
import functools
from typing import Any

import numpy as np

from magenta_midi.evaluation.evaluate import Evaluation, resampled_pieces
from magenta_midi.tokens.codec import Codec

__all__ = ["Comparison", "check_comparable"]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Differences are the first's figures less the second's: below 0 is better.

  Raises:
    ValueError: They are not of the same windows.
  """

  first: Evaluation
  second: Evaluation

  def __post_init__(self):
    same = (
      np.array_equal(self.first.seconds, self.second.seconds)
      and self.first.titles == self.second.titles
    )
    if not same:
      raise ValueError("only evaluations of the same windows can be compared.")

  @property
  def nats_per_note(self) -> float:
    """Difference; each side has its number of notes, as codecs merge notes."""
    return self.first.nats_per_note - self.second.nats_per_note

  @functools.cached_property
  def interval(self) -> tuple[float, float]:
    """95 % paired bootstrap of `nats_per_note`: both on the same pieces."""
    chosen = resampled_pieces(len(self.first.notes))
    differences = self.first.resampled(chosen) - self.second.resampled(chosen)
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)

  @property
  def beyond(self) -> bool | None:
    """Whether the interval excludes 0; None: one piece gives no interval."""
    if len(self.first.notes) < 2:
      return None
    low, high = self.interval
    return not low <= 0 <= high

  def figures(self) -> dict[str, Any]:
    """Figures of the difference, as `evaluate --against --json` prints them.

    Parts are included only if both sides have the same parts: the cost of a
    token depends on the tokens before it.
    """
    first, second = self.first.figures(), self.second.figures()
    found: dict[str, Any] = dict(
      nats_per_note=self.nats_per_note,
      ci95=list(self.interval),
      beyond=self.beyond,
      nats_per_second=first["nats_per_second"] - second["nats_per_second"],
    )
    if self.first.names == self.second.names:
      found["levels"] = {
        name: nats - second["levels"][name]
        for name, nats in first["levels"].items()
      }
      for part in ("pedal", "end"):
        found[part] = first[part] - second[part]
    return found


def check_comparable(first: Codec, second: Codec) -> None:
  """Refuses codecs between which nats do not compare.

  A coarser grid needs fewer nats: half the steps save 0.69 nats an onset.

  Raises:
    ValueError: Names the setting, and what each has.
  """
  for name in ("step_ms", "velocity_bins", "duration_bins"):
    here, there = (getattr(c.config, name, None) for c in (first, second))
    if None not in (here, there) and here != there:
      raise ValueError(
        f"nats compare only on one grid, but {name} is {there} there and"
        f" {here} here. Give a checkpoint whose codec has the same."
      )
