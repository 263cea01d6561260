"""The two sides of *now* as frames, for a whole batch at once.

One function a codec; each equals that codec's `encode_context` and
`encode_targets` of one example.
"""

from typing import NamedTuple

import numpy as np

from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.event.layout import (
  Changes,
  Spans,
  Tokens,
  merge_duplicates,
  tokens_between,
)
from magenta_midi.tokens.note.codec import PEDAL_DOWN, NoteCodec
from magenta_midi.typing import Int

__all__ = ["Events", "Side", "both_sides"]


# Keys from here on are those of keys that come up; only in this file.
_RELEASE = 256


class Events(NamedTuple):
  """The events around each example's *now*, padded to one width."""

  step: np.ndarray  # [b, w] from now, in 10 ms steps
  offset: np.ndarray  # [b, w] the same in ms, not rounded
  duration: np.ndarray  # [b, w] ms
  key: np.ndarray  # [b, w]
  velocity: np.ndarray  # [b, w]
  valid: np.ndarray  # [b, w]
  pedal_at_start: np.ndarray  # [b, 2] pedals at the start of the context
  part: np.ndarray  # [b, w] 0 model, 1 other part
  unfinished: np.ndarray  # [b, w] a note that ends after now


class Side(NamedTuple):
  """Frames of one side of *now*, sorted and free of duplicates, flat."""

  row: np.ndarray
  place: np.ndarray  # position of the frame in its row
  step: np.ndarray
  codes: np.ndarray  # [n, l]
  part: np.ndarray  # 0 model, 1 other part


def both_sides(
  codec: Codec,
  events: Events,
  context_steps: Int[np.ndarray, " b"],
  target_steps: int,
) -> tuple[Side, Side]:
  """The context, and the frames of both players after *now*.

  Args:
    codec: `note` or `event`.
    events: Around each *now*, from as early as may sound at a context's start.
    context_steps: Length of each context, 10 ms steps.
    target_steps: Length of the other side, 10 ms steps.

  Raises:
    ValueError: The codec is of another kind, or has no other part.
  """
  if isinstance(codec, NoteCodec):
    return _note_sides(codec, events, context_steps, target_steps)
  if isinstance(codec, EventCodec):
    if events.part.any():
      raise ValueError("the codec 'event' knows no partner: train it solo.")
    return _event_sides(codec, events, context_steps, target_steps)
  raise ValueError(f"training knows no codec {codec.name!r}.")


def _event_sides(
  codec: EventCodec,
  events: Events,
  context_steps: Int[np.ndarray, " b"],
  target_steps: int,
) -> tuple[Side, Side]:
  config = codec.config
  is_note = events.key < PEDAL_DOWN
  row, column = np.nonzero(events.valid & is_note)
  at = (row, column)
  end_ms = events.offset[at] + events.duration[at]
  spans, _ = merge_duplicates(
    Spans(
      row,
      events.key[at],
      events.step[at],
      np.floor(end_ms / config.step_ms + 0.5).astype(np.int32),
      config.velocity_to_code(events.velocity[at]),
    ),
    events.duration[at],
  )
  row, column = np.nonzero(events.valid & ~is_note)
  changes = Changes(
    row, events.step[row, column], events.key[row, column] == PEDAL_DOWN
  )
  context = tokens_between(
    spans,
    changes,
    -context_steps.astype(np.int32),
    0,
    config,
    pedal_held=events.pedal_at_start[:, 0],
  )
  now = np.zeros(len(context_steps), np.int32)
  target = tokens_between(spans, changes, now, target_steps, config)
  return _token_side(context), _token_side(target)


def _token_side(tokens: Tokens) -> Side:
  row = tokens.group
  first = np.searchsorted(row, row)
  return Side(
    row,
    np.arange(len(row)) - first,
    tokens.step,
    tokens.code[:, None],
    np.zeros(len(row), np.int32),
  )


def _note_sides(
  codec: NoteCodec,
  events: Events,
  context_steps: Int[np.ndarray, " b"],
  target_steps: int,
) -> tuple[Side, Side]:
  context = _note_context(codec, events, context_steps)
  if codec.config.releases:
    events = _with_releases(codec, events, target_steps)
  after = events.valid & (events.step >= 0)
  origin = np.zeros(len(context_steps), np.int32)
  return context, _note_side(
    codec, events, after, events.step, events.duration, origin
  )


def _with_releases(
  codec: NoteCodec, events: Events, target_steps: int
) -> Events:
  """The events, with the note-offs of the other part's held keys."""
  step_ms = codec.config.step_ms
  held = events.valid & events.unfinished & (events.part == 1)
  end_ms = events.offset + events.duration
  end = np.floor(end_ms / step_ms + 0.5).astype(events.step.dtype)
  # Not before the note itself.
  end = np.maximum(end, events.step + 1)
  released = events._replace(
    step=end,
    offset=np.maximum(end_ms, events.offset),
    duration=np.zeros_like(events.duration),
    key=_RELEASE + events.key,
    velocity=np.zeros_like(events.velocity),
    valid=held & (end >= 0) & (end < target_steps),
    unfinished=np.zeros_like(events.unfinished),
  )
  return Events(
    **{
      name: np.concatenate(
        [getattr(events, name), getattr(released, name)], axis=1
      )
      for name in Events._fields
      if name != "pedal_at_start"
    },
    pedal_at_start=events.pedal_at_start,
  )


