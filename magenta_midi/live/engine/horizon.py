"""How far ahead nothing is planned any more, as this machine needs it."""

import collections

__all__ = ["Horizon"]

MS = 1_000_000
# Port, scheduler and what both vary by, beside the time of an answer.
MARGIN_NS = 4 * MS
# As instruments with moving parts need; later would be felt.
MAX_NS = 60 * MS
# Smaller changes are noise.
STEP_NS = 3 * MS


class Horizon:
  """Follows how long answers take.

  Args:
    least_ns: Never closer than this, as the player asked.

  Attributes:
    ns: The horizon.
  """

  def __init__(self, min_ns: int):
    self.ns = min_ns
    self._min_ns = min_ns
    self._took: collections.deque[int] = collections.deque(maxlen=64)

  def took(self, ns: int) -> None:
    """An answer took so long, from the input being read to the plan sent."""
    self._took.append(ns)

  def changed(self) -> bool:
    """Looks again; whether the horizon is another now."""
    if len(self._took) < 8:
      return False
    slow_ns = sorted(self._took)[int(0.9 * (len(self._took) - 1))]
    wanted = min(max(slow_ns + MARGIN_NS, self._min_ns), MAX_NS)
    wanted = -(-wanted // MS) * MS
    if abs(wanted - self.ns) < STEP_NS:
      return False
    self.ns = wanted
    return True
