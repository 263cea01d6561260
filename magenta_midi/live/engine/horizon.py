"""Adaptive commit horizon: how far ahead this machine has to plan."""

import collections

__all__ = ["Horizon"]

MS = 1_000_000
# Added to the time of an answer: port and scheduler, and how both vary.
MARGIN_NS = 4 * MS
# As for instruments with moving parts; a longer delay would be felt.
MAX_NS = 60 * MS
# Smaller changes are noise.
STEP_NS = 3 * MS


class Horizon:
  """A horizon that follows how long answers take.

  Args:
    min_ns: The horizon is never shorter, as the player asked.

  Attributes:
    ns: The horizon.
  """

  def __init__(self, min_ns: int):
    self.ns = min_ns
    self._min_ns = min_ns
    self._took: collections.deque[int] = collections.deque(maxlen=64)

  def took(self, ns: int) -> None:
    """Adds the time of an answer, from the input read to the plan sent."""
    self._took.append(ns)

  def changed(self) -> bool:
    """Adapts the horizon; returns whether it changed."""
    if len(self._took) < 8:
      return False
    slow_ns = sorted(self._took)[int(0.9 * (len(self._took) - 1))]
    wanted = min(max(slow_ns + MARGIN_NS, self._min_ns), MAX_NS)
    wanted = -(-wanted // MS) * MS
    if abs(wanted - self.ns) < STEP_NS:
      return False
    self.ns = wanted
    return True
