"""Residual quantizer of the piano codec.

Each level projects what is left to a few numbers, centers and scales these by
their moving mean and deviation, normalizes them to length 1 and looks up the
nearest code, also of length 1. Codes are moving averages of what chose them, so
they need no gradient; codes that are hardly chosen any more begin anew from the
batch.

Source: SoundStream, arXiv 2107.03312; DAC, arXiv 2306.06546, for the lookup in
few dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.typing import Float, Int

__all__ = ["Codebook", "Quantized", "ResidualQuantizer", "unit"]


class Codebook(nnx.Variable):
  """Codes: no parameter of the optimizer."""


class Quantized(NamedTuple):
  """What a training step gets of the quantizer.

  Attributes:
    latents: `[b, t, d]`, with straight-through gradients.
    commitment: How far what is looked up is from its codes.
    codes: `[b, t, l]`.
    points: `[l, b t, k]`, what was looked up; unit vectors.
    projected: `[l, b t, k]`, the same before it was centered.
  """

  latents: jax.Array
  commitment: jax.Array
  codes: jax.Array
  points: jax.Array
  projected: jax.Array


class ResidualQuantizer(nnx.Module):
  """Levels of codes.

  Attributes:
    books: `[l, v, k]`, unit vectors.
    centers: `[l, k]`, mean of what is projected.
    spreads: `[l, k]`, its deviation.
  """

  def __init__(
    self,
    *,
    levels: int,
    codes: int,
    code_width: int,
    width: int,
    rngs: nnx.Rngs,
  ):
    self.levels = levels
    shape = (levels, codes, code_width)
    books = jax.random.normal(rngs.params(), shape)
    self.books = Codebook(unit(books))
    # Uncentered, all points lie in a narrow cone when a training begins.
    self.centers = Codebook(jnp.zeros((levels, code_width)))
    self.spreads = Codebook(jnp.ones((levels, code_width)))
    self.into = nnx.List(
      nnx.Linear(width, code_width, rngs=rngs) for _ in range(levels)
    )
    self.out = nnx.List(
      nnx.Linear(code_width, width, rngs=rngs) for _ in range(levels)
    )

  def __call__(
    self,
    latents: Float[jax.Array, "b t d"],
    used: Int[jax.Array, " b"],
  ) -> Quantized:
    """Quantizes in training.

    Args:
      latents: The encoder's.
      used: Levels that each example uses, 1 or more: quantizer dropout.
    """
    rest, total, commitment = latents, jnp.zeros_like(latents), jnp.zeros(())
    codes, points, projected = [], [], []
    for level in range(self.levels):
      raw = self.into[level](rest)
      point = self._point(level, raw)
      chosen = self._nearest(level, point)
      found = self.books[level][chosen]
      takes_part = (level < used).astype(jnp.float32)[:, None, None]
      far = jnp.sum(jnp.square(point - jax.lax.stop_gradient(found)), axis=-1)
      commitment += jnp.mean(far * takes_part[..., 0])
      passed = point + jax.lax.stop_gradient(found - point)
      part = self.out[level](passed)
      total += part * takes_part
      rest -= part
      codes.append(chosen)
      points.append(point.reshape(-1, point.shape[-1]))
      projected.append(raw.reshape(-1, raw.shape[-1]))
    return Quantized(
      total,
      commitment,
      jnp.stack(codes, axis=-1),
      *jax.lax.stop_gradient((jnp.stack(points), jnp.stack(projected))),
    )

  def codes_of(
    self, latents: Float[jax.Array, "b t d"]
  ) -> Int[jax.Array, "b t l"]:
    """The codes of latents."""
    rest, codes = latents, []
    for level in range(self.levels):
      point = self._point(level, self.into[level](rest))
      chosen = self._nearest(level, point)
      rest -= self.out[level](self.books[level][chosen])
      codes.append(chosen)
    return jnp.stack(codes, axis=-1)

  def latents_of(
    self, codes: Int[jax.Array, "b t l"]
  ) -> Float[jax.Array, "b t d"]:
    """The latents of codes, of the first levels or of all."""
    parts = [
      self.out[level](self.books[level][codes[..., level]])
      for level in range(codes.shape[-1])
    ]
    return sum(parts[1:], parts[0])

  def _point(
    self, level: int, raw: Float[jax.Array, "b t k"]
  ) -> Float[jax.Array, "b t k"]:
    center = self.centers[level][None, None]
    return unit((raw - center) / self.spreads[level][None, None])

  def _nearest(
    self, level: int, point: Float[jax.Array, "b t k"]
  ) -> Int[jax.Array, "b t"]:
    # Of unit vectors, the largest product is the least distance.
    return jnp.argmax(point @ self.books[level].T, axis=-1).astype(jnp.int32)


def unit(x: Float[jax.Array, "... k"]) -> Float[jax.Array, "... k"]:
  return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-8)
