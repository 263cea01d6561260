"""Context of a duet: the frames of both players before *now*."""

from collections.abc import Collection
from typing import Any

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Frames as Ids
from magenta_midi.tokens.frames import MODEL, Frames
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.typing import Int

__all__ = ["duet_context", "pad_frames", "padded_context"]

KEY, DURATION = 1, 3


def duet_context(
  codec: NoteCodec,
  model: Score,
  player: Score,
  held_keys: Collection[int],
  now_s: float,
  *,
  player_part: int,
  context_s: float = 10.0,
  max_frames: int | None = None,
) -> Frames:
  """The frames of both players before *now*.

  Args:
    codec: The model's.
    model: What the model played, one part.
    player: What the player did, one part, on the same clock.
    held_keys: Keys of the player that are down at *now*: how long their notes
      last is not known, so their duration is HELD.
    now_s: *Now*, on the codec's grid.
    player_part: How frames of the player are marked; MODEL where it was never
      trained with one.
    context_s: Length of the window, s.
    max_frames: Most frames; the newest stay. None: the codec's most.
  """
  frames = codec.encode_context(
    model.joined(player),
    now_s,
    context_s=context_s,
    max_frames=codec.context_frames if max_frames is None else max_frames,
  )
  by_player = frames.part != MODEL
  for key in held_keys:
    rows = np.flatnonzero(by_player & (frames.codes[:, KEY] == key))
    if len(rows):
      frames.codes[rows[-1], DURATION] = codec.config.held
  part = np.where(by_player, player_part, MODEL).astype(np.int32)
  return frames._replace(part=part)


def padded_context(
  codec: NoteCodec, frames: Frames, sizes: tuple[int, ...]
) -> Ids:
  """The frames as the encoder reads them, padded to the smallest size.

  Args:
    codec: The model's.
    frames: At most as many as the largest size.
    sizes: Ascending.
  """
  count = len(frames.step)
  size = next(size for size in sizes if size >= count)
  return pad_frames(codec.vocabulary.to_ids(frames.codes), frames, size)


def pad_frames(ids: Int[np.ndarray, "n l"], frames: Frames, size: int) -> Ids:
  """Frames as the model reads them, `[1, size, ...]`, PAD at the end."""
  count = len(frames.step)
  padded_ids = np.zeros((1, size, ids.shape[1]), np.int32)
  time = np.zeros((1, size), np.int32)
  part = np.zeros((1, size), np.int32)
  padded_ids[0, :count] = ids
  time[0, :count] = frames.step
  part[0, :count] = frames.part
  arrays: Any = (padded_ids, time, part)
  return Ids(*arrays)
