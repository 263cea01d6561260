"""Grammar of a stream of `event` tokens: which token is legal next.

Pure functions of arrays on an array module `xp` (`numpy` or `jax.numpy`), as in
`tokens.note.grammar`; arrays may have leading batch axes. Only the order of the
encoder is legal, so that the same music always gives the same stream: time
shifts only where needed, then note-offs, pedal changes and note-ons, keys
ascending. A velocity is legal only if it changes, directly before its note-on.
"""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.tokens.event.config import KEYS, EventCodecConfig

__all__ = ["EventRules", "advance", "init_rules", "legal"]

# Order inside a step: note-offs by key, pedal changes, note-ons by key.
_PEDAL, _ON = 128, 129


class EventRules(NamedTuple):
  """The state of the grammar after the model's last token.

  Attributes:
    step: int32, steps since the origin.
    last: int32, the last code; -1: none yet.
    place: int32, the first position in the order of this step that is free.
    velocity: int32, the velocity bin in force; -1: none yet.
    pedal_down: bool, whether the model's pedal is down.
    sounding: bool `[..., 128]`, which of the model's keys are down.
  """

  step: Any
  last: Any
  place: Any
  velocity: Any
  pedal_down: Any
  sounding: Any


def init_rules(pedal_down: Any, sounding: Any, *, xp=np) -> EventRules:
  """The state at the origin, before the model's first token."""
  down = xp.asarray(pedal_down, dtype=bool)
  zero = xp.zeros(down.shape, xp.int32)
  return EventRules(
    zero, zero - 1, zero, zero - 1, down, xp.asarray(sounding, dtype=bool)
  )


def legal(
  rules: EventRules,
  config: EventCodecConfig,
  *,
  earliest_step: Any = 0,
  end_step: Any,
  keys: Any = None,
  xp=np,
) -> Any:
  """Mask of the legal next codes.

  Args:
    rules: The state after the model's previous token.
    config: The codec's settings.
    earliest_step: Earliest legal step of an event (earlier music is committed
      or past); full time shifts may lead to it.
    end_step: End of the chunk; events must come before it.
    keys: bool `[128]`, keys that may be played, at least one; None: all.
    xp: Array module.

  Returns:
    bool `[..., size]`, never all False. BOS is never legal. EOS is always
    legal, except after a velocity or a time shift, which need a next token.
  """
  step, last = rules.step[..., None], rules.last[..., None]
  place = rules.place[..., None]
  earliest, end = _column(earliest_step, xp), _column(end_step, xp)
  full = config.shift_steps - 1
  shifted = (last >= 0) & (last < full)
  announced = (last >= config.velocity) & (last < config.pedal_down)
  here = (step >= earliest) & (step < end)

  wait = _codes(config.shift_steps, rules, xp) + 1
  at = step + wait
  onward = ~announced & ~shifted & (at < end)
  onward &= (at >= earliest) | (wait == config.shift_steps)

  key = _codes(KEYS, rules, xp)
  sounding = rules.sounding
  free = ~sounding & (_ON + key >= place)
  if keys is not None:
    free &= keys
  on = here & free & (rules.velocity >= 0)[..., None]
  off = here & ~announced & sounding & (key >= place)

  bins = _codes(config.velocity_bins, rules, xp)
  room = xp.any(free, axis=-1)[..., None]
  louder = here & ~announced & room & (bins != rules.velocity[..., None])

  change = here & ~announced & (place <= _PEDAL)
  pedal = xp.concatenate(
    [
      change & ~rules.pedal_down[..., None],
      change & rules.pedal_down[..., None],
    ],
    axis=-1,
  )
  never = xp.zeros(step.shape, bool)
  # After a full time shift to a step where no event is legal, EOS is not legal.
  stop = ~announced & ~shifted & ((last != full) | ~here)
  return xp.concatenate([onward, on, off, louder, pedal, never, stop], axis=-1)


def advance(
  rules: EventRules, codes: Any, config: EventCodecConfig, *, xp=np
) -> EventRules:
  """The state after one more token; BOS and EOS change nothing."""
  code = codes[..., 0]
  is_shift = code < config.note_on
  is_on = (code >= config.note_on) & (code < config.note_off)
  is_off = (code >= config.note_off) & (code < config.velocity)
  is_velocity = (code >= config.velocity) & (code < config.pedal_down)
  is_pedal = (code == config.pedal_down) | (code == config.pedal_up)
  happens = code < config.begin
  on_key, off_key = code - config.note_on, code - config.note_off
  key = _codes(KEYS, rules, xp)
  sounding = rules.sounding | (is_on[..., None] & (key == on_key[..., None]))
  sounding &= ~(is_off[..., None] & (key == off_key[..., None]))
  place = xp.where(is_shift, 0, rules.place)
  place = xp.where(is_off, off_key + 1, place)
  place = xp.where(is_pedal, _PEDAL, place)
  place = xp.where(is_velocity, xp.maximum(place, _ON), place)
  place = xp.where(is_on, _ON + on_key + 1, place)
  velocity = xp.where(is_velocity, code - config.velocity, rules.velocity)
  down = xp.where(is_pedal, code == config.pedal_down, rules.pedal_down)
  return EventRules(
    xp.where(is_shift, rules.step + code + 1, rules.step).astype(xp.int32),
    xp.where(happens, code, rules.last).astype(xp.int32),
    place.astype(xp.int32),
    velocity.astype(xp.int32),
    down,
    sounding,
  )


def _codes(size: int, rules: EventRules, xp) -> Any:
  """The codes 0..size-1 along the last axis, after the batch axes."""
  return xp.arange(size).reshape((1,) * rules.step.ndim + (size,))


def _column(value: Any, xp) -> Any:
  value = xp.asarray(value)
  return value[..., None] if value.ndim else value
