"""More notes or fewer, without another model: the pace of a point process."""

import jax
import jax.numpy as jnp

from magenta_midi.typing import Float

__all__ = ["paced"]


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
  # What is left before each step, summed from the end: no cancellation.
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
