"""Sampling of one code from the logits of one level."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.limits import SAMPLING
from magenta_midi.typing import Bool, Float, Int

__all__ = ["LevelSampling", "Sampling", "draw", "draw_with"]
__all__ += ["kth_largest", "level_sampling", "reaches"]

NEVER = -1e30
# Up to this temperature a draw is always the likeliest code.
LIKELIEST = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """Settings of drawing; a sequence has one value for each level.

  Values are traced, so a change while playing compiles nothing.
  """

  # Above 1: more variety; below 1: less; 0: always the most likely code.
  temperature: float | Sequence[float] = 1.0
  # Only the k most likely codes; 0: all.
  top_k: int | Sequence[int] = 0
  # Only the most likely codes that together have this probability.
  top_p: float | Sequence[float] = 1.0
  # Only codes with at least this probability, relative to the most likely one.
  min_p: float | Sequence[float] = 0.0

  def __post_init__(self) -> None:
    """Checks the ranges of all values."""
    for name, bounds in SAMPLING.items():
      for value in np.ravel(np.asarray(getattr(self, name), object)):
        bounds.check(name, value)


class LevelSampling(NamedTuple):
  """`Sampling` as arrays, one value for each level."""

  temperature: jax.Array | np.ndarray
  top_k: jax.Array | np.ndarray
  top_p: jax.Array | np.ndarray
  min_p: jax.Array | np.ndarray


def level_sampling(sampling: Sampling, levels: int) -> LevelSampling:
  """Makes one value for each level.

  Raises:
    ValueError: A sequence has another length than the levels.
  """

  def spread(name: str, dtype: type) -> np.ndarray:
    values = np.asarray(getattr(sampling, name), dtype)
    if values.ndim and values.shape != (levels,):
      raise ValueError(
        f"{name} must be one value or {levels} (one a level), got"
        f" {values.size}."
      )
    return np.broadcast_to(values, (levels,)).copy()

  return LevelSampling(
    spread("temperature", np.float32),
    spread("top_k", np.int32),
    spread("top_p", np.float32),
    spread("min_p", np.float32),
  )


def kth_largest(
  x: Float[jax.Array, "... v"], k: Int[jax.Array, ""] | int
) -> Float[jax.Array, "..."]:
  """The exact k-th largest value of the last axis; k may be traced.

  Finds the value bit by bit with 32 counts. On a CPU this takes 0.1 ms for
  11,392 values; sorting or `jax.lax.top_k` takes 1.7 ms.

  Args:
    x: Float32 without NaN.
    k: At least 1; if larger than the axis, the result is the smallest value.
  """
  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  # Integers in the same order as the floats.
  ordered = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
  k = jnp.minimum(k, x.shape[-1])

  def enough(threshold: jax.Array) -> jax.Array:
    return jnp.sum(ordered >= threshold[..., None], axis=-1) >= k

  def refine(bit: jax.Array, low: jax.Array) -> jax.Array:
    higher = low + jnp.left_shift(jnp.int32(1), 30 - bit)
    return jnp.where(enough(higher), higher, low)

  low = jnp.full(x.shape[:-1], jnp.iinfo(jnp.int32).min)
  low = jnp.where(enough(jnp.zeros_like(low)), 0, low)
  found = jax.lax.fori_loop(0, 31, refine, low)
  bits = jnp.where(found < 0, found ^ 0x7FFFFFFF, found)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def reaches(
  x: Float[jax.Array, "... v"],
  threshold: Float[jax.Array, "..."],
  largest: Float[jax.Array, "..."],
) -> Bool[jax.Array, "... v"]:
  """Mask of the values that are at least a threshold, which is one of them.

  A compiler may compute a value twice and round it differently, for the
  threshold and for the comparison. Then the threshold value would miss itself.
  So values that are lower by a rounding error also count.

  Args:
    x: Logits.
    threshold: The smallest value that counts.
    largest: The largest value of `x`.
  """
  slack = 1e-5 * jnp.maximum(1.0, jnp.maximum(abs(largest), abs(threshold)))
  return x >= (threshold - slack)[..., None]


def draw(
  key: jax.Array,
  logits: Float[jax.Array, " v"],
  legal: Bool[jax.Array, " v"],
  temperature: Float[jax.Array, ""],
  top_k: Int[jax.Array, ""],
  top_p: Float[jax.Array, ""],
  min_p: Float[jax.Array, ""],
) -> Int[jax.Array, ""]:
  """Draws one code with noise from `key`; see `draw_with`."""
  return draw_with(
    jax.random.gumbel(key, logits.shape),
    logits,
    legal,
    temperature,
    top_k,
    top_p,
    min_p,
  )


def draw_with(
  noise: Float[jax.Array, " v"],
  logits: Float[jax.Array, " v"],
  legal: Bool[jax.Array, " v"],
  temperature: Float[jax.Array, ""],
  top_k: Int[jax.Array, ""],
  top_p: Float[jax.Array, ""],
  min_p: Float[jax.Array, ""],
) -> Int[jax.Array, ""]:
  """Draws one code, given Gumbel noise.

  Illegal codes are removed first, so the limits apply to legal codes. The most
  likely legal code always stays.
  """
  size = logits.shape[0]
  logits = jnp.where(legal, logits, NEVER)
  scaled = logits / jnp.maximum(temperature, LIKELIEST)
  ordered = jnp.sort(scaled, descending=True)
  probability = jax.nn.softmax(ordered)
  before = jnp.cumsum(probability) - probability
  kept = jnp.sum((before < top_p) & (probability >= min_p * probability[0]))
  kept = jnp.minimum(kept, jnp.where(top_k > 0, top_k, size))
  # Codes as likely as the last kept one are kept too, as in the original.
  threshold = ordered[jnp.maximum(kept, 1) - 1]
  noise = jnp.where(temperature > LIKELIEST, noise, 0.0)
  allowed = legal & reaches(scaled, threshold, ordered[0])
  return jnp.argmax(jnp.where(allowed, scaled + noise, -jnp.inf))
