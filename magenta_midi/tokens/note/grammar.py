"""Grammar of a stream of `note` frames: which frame is legal next.

Pure functions of arrays on an array module `xp` (`numpy` or `jax.numpy`). A
sampler can run them inside a compiled loop, and this package needs only NumPy.
`level` and the configuration are static; nothing branches on a value. Arrays
may have leading batch axes.
"""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.tokens.note.config import (
  KEYS,
  PEDAL_DOWN,
  PEDAL_UP,
  NoteCodecConfig,
)

__all__ = ["Rules", "advance", "applies", "init_rules", "legal"]

ONSET, KEY, VELOCITY, DURATION = range(4)


class Rules(NamedTuple):
  """The state of the grammar after the model's last frame.

  Attributes:
    step: int32, steps since the origin.
    last_key: int32, key level of the last frame (0..127, PEDAL_DOWN, PEDAL_UP);
      -1: no frame yet.
    pedal_down: bool, whether the model's pedal is down.
  """

  step: Any
  last_key: Any
  pedal_down: Any


def init_rules(pedal_down: Any, *, xp=np) -> Rules:
  """The state at the origin, before the model's first frame."""
  down = xp.asarray(pedal_down, dtype=bool)
  zero = xp.zeros(down.shape, xp.int32)
  return Rules(zero, zero - 1, down)


def applies(level: int, codes: Any, config: NoteCodecConfig, *, xp=np) -> Any:
  """Whether a frame uses a level, given its codes of lower levels.

  Args:
    level: 0 onset, 1 key, 2 velocity, 3 duration.
    codes: `[..., l]` level-local; entries at `level` and above are not read.
    config: The codec's settings.
    xp: Array module.

  Returns:
    bool `[...]`. END uses only level 0, a pedal change levels 0 and 1.
  """
  onset = codes[..., ONSET]
  if level == ONSET:
    return xp.ones(onset.shape, bool)
  used = onset != config.end
  if level == KEY:
    return used
  return used & (codes[..., KEY] < KEYS)


def legal(
  level: int,
  codes: Any,
  rules: Rules,
  config: NoteCodecConfig,
  *,
  earliest_step: Any = 0,
  end_step: Any,
  keys: Any = None,
  xp=np,
) -> Any:
  """Mask of the legal next codes of a level.

  Args:
    level: 0 onset, 1 key, 2 velocity, 3 duration.
    codes: `[..., l]` level-local; entries at `level` and above are not read.
    rules: The state after the model's previous frame.
    config: The codec's settings.
    earliest_step: Earliest legal step (earlier music is committed or past).
    end_step: End of the chunk; events must come before it.
    keys: bool `[128]`, keys that may be played, at least one; None: all.
    xp: Array module.

  Returns:
    bool `[..., level_size]`, never all False. END is always legal. An onset s
    is legal if `earliest_step <= rules.step + s < end_step`. Inside a step
    pedal changes come first, then keys ascending. Only a pedal change that
    changes the pedal is legal. HELD and RELEASED are never legal.
  """
  if level == ONSET:
    onset = _codes(config.horizon_steps + 1, rules, xp)
    at = rules.step[..., None] + onset
    fits = (at >= _column(earliest_step, xp)) & (at < _column(end_step, xp))
    # After the highest key no event of the same step is legal.
    last = rules.last_key[..., None]
    if keys is None:
      fits &= (onset > 0) | (last != KEYS - 1)
    else:
      left = keys & (_codes(KEYS, rules, xp) > last)
      left = xp.any(left, axis=-1, keepdims=True)
      fits &= (onset > 0) | (last >= KEYS) | left
    return fits | (onset == config.end)
  if level == KEY:
    key = _codes(KEYS + 2, rules, xp)
    last = rules.last_key[..., None]
    is_key = key < KEYS
    if keys is not None:
      is_key &= xp.append(keys, xp.zeros(2, bool))
    # -1 (no frame yet) and pedals (above all keys) set no lower limit.
    after_key = (
      (codes[..., ONSET] == 0)[..., None] & (last >= 0) & (last < KEYS)
    )
    change = xp.where(rules.pedal_down, PEDAL_UP, PEDAL_DOWN)[..., None]
    return xp.where(after_key, is_key & (key > last), is_key | (key == change))
  batch = rules.step.shape
  if level == VELOCITY:
    return xp.ones((*batch, config.velocity_bins), bool)
  sounding = xp.arange(config.duration_codes) < config.held
  return xp.broadcast_to(sounding, (*batch, config.duration_codes))


def advance(
  rules: Rules, codes: Any, config: NoteCodecConfig, *, xp=np
) -> Rules:
  """The state after one more frame; END changes nothing."""
  onset, key = codes[..., ONSET], codes[..., KEY]
  plays = onset != config.end
  down = xp.where(key == PEDAL_UP, False, rules.pedal_down)
  down = xp.where(key == PEDAL_DOWN, True, down)
  return Rules(
    xp.where(plays, rules.step + onset, rules.step).astype(xp.int32),
    xp.where(plays, key, rules.last_key).astype(xp.int32),
    xp.where(plays, down, rules.pedal_down),
  )


def _codes(size: int, rules: Rules, xp) -> Any:
  """The codes of a level along the last axis, after the batch axes."""
  return xp.arange(size).reshape((1,) * rules.step.ndim + (size,))


def _column(value: Any, xp) -> Any:
  value = xp.asarray(value)
  return value[..., None] if value.ndim else value
