"""Draws of events: the rate of a point process, and noise of a moment.

A plan is drawn again many times a second. With fresh noise at each draw it
would change each time. Noise that is a function of the moment and the code
changes a plan only where the probabilities changed.
"""

import jax
import jax.numpy as jnp

from magenta_midi.typing import Float, Int

__all__ = ["paced", "timed_gumbel"]


def paced(
  logits: Float[jax.Array, " v"], pace: Float[jax.Array, ""]
) -> Float[jax.Array, " v"]:
  """Scales the rate at which the next event comes.

  The onset level says how likely it is that the next event comes after 0, 1,
  2 ... steps, or not at all (its last code, END). That is a hazard at each
  step, h = p / (what is left). Each hazard becomes 1 - (1 - h)^pace, as if
  `pace` players tried at once. Step 0 (the rest of a chord) stays as it is.

  Args:
    logits: Of the onset level, -1e30 where not legal.
    pace: 1 changes nothing.
  """
  p = jax.nn.softmax(logits)
  later = p.at[0].set(0.0)
  # Probability left before each step, summed from the end: no cancellation.
  left = jnp.cumsum(later[::-1])[::-1]
  survives = jnp.clip(1 - later / jnp.maximum(left, 1e-30), 1e-12, 1.0)
  # The last code is what remains, whatever the pace.
  survives = survives.at[-1].set(1e-12)
  log_survives = jnp.log(survives)
  before = jnp.cumsum(log_survives) - log_survives
  log_hazard = jnp.log(-jnp.expm1(pace * log_survives))
  scaled = jnp.log(jnp.maximum(left[0], 1e-30)) + pace * before + log_hazard
  scaled = jnp.where(later > 0, scaled, -1e30)
  scaled = scaled.at[0].set(jnp.log(jnp.maximum(p[0], 1e-30)))
  scaled = scaled.at[0].set(jnp.where(p[0] > 0, scaled[0], -1e30))
  return jnp.where(pace == 1.0, logits, scaled)


def timed_gumbel(
  seed: Int[jax.Array, ""] | jax.Array,
  level: int,
  moment: Int[jax.Array, " v"],
  salt: Int[jax.Array, " v"],
) -> Float[jax.Array, " v"]:
  """Gumbel noise, a fixed function of its arguments.

  Hashed by two rounds of the finalizer of MurmurHash3: a few operations a
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
