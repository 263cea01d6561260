"""What may come next in a stream of `event` tokens.

Pure functions of arrays on an array module `xp` (`numpy` or `jax.numpy`), as
in `rules`; every array may carry leading batch axes. What is legal is exactly
the canonical order of the encoder, so that every music has one stream:
time shifts only as needed, then note-offs, pedal changes, note-ons, keys
ascending; a velocity only where it changes, right before its note-on.
"""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.tokens.event.config import KEYS, EventCodecConfig

__all__ = ["EventRules", "advance", "init_rules", "legal"]

# Order inside a step: note-offs by key, pedal changes, note-ons by key.
_PEDAL, _ON = 128, 129


class EventRules(NamedTuple):
  """The state of the rules after the last own token.

  Attributes:
    step: int32, the absolute step since the origin; 0 at the origin.
    last: int32, the last code; -1 while there is none.
    place: int32, the lowest place in the order of this step that is left.
    velocity: int32, the running velocity's bin; -1 while there is none.
    pedal_down: bool, whether the own pedal is down.
    sounding: bool `[..., 128]`, which own keys are down.
  """

  step: Any
  last: Any
  place: Any
  velocity: Any
  pedal_down: Any
  sounding: Any


def init_rules(pedal_down: Any, sounding: Any, *, xp=np) -> EventRules:
  """At the origin, before the first own token."""
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
  """Which codes may follow.

  Args:
    rules: The state after the previous own token.
    config: The codec's settings.
    earliest_step: Nothing may happen before it (what is committed or past);
      full time shifts may lead up to it.
    end_step: Nor at it or after it (the end of the chunk).
    keys: bool `[128]`, keys that may be struck, at least one; None: all.
    xp: Array module.

  Returns:
    bool `[..., size]`, never all False. BOS is never legal; EOS is but after
    a velocity or a time shift, which announce something.
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
  # After a full shift onto a place where nothing may stand, nothing is left.
  stop = ~announced & ~shifted & ((last != full) | ~here)
  return xp.concatenate([onward, on, off, louder, pedal, never, stop], axis=-1)


def advance(
  rules: EventRules, codes: Any, config: EventCodecConfig, *, xp=np
) -> EventRules:
  """The state after one own token; BOS and EOS change nothing."""
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
  """0 up to size along the last axis, after the batch axes."""
  return xp.arange(size).reshape((1,) * rules.step.ndim + (size,))


def _column(value: Any, xp) -> Any:
  value = xp.asarray(value)
  return value[..., None] if value.ndim else value
