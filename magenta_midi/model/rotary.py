"""Rotary positions of attention, over onset time and key.

Part of each head's width is turned by the time of a frame, part by its key, so
that the product of a query and a key vector depends on how far apart two notes
are, in time and in semitones, and not on where they lie.

Source: RoFormer, arXiv 2104.09864; there over the index of a token.
"""

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.model.config import KEY_PERIODS
from magenta_midi.typing import Float, Int

__all__ = ["MIDDLE_KEY", "angles_of", "rotate"]

# Periods of time in steps of 10 ms: from 80 ms, twice the finest timing of a
# hand, to 80 s, so that a context of 10 s never turns halfway round.
_SHORTEST, _LONGEST = 8.0, 8000.0
# Frames that have no key count as this one.
MIDDLE_KEY = 64


def angles_of(
  time: Int[jax.Array, "b t"],
  key: Int[jax.Array, "b t"],
  *,
  head_dim: int,
  time_pairs: int,
  key_pairs: int,
) -> Float[jax.Array, "b t _"]:
  """Angles of each frame, `head_dim / 2` of them in radians.

  Args:
    time: In steps of 10 ms from the origin.
    key: MIDI key; `MIDDLE_KEY` where a frame has none.
    head_dim: Width of a head. Pairs beyond those by time and key stay as they
      are: they compare what frames are, wherever they lie.
    time_pairs: Pairs turned by time.
    key_pairs: Pairs turned by key, at most `len(KEY_PERIODS)`.
  """
  period = np.geomspace(_SHORTEST, _LONGEST, time_pairs)
  by_time = _turns(time, period)
  by_key = _turns(key - MIDDLE_KEY, np.array(KEY_PERIODS[:key_pairs]))
  free = head_dim // 2 - time_pairs - key_pairs
  still = jnp.zeros((*time.shape, free), jnp.float32)
  return jnp.concatenate([by_time, by_key, still], axis=-1)


def _turns(position: jax.Array, period: np.ndarray) -> jax.Array:
  """Positions as angles, one for each period."""
  frequency = jnp.asarray(2 * np.pi / period, jnp.float32)
  return position[..., None].astype(jnp.float32) * frequency[None, None]


def rotate(
  x: Float[jax.Array, "b h t k"], angles: Float[jax.Array, "b t _"]
) -> Float[jax.Array, "b h t k"]:
  """Turns pairs of each head: entry i with entry `i + k / 2`."""
  cos, sin = (f(angles)[:, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
  first, second = jnp.split(x, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, first * sin + second * cos], axis=-1
  )
