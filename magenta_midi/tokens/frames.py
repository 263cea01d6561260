"""Frames: music as rows of integers, one row for each event."""

import dataclasses
from typing import NamedTuple

import numpy as np

from magenta_midi.tokens.vocabulary import UNUSED
from magenta_midi.typing import Int

__all__ = [
  "MODEL",
  "PLAYER",
  "Encoded",
  "Frames",
  "empty_frames",
  "join_frames",
]

MODEL = 0  # whose music the model predicts
PLAYER = 1  # the other one: input only


class Frames(NamedTuple):
  """Events in stream order, all arrays int32.

  Attributes:
    codes: `[n, l]` level-local codes, -1 where a level is unused.
    step: `[n]` absolute time of each frame on the codec's grid (10 ms for
      `note`), from the origin; negative before it (a context ends at 0).
    part: `[n]` MODEL or PLAYER in a stream; the part's index in a whole file.
  """

  codes: Int[np.ndarray, "n l"]
  step: Int[np.ndarray, " n"]
  part: Int[np.ndarray, " n"]


def empty_frames(levels: int, count: int = 0) -> Frames:
  """`count` frames without codes, at step 0, all of the MODEL."""
  return Frames(
    codes=np.full((count, levels), UNUSED, np.int32),
    step=np.zeros(count, np.int32),
    part=np.full(count, MODEL, np.int32),
  )


def join_frames(*pieces: Frames) -> Frames:
  """Concatenates frames unchanged (onsets are not recomputed)."""
  if not pieces:
    raise ValueError("join_frames needs at least one Frames, got none.")
  codes, step, part = (
    np.concatenate(list(fields)) for fields in zip(*pieces, strict=True)
  )
  return Frames(codes, step, part)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
  """A whole file as frames, with statistics of the encoding.

  Attributes:
    frames: Sorted by step. `step` counts from the start of the file; `part` is
      the index of the score's part.
    chunk_offsets: int64 `[chunks + 1]`; chunk i holds the frames from
      `chunk_offsets[i]` up to `chunk_offsets[i + 1]`. The chunks cover the
      score up to its end.
    part_names: Names of the score's parts.
    merged: Number of notes left out as duplicates (same key, onset step and
      part).
    saturated: Number of notes longer than the longest duration.
  """

  frames: Frames
  chunk_offsets: np.ndarray
  part_names: tuple[str, ...]
  merged: int
  saturated: int

  @property
  def chunks(self) -> int:
    """Number of chunks, with the empty ones."""
    return len(self.chunk_offsets) - 1

  def chunk(self, index: int) -> Frames:
    """The frames of one chunk; `step` still counts from the file's start."""
    start, stop = self.chunk_offsets[index], self.chunk_offsets[index + 1]
    return Frames(*(field[start:stop] for field in self.frames))
