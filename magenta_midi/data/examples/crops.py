"""Examples on their way into a batch: drawn, then cut, not yet padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.data.examples.framing import Side
from magenta_midi.typing import Int, Shaped

__all__ = ["Crops", "join_crops", "take_crops"]


class Crops(NamedTuple):
  """Examples with their frames end to end; `row` of a side counts examples."""

  examples: Any  # [n] EXAMPLE_DTYPE
  # [n, 2] by which batches are planned: frames before and after *now*, or a
  # few more.
  sizes: Any
  # None: not cut.
  context: Side | None = None
  after: Side | None = None
  style: Any = None  # [n, m] rows of the style table; None: not drawn

  @property
  def sides(self) -> tuple[Side, Side]:
    """Both sides of examples that are cut."""
    assert self.context is not None and self.after is not None
    return self.context, self.after

  def frame_counts(self) -> tuple[np.ndarray, np.ndarray]:
    """Context frames and frames after *now* of each example, cut."""
    count = len(self.examples)
    context, after = self.sides
    return (
      np.bincount(context.row, minlength=count),
      np.bincount(after.row, minlength=count),
    )


def take_crops(
  crops: Crops, rows: slice | Int[np.ndarray, " m"] | Shaped[np.ndarray, " n"]
) -> Crops:
  """Some of the examples, in the order given."""
  chosen = np.arange(len(crops.examples))[rows]
  return Crops(
    crops.examples[chosen],
    crops.sizes[chosen],
    _take(crops.context, chosen),
    _take(crops.after, chosen),
    None if crops.style is None else crops.style[chosen],
  )


def _take(side: Side | None, rows: np.ndarray) -> Side | None:
  if side is None:
    return None
  # Frames lie row after row.
  first = np.searchsorted(side.row, rows)
  count = np.searchsorted(side.row, rows, side="right") - first
  start = np.cumsum(count) - count
  at = np.repeat(first - start, count) + np.arange(count.sum())
  _, *fields = (field[at] for field in side)
  return Side(np.repeat(np.arange(len(rows)), count), *fields)


def join_crops(parts: Sequence[Crops]) -> Crops:
  """All examples of one or more, in order; all cut and with style, or none."""
  parts = [part for part in parts if len(part.examples)] or parts[:1]
  if len(parts) == 1:
    return parts[0]
  counts = [len(part.examples) for part in parts]
  first = np.cumsum([0, *counts[:-1]])
  styles = [part.style for part in parts]
  return Crops(
    np.concatenate([part.examples for part in parts]),
    np.concatenate([part.sizes for part in parts]),
    _join([part.context for part in parts], first),
    _join([part.after for part in parts], first),
    None if styles[0] is None else np.concatenate(styles),
  )


def _join(sides: Sequence[Side | None], first: np.ndarray) -> Side | None:
  moved = [
    side._replace(row=side.row + offset)
    for side, offset in zip(sides, first.tolist(), strict=True)
    if side is not None
  ]
  if not moved:
    return None
  return Side(*(np.concatenate(fields) for fields in zip(*moved, strict=True)))
