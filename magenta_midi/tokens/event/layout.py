"""Layout of notes and pedal changes as event tokens.

Pure functions of flat arrays. They work on many groups at once: the parts of a
file, model and player in a context, or the examples of a training batch.
"""

from typing import NamedTuple

import numpy as np

from magenta_midi.tokens.event.config import EventCodecConfig
from magenta_midi.typing import Bool, Int

__all__ = ["Changes", "Spans", "Tokens"]
__all__ += ["merge_duplicates", "time_shifts", "tokens_between"]

# Order inside a step: what already sounds at the start of the stream, then
# note-offs, pedal changes in order of time, note-ons; keys ascending.
_STATE_PEDAL, _STATE_ON, _OFF, _PEDAL, _ON = 0, 1, 129, 257, 258
_RANK_BITS = 10


class Spans(NamedTuple):
  """Notes on the grid, sorted by group, key and step; all `[n]`."""

  group: np.ndarray
  key: np.ndarray
  step: np.ndarray
  end: np.ndarray  # step of the note-off, at least one after `step`
  velocity: np.ndarray  # bin


class Changes(NamedTuple):
  """Pedal changes, in order of time within a group; all `[n]`."""

  group: np.ndarray
  step: np.ndarray
  down: np.ndarray


class Tokens(NamedTuple):
  """Event tokens, group after group; all `[n]`."""

  group: np.ndarray
  step: np.ndarray  # time of the event; for a time shift: the time after it
  code: np.ndarray


def merge_duplicates(
  spans: Spans, duration: Int[np.ndarray, " n"] | np.ndarray
) -> tuple[Spans, int]:
  """Merges duplicates and ends each note before the next of its key.

  Of notes equal in group, key and step the longest stays; of equally long ones,
  the loudest. Every note lasts at least one step.

  Args:
    spans: In any order.
    duration: Duration of each note before rounding, in any unit.

  Returns:
    The notes sorted by group, key and step, and the number left out.
  """
  if not len(spans.step):
    return spans, 0
  voice = spans.group.astype(np.int64) * 128 + spans.key
  place = (voice << 32) + (spans.step - int(spans.step.min()))
  order = np.argsort(place, kind="stable")
  sorted_place = place[order]
  fresh = np.append(True, sorted_place[1:] != sorted_place[:-1])
  if not fresh.all():
    # Rounded, so that float error does not separate equal notes.
    order = np.lexsort((-spans.velocity, -np.round(duration, 6), place))[fresh]
  spans = Spans(*(field[order] for field in spans))
  voice = voice[order]
  end = np.maximum(spans.end, spans.step + 1)
  again = np.flatnonzero(voice[1:] == voice[:-1])
  end[again] = np.minimum(end[again], spans.step[again + 1])
  return spans._replace(end=end), int(np.count_nonzero(~fresh))


def time_shifts(wait: int, config: EventCodecConfig) -> Int[np.ndarray, " n"]:
  """Steps of the time shifts that add up to `wait`, full ones first."""
  full, rest = divmod(wait, config.shift_steps)
  shifts = np.full(full, config.shift_steps)
  return np.append(shifts, rest) if rest else shifts


