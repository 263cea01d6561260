"""Noise that belongs to a moment.

A plan is drawn again many times a second. If each draw had fresh noise, it
would change its mind each time; with noise that is a function of the moment
and the code, it changes only where the probabilities did.
"""

import jax
import jax.numpy as jnp

from magenta_midi.typing import Float, Int

__all__ = ["timed_gumbel"]


def timed_gumbel(
  seed: Int[jax.Array, ""] | jax.Array,
  level: int,
  moment: Int[jax.Array, " v"],
  salt: Int[jax.Array, " v"],
) -> Float[jax.Array, " v"]:
  """Gumbel noise, a fixed function of its arguments.

  Hashed by two rounds of the finaliser of MurmurHash3: a few operations a
  value, where a counter-based generator's key for each would cost more than
  the draw.

  Args:
    seed: uint32, of the session.
    level: Of the frame.
    moment: int32, what each value belongs to.
    salt: int32, likewise.
  """
  x = _mixed(jnp.asarray(seed).astype(jnp.uint32) + jnp.uint32(level + 1))
  x = _mixed(x ^ _mixed(moment.astype(jnp.uint32)))
  x = _mixed(x + _mixed(salt.astype(jnp.uint32) + jnp.uint32(0x9E3779B9)))
  # 24 bits, moved off 0 and 1.
  uniform = ((x >> 8).astype(jnp.float32) + 0.5) / (1 << 24)
  return -jnp.log(-jnp.log(uniform))


def _mixed(x: jax.Array) -> jax.Array:
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
