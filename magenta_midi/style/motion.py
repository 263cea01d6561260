"""Motion from one style to another on the sphere, over a given time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magenta_midi.limits import AMOUNT
from magenta_midi.settings import check_bounds, check_numbers
from magenta_midi.typing import Float

__all__ = ["StyleMotion", "between"]

# For vectors closer than this to opposite there is no unique shortest arc.
_OPPOSITE = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class StyleMotion:
  """A motion at constant angular speed.

  A blend whose weights change also moves so: any mean of two blends of the same
  prompts lies on the arc between them.

  Attributes:
    start: Embedding at `start_s`; None: no style.
    end: Embedding from `start_s + seconds` on; None: no style.
    start_s: Start in seconds, on any clock.
    seconds: Duration of the motion; 0: at once.
  """

  start: Float[np.ndarray, " d"] | None
  end: Float[np.ndarray, " d"] | None
  start_s: float = 0.0
  seconds: float = 0.0

  def __post_init__(self) -> None:
    """Refuses times that are no numbers."""
    check_numbers(self)
    check_bounds(self, AMOUNT, "seconds")

  @property
  def end_s(self) -> float:
    """End of the motion; without a style at one side, `start_s`."""
    if self.start is None or self.end is None:
      return self.start_s
    return self.start_s + self.seconds

  def at(self, time_s: float) -> Float[np.ndarray, " d"] | None:
    """The embedding at a time in seconds, float32; None: no style."""
    if time_s >= self.end_s or self.start is None or self.end is None:
      return self.end
    share = max(0.0, (time_s - self.start_s) / self.seconds)
    return between(self.start, self.end, share)

  def redirected(
    self,
    end: Float[np.ndarray, " d"] | None,
    time_s: float,
    seconds: float,
  ) -> StyleMotion:
    """A new motion, from the position of this one at `time_s` to `end`."""
    return StyleMotion(
      start=self.at(time_s), end=end, start_s=time_s, seconds=seconds
    )


def between(
  start: Float[np.ndarray, " d"], end: Float[np.ndarray, " d"], share: float
) -> Float[np.ndarray, " d"]:
  """A vector on the shortest arc between two vectors.

  Args:
    start: A vector that is not zero.
    end: A vector that is not zero. If opposite to `start`, the arc goes through
      the coordinate axis that is farthest from both.
    share: 0 is the start, 1 the end; clipped. Lengths are interpolated too.
  """
  share = min(max(share, 0.0), 1.0)
  a, b = start.astype(np.float64), end.astype(np.float64)
  # Vectors of some style models do not have unit length.
  long_a, long_b = np.linalg.norm(a), np.linalg.norm(b)
  length = (1 - share) * long_a + share * long_b
  a, b = a / long_a, b / long_b
  across = b - (a @ b) * a
  if a @ b < 0 and np.linalg.norm(across) < _OPPOSITE:
    axis = np.zeros_like(a)
    axis[np.argmin(np.abs(a))] = 1.0
    across = axis - (a @ axis) * a
    angle = np.pi
  else:
    angle = np.arctan2(np.linalg.norm(across), a @ b)
  norm = np.linalg.norm(across)
  if norm > 1e-9:
    angle *= share
    a = np.cos(angle) * a + np.sin(angle) * across / norm
  return (length * a).astype(np.float32)
