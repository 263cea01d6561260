"""From one style to another over a given time, on the sphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magenta_midi.typing import Float

__all__ = ["StyleMotion", "between"]

# Nearer than this to opposite, no shortest way leads from one to the other.
_OPPOSITE = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class StyleMotion:
  """A movement at constant angular speed.

  It is also the way of a blend whose weights move: any mean of two blends of
  the same prompts lies on the arc between them.

  Attributes:
    start: Embedding at `start_s`; None: no style.
    end: Embedding from `start_s + seconds` on; None: no style.
    start_s: In any time, s.
    seconds: How long it takes; 0: at once.
  """

  start: Float[np.ndarray, " d"] | None
  end: Float[np.ndarray, " d"] | None
  start_s: float = 0.0
  seconds: float = 0.0

  @property
  def end_s(self) -> float:
    """When it arrives; where no style is on either side, that is at once."""
    if self.start is None or self.end is None:
      return self.start_s
    return self.start_s + self.seconds

  def at(self, time_s: float) -> Float[np.ndarray, " d"] | None:
    """The embedding at a time, s, float32; None: no style."""
    if time_s >= self.end_s or self.start is None or self.end is None:
      return self.end
    share = max(0.0, (time_s - self.start_s) / self.seconds)
    return between(self.start, self.end, share)

  def turned(
    self,
    end: Float[np.ndarray, " d"] | None,
    time_s: float,
    seconds: float,
  ) -> StyleMotion:
    """From where this one is at a time, s, to somewhere else."""
    return StyleMotion(
      start=self.at(time_s), end=end, start_s=time_s, seconds=seconds
    )


def between(
  start: Float[np.ndarray, " d"], end: Float[np.ndarray, " d"], share: float
) -> Float[np.ndarray, " d"]:
  """A vector on the shortest arc between two, its length between theirs.

  Args:
    start: Not zero.
    end: Not zero. Opposite to `start`, the arc goes by way of the axis that
      lies farthest from both.
    share: 0 is the start, 1 the end; clipped.
  """
  share = min(max(share, 0.0), 1.0)
  a, b = start.astype(np.float64), end.astype(np.float64)
  # Not every style model's vectors have unit length.
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
