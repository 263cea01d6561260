"""Convolutions over time that begin a sound, and go on where they stopped.

Every layer has two functions. `begin` gets the first samples and knows what
lies before them; `go_on` gets the next ones and what the layer kept of those
before. `valid` counts the steps of time that are real: what is behind them may
hold anything, and changes nothing. None: all are real.

Source: Défossez et al. 2022, https://arxiv.org/abs/2210.13438, section 3.1
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from magenta_midi.typing import Float

__all__ = ["Conv", "State", "TransposedConv", "Valid"]

# A number of steps, traced; None: all.
Valid: TypeAlias = Any
# State of a layer between two calls: arrays of fixed shapes.
State: TypeAlias = Any
_EXACT = jax.lax.Precision.HIGHEST
_EPSILON = 1e-5


class Conv(nnx.Module):
  """A convolution; with a stride it makes fewer steps of its input."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    causal: bool = True,
    mirrored: bool = True,
    group_norm: bool = False,
    rngs: nnx.Rngs,
  ):
    shape = (kernel, inputs, outputs)
    self.kernel = nnx.Param(
      nnx.initializers.he_normal(in_axis=(0, 1))(rngs.params(), shape)
    )
    self.bias = nnx.Param(jnp.zeros(outputs))
    self.norm = Norm(outputs) if group_norm else None
    self.stride, self.dilation, self.mirrored = stride, dilation, mirrored
    reach = (kernel - 1) * dilation + 1 - stride
    # Steps before the first input and after the last one.
    self.right = 0 if causal else reach // 2
    self.left = reach - self.right

  def begin(
    self, x: Float[Array, "t d"], valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of a sound's start, and what is kept.

    If more is to follow, `valid` must be all of `x`, and `x` longer than the
    convolution reaches back.
    """
    length = len(x)
    rounded = -(-length // self.stride) * self.stride
    count = length if valid is None else valid
    steps = -(-count // self.stride)
    # Inputs that the last output reads and that are not there.
    missing = self.right + steps * self.stride - count
    place = jnp.arange(-self.left, rounded + self.right)
    known = place < count
    if self.mirrored:
      # Of a short sound, silence behind it is mirrored too.
      turn = jnp.maximum(count, jnp.maximum(self.left, missing) + 1)
      place = jnp.abs(jnp.where(place < turn, place, 2 * turn - 2 - place))
      known = place < count
    known &= place >= 0
    padded = jnp.where(
      known[:, None], x[jnp.clip(place, 0, length - 1)], jnp.zeros((), x.dtype)
    )
    y = self._apply(padded, None if valid is None else steps)
    kept = padded[padded.shape[0] - self.right - self.left :][: self.left]
    return y, None if valid is None else steps, kept

  def go_on(
    self, x: Float[Array, "t d"], kept: State, valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of what follows; causal convolutions only.

    A number of steps that is no multiple of the stride ends the sound.
    """
    joined = jnp.concatenate([kept, x])
    after = joined[len(joined) - self.left :]
    if valid is None:
      return self._apply(joined, None), None, after
    if self.stride > 1:
      place = jnp.arange(len(joined))
      end = self.left + valid
      known = place < end
      if self.mirrored:
        place = jnp.where(known, place, 2 * end - 2 - place)
        known = place >= 0
      joined = jnp.where(
        known[:, None], joined[jnp.clip(place, 0)], jnp.zeros((), x.dtype)
      )
    steps = -(-valid // self.stride)
    return self._apply(joined, steps), steps, after

  def silence(self) -> State:
    """What is kept of silence before the sound."""
    return jnp.zeros((self.left, self.kernel.shape[1]))

  def _apply(self, x: Array, valid: Valid) -> Array:
    y = jax.lax.conv_general_dilated(
      x[None],
      self.kernel[...],
      (self.stride,),
      "VALID",
      rhs_dilation=(self.dilation,),
      dimension_numbers=("NWC", "WIO", "NWC"),
      precision=_EXACT,
    )[0]
    y = y + self.bias[...][None]
    return y if self.norm is None else self.norm(y, valid)


class TransposedConv(nnx.Module):
  """Makes `stride` steps of each; each input reaches over two strides."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    stride: int,
    *,
    causal: bool = True,
    group_norm: bool = False,
    rngs: nnx.Rngs,
  ):
    shape = (2 * stride, inputs, outputs)
    self.kernel = nnx.Param(
      nnx.initializers.he_normal(in_axis=1)(rngs.params(), shape)
    )
    self.bias = nnx.Param(jnp.zeros(outputs))
    self.norm = Norm(outputs) if group_norm else None
    self.stride = stride
    # Steps that are cut off at the start; the rest of `stride` is at the end.
    self.cut = 0 if causal else stride - stride // 2

  def begin(
    self, x: Float[Array, "t d"], valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of a sound's start, and what is kept."""
    early, late = self._halves(x)
    if self.cut == 0 and self.norm is None:
      y, kept = self._joined(early, late, jnp.zeros_like(late[0]))
      return y, None if valid is None else valid * self.stride, kept
    if valid is not None:
      real = (jnp.arange(len(x)) < valid)[:, None, None]
      early, late = (jnp.where(real, half, 0.0) for half in (early, late))
    none = jnp.zeros_like(early[:1])
    y = jnp.concatenate([early, none]) + jnp.concatenate([none, late])
    y = y.reshape(-1, y.shape[-1]) + self.bias[...][None]
    if self.norm is not None:
      y = self.norm(y, None if valid is None else (valid + 1) * self.stride)
    y = y[self.cut :][: len(x) * self.stride]
    return y, None if valid is None else valid * self.stride, late[-1]

  def go_on(
    self, x: Float[Array, "t d"], kept: State, valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of what follows; causal convolutions only."""
    y, after = self._joined(*self._halves(x), kept)
    return y, None if valid is None else valid * self.stride, after

  def silence(self) -> State:
    """What is kept of silence before the sound."""
    return jnp.zeros((self.stride, self.kernel.shape[2]))

  def _halves(self, x: Array) -> tuple[Array, Array]:
    """What each input adds to its own steps and to the next ones."""
    y = jnp.einsum("td,kde->tke", x, self.kernel[...], precision=_EXACT)
    return y[:, : self.stride], y[:, self.stride :]

  def _joined(
    self, early: Array, late: Array, kept: Array
  ) -> tuple[Array, Array]:
    y = early + jnp.concatenate([kept[None], late[:-1]])
    return y.reshape(-1, y.shape[-1]) + self.bias[...][None], late[-1]


class Norm(nnx.Module):
  """Normalizes over all channels and all real steps of time."""

  def __init__(self, width: int):
    self.scale = nnx.Param(jnp.ones(width))
    self.bias = nnx.Param(jnp.zeros(width))

  def __call__(self, x: Float[Array, "t d"], valid: Valid) -> Array:
    """The same shape."""
    count = len(x) if valid is None else valid
    real = (jnp.arange(len(x)) < count)[:, None]
    size = count * x.shape[1]
    mean = jnp.sum(jnp.where(real, x, 0.0)) / size
    variance = jnp.sum(jnp.where(real, (x - mean) ** 2, 0.0)) / size
    x = (x - mean) * jax.lax.rsqrt(variance + _EPSILON)
    return x * self.scale[...][None] + self.bias[...][None]
