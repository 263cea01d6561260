"""Table of job durations, for replays on a virtual clock."""

from collections.abc import Mapping
from importlib import resources
from os import PathLike
from typing import NamedTuple

from magenta_midi.bounded_files import parse_json, read_json
from magenta_midi.plain_text import line

__all__ = ["Cost", "CostTable"]


class Cost(NamedTuple):
  """Milliseconds of a job: `base + each * units`."""

  base: float
  each: float


class CostTable:
  """Costs by the name of the job; see `engine.Job`.

  Args:
    costs: One for each of `NAMES`.
    source: What to call the table in reports.
  """

  NAMES = ("none", "react", "refresh", "deeper", "encode", "reply")

  def __init__(self, costs: Mapping[str, Cost], source: str):
    self.costs = dict(costs)
    self.source = source

  @classmethod
  def load(cls, path: str | PathLike[str] | None = None) -> "CostTable":
    """Reads a table; None: the one that comes with the package.

    The file is JSON: `{"react": {"base": 2.0, "each": 0.1}, ...}`, ms.

    Raises:
      ValueError: It is no such table.
    """
    source = "default" if path is None else str(path)
    file = resources.files("magenta_midi.live.recording") / "costs.json"
    try:
      found = parse_json(file.read_text()) if path is None else read_json(path)
      costs = {
        name: Cost(float(found[name]["base"]), float(found[name]["each"]))
        for name in cls.NAMES
      }
    except (ValueError, TypeError, KeyError, OverflowError) as error:
      reason = line(error, longest=200)
      raise ValueError(
        f"{source}: a cost table must give base and each, in ms, for"
        f" {', '.join(cls.NAMES)}; {type(error).__name__}: {reason}."
      ) from None
    if any(
      not 0 <= value < 10_000 for cost in costs.values() for value in cost
    ):
      raise ValueError(f"{source}: costs must be from 0 to 10,000 ms.")
    return cls(costs, source)

  def ns(self, name: str, units: int) -> int:
    """Nanoseconds of a job."""
    cost = self.costs[name]
    return round((cost.base + cost.each * units) * 1e6)

  def to_json(self) -> dict[str, dict[str, float]]:
    """As read by `load`."""
    return {name: cost._asdict() for name, cost in self.costs.items()}
