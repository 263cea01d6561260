"""Residual vector quantization: each level codes what is left over.

Source: Zeghidour et al. 2021, https://arxiv.org/abs/2107.03312, section III-C
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from magenta_midi.typing import Float, Int

__all__ = ["nearest_codes", "summed_vectors"]


def nearest_codes(
  vectors: Float[Array, "t d"], codebooks: Float[Array, "l v d"]
) -> Int[Array, "t l"]:
  """Codes of each frame, of all levels.

  Of two vectors that are as near, the first one is taken.
  """

  def level(rest: Array, codebook: Array) -> tuple[Array, Array]:
    # Distances but for the length of `rest`, which is the same for all codes.
    near = 2 * jnp.dot(rest, codebook.T, precision=jax.lax.Precision.HIGHEST)
    codes = jnp.argmax(near - jnp.sum(codebook**2, axis=1)[None], axis=1)
    return rest - codebook[codes], codes

  _, codes = jax.lax.scan(level, vectors, codebooks)
  return codes.T.astype(jnp.int32)


def summed_vectors(
  codes: Int[Array, "t l"], codebooks: Float[Array, "l v d"]
) -> Float[Array, "t d"]:
  """Vectors of frames; negative codes add nothing.

  So one compiled function serves any number of levels.
  """

  def level(sum_: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
    codebook, chosen = pair
    vectors = codebook[jnp.maximum(chosen, 0)]
    return sum_ + jnp.where(chosen[:, None] >= 0, vectors, 0.0), None

  start = jnp.zeros((len(codes), codebooks.shape[2]))
  return jax.lax.scan(level, start, (codebooks, codes.T))[0]
