"""Kernel proxy: a replacement of a matrix with a special product.

`Dense` uses only `product`; other code that reads `kernel[...]` gets the
matrix.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp

from magenta_midi.typing import Float

__all__ = ["KernelProxy"]


class KernelProxy(abc.ABC):
  """A pytree of arrays that replaces one matrix."""

  shape: tuple[int, ...]

  @abc.abstractmethod
  def as_float32(self) -> Float[jax.Array, "i o"]:
    """The whole matrix in float32."""

  def product(self, x: Float[jax.Array, "*n i"]) -> Float[jax.Array, "*n o"]:
    """Multiplies the last axis, in the dtype of `x`."""
    return jnp.dot(x, self.as_float32().astype(x.dtype))

  def __getitem__(self, index: Any) -> jax.Array:
    """A part of the matrix; `[...]` is all of it."""
    return self.as_float32()[index]
