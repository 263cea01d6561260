"""The best set of intervals that do not overlap, for many keys at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from magenta_midi.typing import Bool, Float, Int

__all__ = ["best_intervals", "next_ends"]


def next_ends(
  scores: Float[Array, "t p t"], single: Float[Array, "p t"]
) -> Int[Array, "u p"]:
  """Where the best interval from each frame ends.

  A set of intervals is worth the sum of their scores; intervals may touch, and
  an interval of one frame may lie at the end of another.

  Args:
    scores: Of intervals by first frame, target and last frame; only those that
      end later than they begin are read.
    single: Of intervals of one frame.

  Returns:
    For each first frame but the last and each target: the last frame, or -1 if
    no interval begins there.
  """
  length = scores.shape[0]
  frames = jnp.arange(length)
  single = jnp.maximum(single, 0)

  def step(value: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
    """From the values [p, t] of later frames to that of one before them."""
    frame, row = given
    sums = jnp.where(frames[None] > frame, value + row, -jnp.inf)
    skipped = value[:, frame + 1]
    best = sums.max(axis=1)
    ends = jnp.where(best > skipped, sums.argmax(axis=1), -1)
    found = jnp.maximum(best, skipped) + single[:, frame]
    return value.at[:, frame].set(found), ends

  last = jnp.zeros_like(single).at[:, -1].set(single[:, -1])
  _, ends = jax.lax.scan(step, last, (frames[:-1], scores[:-1]), reverse=True)
  return ends


def best_intervals(
  ends: Int[np.ndarray, "u p"],
  is_single: Bool[np.ndarray, "p t"],
  start: Int[np.ndarray, " p"],
) -> list[list[tuple[int, int]]]:
  """Reads the intervals from what `next_ends` found.

  Args:
    ends: From there.
    is_single: Whether an interval of one frame lies there: its score is
      positive.
    start: For each target the first frame that is read.

  Returns:
    For each target its intervals in order: first and last frame.
  """
  last = len(ends)
  found = []
  for target in range(ends.shape[1]):
    chosen: list[tuple[int, int]] = []
    frame = int(start[target])
    while frame < last:
      if is_single[target, frame]:
        chosen.append((frame, frame))
      end = int(ends[frame, target])
      if end < 0:
        frame += 1
      else:
        chosen.append((frame, end))
        frame = end
    if is_single[target, last]:
      chosen.append((last, last))
    found.append(chosen)
  return found