def _rank(key: np.ndarray) -> np.ndarray:
  """Order inside one step: pedal and releases, as they came; keys ascending."""
  return np.where(key < PEDAL_DOWN, 1 + key, 0)


def _note_side(
  codec: NoteCodec,
  events: Events,
  use: np.ndarray,
  step: np.ndarray,
  duration_ms: np.ndarray,
  origin: np.ndarray,
  is_state: np.ndarray | None = None,
) -> Side:
  """Turns the used events into frames, in stream order."""
  row, column = np.nonzero(use)
  step, key = step[use], events.key[use]
  state = np.zeros(len(row), bool) if is_state is None else is_state[use]
  part = events.part[use]
  # Of exact duplicates the longest note stays, of those the loudest. Pedal
  # changes of both players stand as they came.
  longest, loudest = -duration_ms[use], -events.velocity[use]
  player = np.where(key < PEDAL_DOWN, part, 0)
  order = np.lexsort(
    (column, loudest, longest, player, _rank(key), ~state, step, row)
  )
  row, step, key, state = row[order], step[order], key[order], state[order]
  part, held = part[order], (events.unfinished[use] & (part == 1))[order]
  velocity = events.velocity[use][order]
  duration = duration_ms[use][order]
  is_note = key < PEDAL_DOWN
  same = (
    (row[1:] == row[:-1])
    & (step[1:] == step[:-1])
    & (key[1:] == key[:-1])
    & (part[1:] == part[:-1])
    & (state[1:] == state[:-1])
    & is_note[1:]
  )
  keep = np.append(True, ~same) if len(row) else np.zeros(0, bool)
  row, step, key = row[keep], step[keep], key[keep]
  part, held = part[keep], held[keep]
  velocity, duration, is_note = velocity[keep], duration[keep], is_note[keep]
  first = np.searchsorted(row, np.arange(len(origin)))
  place = np.arange(len(row)) - first[row]
  # The previous frame of the same player.
  player = 2 * row + part
  order = np.argsort(player, kind="stable")
  again = player[order[1:]] == player[order[:-1]]
  previous = origin[row]
  previous[order[1:][again]] = step[order[:-1][again]]
  codes = np.full((len(row), 4), -1, np.int32)
  codes[:, 0] = np.minimum(step - previous, codec.config.horizon_steps - 1)
  released = key >= _RELEASE
  codes[:, 1] = np.where(released, key - _RELEASE, key)
  codes[:, 2] = np.where(is_note, codec.config.velocity_to_code(velocity), -1)
  length = codec.config.duration_to_code(duration / 1000)
  # It is not known yet how long the other part holds a note.
  length = np.where(held, codec.config.held, length)
  codes[:, 3] = np.where(is_note, length, -1)
  codes[released, 3] = codec.config.released
  return Side(row, place, step, codes, part)


def _note_context(
  codec: NoteCodec, events: Events, context_steps: np.ndarray
) -> Side:
  """State frames and the events before *now*."""
  step_ms = codec.config.step_ms
  start = -context_steps[:, None].astype(np.int32)
  is_note = events.key < PEDAL_DOWN
  end_ms = events.offset + events.duration
  end = np.floor(end_ms / step_ms + 0.5)
  left_ms = end_ms - start * step_ms
  sounding = events.valid & is_note & (events.step < start) & (end > start)
  inside = events.valid & (events.step >= start) & (events.step < 0)
  step = np.where(sounding, start, events.step)
  duration = np.where(sounding, left_ms, events.duration)
  # The pedals held at the start are two more events, before all others.
  shape = (len(context_steps), 2)
  pedal = Events(
    np.zeros(shape, np.int32),
    np.zeros(shape),
    np.zeros(shape),
    np.full(shape, PEDAL_DOWN, events.key.dtype),
    np.zeros(shape, np.int32),
    events.pedal_at_start,
    events.pedal_at_start,
    np.broadcast_to(np.arange(2, dtype=np.int32), shape),
    np.zeros(shape, bool),
  )
  joined = Events(
    **{
      name: np.concatenate(pair, axis=1)
      for name, pair in (
        (name, (getattr(pedal, name), getattr(events, name)))
        for name in Events._fields
        if name != "pedal_at_start"
      )
    },
    pedal_at_start=events.pedal_at_start,
  )
  return _note_side(
    codec,
    joined,
    np.concatenate([pedal.valid, sounding | inside], axis=1),
    np.concatenate([start, start, step], axis=1),
    np.concatenate([pedal.duration, duration], axis=1),
    start[:, 0],
    np.concatenate([pedal.valid, sounding], axis=1),
  )
