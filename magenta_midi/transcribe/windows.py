"""Overlapping windows of audio that comes in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

__all__ = ["overlapping_windows"]


def overlapping_windows(
  blocks: Iterable[np.ndarray],
  *,
  length: int,
  hop: int,
  lead: int = 0,
  trail: int = 0,
) -> Iterator[tuple[int, np.ndarray]]:
  """Cuts audio into windows of one length; only one is in memory.

  Args:
    blocks: [n, c] each, of any length.
    length: Samples of a window.
    hop: Samples from the start of a window to the next one's.
    lead: Samples of silence before the first one.
    trail: The last window is the last one that begins less than `trail`
      samples after the end of the audio; may be negative.

  Yields:
    The first sample of a window, which is negative in the silence before the
    audio, and its samples [length, c]; after the end is silence. Audio without
    samples has no windows.
  """
  held = np.zeros((0, 0), np.float32)
  start, total = -lead, 0
  for block in blocks:
    if not len(block):
      continue
    if not total:
      held = np.zeros((lead, block.shape[1]), block.dtype)
    total += len(block)
    held = np.concatenate([held, block])
    # What is behind the end may decide that a window is not the last.
    while len(held) >= length and start < total + trail:
      yield start, held[:length]
      held, start = held[hop:], start + hop
  while total and start < total + trail:
    rest = np.zeros((length, held.shape[1]), held.dtype)
    rest[: len(held)] = held[:length]
    yield start, rest
    held, start = held[hop:], start + hop