def tokens_between(
  spans: Spans,
  changes: Changes,
  start: Int[np.ndarray, " g"],
  stop: int,
  config: EventCodecConfig,
  *,
  pedal_held: Bool[np.ndarray, " g"] | None = None,
  chunk_steps: int | None = None,
) -> Tokens:
  """The tokens of each group, from its start to a common end.

  Args:
    spans: From `merge_duplicates`.
    changes: Pedal changes.
    start: First step of each group.
    stop: End of all groups, exclusive.
    config: The codec's settings.
    pedal_held: Which groups start with the pedal down. If given, the stream
      starts with tokens for sounding notes and pedals that are down (a
      context). If None, it contains the note-offs of notes from before the
      start (targets).
    chunk_steps: If given, time and velocity start again every `chunk_steps`
      steps (a file).
  """
  first = start[spans.group]
  inside = (spans.step >= first) & (spans.step < stop)
  if pedal_held is None:
    sounds = np.zeros(len(inside), bool)
    offs = (spans.end >= first) & (spans.end < stop)
  else:
    sounds = (spans.step < first) & (spans.end > first)
    offs = (inside | sounds) & (spans.end < stop)
  held = (
    np.zeros(0, np.int64) if pedal_held is None else np.flatnonzero(pedal_held)
  )
  pedal = (changes.step >= start[changes.group]) & (changes.step < stop)
  pedal_code = np.where(changes.down, config.pedal_down, config.pedal_up)
  key = spans.key
  unused = -1
  rows = [
    (held, start[held], _STATE_PEDAL, config.pedal_down, unused),
    (
      spans.group[sounds],
      first[sounds],
      _STATE_ON + key[sounds],
      config.note_on + key[sounds],
      spans.velocity[sounds],
    ),
    (
      spans.group[offs],
      spans.end[offs],
      _OFF + key[offs],
      config.note_off + key[offs],
      unused,
    ),
    (changes.group[pedal], changes.step[pedal], _PEDAL, pedal_code[pedal], -1),
    (
      spans.group[inside],
      spans.step[inside],
      _ON + key[inside],
      config.note_on + key[inside],
      spans.velocity[inside],
    ),
  ]
  group, step, rank, code, velocity = (
    np.concatenate(
      [np.broadcast_to(row[field], row[0].shape) for row in rows]
    ).astype(np.int64)
    for field in range(5)
  )
  low = int(step.min()) if len(step) else 0
  place = (((group << 32) + (step - low)) << _RANK_BITS) + rank
  order = np.argsort(place, kind="stable")
  group, step = group[order], step[order]
  origin = start[group].astype(np.int64)
  if chunk_steps is not None:
    origin = step // chunk_steps * chunk_steps
  return _lay_out(group, step, code[order], velocity[order], origin, config)


def _lay_out(
  group: np.ndarray,
  step: np.ndarray,
  code: np.ndarray,
  velocity: np.ndarray,
  origin: np.ndarray,
  config: EventCodecConfig,
) -> Tokens:
  """Inserts time shifts and velocities before the tokens that need them."""
  count = len(step)
  if not count:
    empty = np.zeros(0, np.int32)
    return Tokens(empty, empty, empty)
  opens = np.append(
    True, (group[1:] != group[:-1]) | (origin[1:] != origin[:-1])
  )
  before = np.where(opens, origin, np.append(0, step[:-1]))
  wait = step - before
  max_shift = config.shift_steps
  shifts = -(-wait // max_shift)
  ons = np.flatnonzero(velocity >= 0)
  stretch = np.cumsum(opens)[ons]
  speaks = np.zeros(count, bool)
  speaks[ons] = np.append(
    True,
    (velocity[ons][1:] != velocity[ons][:-1]) | (stretch[1:] != stretch[:-1]),
  )[: len(ons)]
  stop = np.cumsum(shifts + speaks + 1)
  first = stop - (shifts + speaks + 1)
  owner = np.repeat(np.arange(count), shifts + speaks + 1)
  codes = np.empty(len(owner), np.int64)
  steps = step[owner]
  codes[stop - 1] = code
  codes[stop[speaks] - 2] = config.velocity + velocity[speaks]
  waits = np.flatnonzero(shifts)
  last = first[waits] + shifts[waits] - 1
  codes[last] = wait[waits] - max_shift * (shifts[waits] - 1) - 1
  # A wait longer than one time shift begins with full shifts.
  long = np.flatnonzero(shifts > 1)
  extra = shifts[long] - 1
  source = np.repeat(long, extra)
  nth = np.arange(len(source)) - np.repeat(np.cumsum(extra) - extra, extra)
  codes[first[source] + nth] = max_shift - 1
  steps[first[source] + nth] = before[source] + max_shift * (nth + 1)
  return Tokens(
    group[owner].astype(np.int32),
    steps.astype(np.int32),
    codes.astype(np.int32),
  )
