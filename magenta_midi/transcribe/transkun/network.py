"""Transkun's network in Flax: mel spectra to vectors of keys and frames."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.typing import Float

__all__ = ["Transkun"]

_GROUPS = 4  # of channels that are normalized together
# Strides of the convolutions, in time and in frequency: 8 frames and 4 mels
# become one place of the transformer.
_STRIDES = ((2, 1), (2, 2), (2, 2), (1, 1))
_PADDING = ((4, 3), (2, 1), (0, 0))  # time, frequency, channels
_PATCH = 8


def _rms_norm(x: Array) -> Array:
  return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def _gelu(x: Array) -> Array:
  return jax.nn.gelu(x, approximate=False)


class Positions(nnx.Module):
  """Vectors of places: cosines at learned rates, then two layers."""

  def __init__(self, coordinates: int, width: int, *, rngs: nnx.Rngs):
    self.rates = nnx.Linear(coordinates, width, rngs=rngs)
    self.hidden = nnx.Linear(width, 4 * width, rngs=rngs)
    self.out = nnx.Linear(4 * width, width, rngs=rngs)

  def __call__(self, *axes: Array) -> Array:
    """A vector for each place of the grid that the axes span."""
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    waves = jnp.cos(self.rates(grid))
    waves = waves / math.sqrt(waves.shape[-1] / 2)
    return self.out(_gelu(self.hidden(waves)))


class Attention(nnx.Module):
  """Attention along the second-last axis, added to its input."""

  def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
    self.query = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.key = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.value = nnx.Linear(width, width, use_bias=False, rngs=rngs)
    self.out = nnx.Linear(width, width, rngs=rngs)
    self.scale = nnx.Param(jnp.full(width, 1e-2))
    self.heads = heads

  def __call__(
    self, x: Float[Array, "b t d"], memory: Float[Array, "b t d"]
  ) -> Array:
    """Attends from `x` to `memory`, which is not normalized."""
    batch, length, width = x.shape
    parts = (batch, length, self.heads, width // self.heads)
    fetched = jax.nn.dot_product_attention(
      self.query(_rms_norm(x)).reshape(parts),
      self.key(memory).reshape(parts),
      self.value(memory).reshape(parts),
    )
    return x + self.out(fetched.reshape(x.shape)) * self.scale[None, None]


class Mlp(nnx.Module):
  """Two layers, added to their input."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    self.hidden = nnx.Linear(width, 4 * width, rngs=rngs)
    self.out = nnx.Linear(4 * width, width, rngs=rngs)
    self.scale = nnx.Param(jnp.full(width, 1e-2))

  def __call__(self, x: Array) -> Array:
    """The sum."""
    out = self.out(_gelu(self.hidden(_rms_norm(x))))
    return x + out * self.scale[None, None]


class Block(nnx.Module):
  """Attention over frequency, then over time; both read the block's input."""

  def __init__(self, config: TranskunConfig, *, rngs: nnx.Rngs):
    width, heads = config.width, config.heads
    self.frequency = Attention(width, heads, rngs=rngs)
    self.frequency_mlp = Mlp(width, rngs=rngs)
    self.time = Attention(width, heads, rngs=rngs)
    self.time_mlp = Mlp(width, rngs=rngs)

  def __call__(self, x: Float[Array, "t f d"]) -> Array:
    """The same shape."""
    h = self.frequency_mlp(self.frequency(x, x))
    h, memory = h.swapaxes(0, 1), x.swapaxes(0, 1)
    return self.time_mlp(self.time(h, memory)).swapaxes(0, 1)


class Stem(nnx.Module):
  """Convolutions that make places of the transformer of mel spectra."""

  def __init__(self, config: TranskunConfig, *, rngs: nnx.Rngs):
    base = config.base
    self.conv_in = nnx.Conv(config.windows, base, (3, 3), rngs=rngs)
    self.positions = Positions(1, base, rngs=rngs)
    sizes = (base, 2 * base, 4 * base, 4 * base, 4 * base)
    self.convs = nnx.List(
      nnx.Conv(
        *(sizes[layer], sizes[layer + 1], (3, 3)),
        strides=_STRIDES[layer],
        padding=1,
        rngs=rngs,
      )
      for layer in range(4)
    )
    self.norms = nnx.List(
      nnx.GroupNorm(size, num_groups=_GROUPS, epsilon=1e-5, rngs=rngs)
      for size in sizes[1:]
    )

  def __call__(self, mels: Float[Array, "t f c"]) -> Float[Array, "u g d"]:
    """An eighth of the frames and a quarter of the mels."""
    h = self.conv_in(mels[None])[0]
    h = h + self.positions(jnp.arange(mels.shape[1], dtype=h.dtype))[None]
    h = jnp.pad(h, _PADDING)[None]
    for layer, (conv, norm) in enumerate(
      zip(self.convs, self.norms, strict=True)
    ):
      h = norm(conv(h))
      if layer < 3:
        h = _gelu(h)
    return h[0]


class Transkun(nnx.Module):
  """The network, with the heads that read its vectors."""

  def __init__(self, config: TranskunConfig, *, rngs: nnx.Rngs):
    width = config.width
    self.config = config
    self.stem = Stem(config, rngs=rngs)
    self.positions = Positions(2, width, rngs=rngs)
    self.target_positions = Positions(2, width, rngs=rngs)
    self.blocks = nnx.List(
      Block(config, rngs=rngs) for _ in range(config.layers)
    )
    # Each place of the transformer becomes the vectors of its eight frames.
    self.frames_out = nnx.Linear(width, _PATCH * width, rngs=rngs)
    self.scores = nnx.Linear(width, 2 * width + 1, rngs=rngs)
    self.velocity_hidden = nnx.Linear(3 * width, config.hidden, rngs=rngs)
    self.velocity_out = nnx.Linear(config.hidden, 128, rngs=rngs)
    self.times_hidden = nnx.Linear(3 * width, config.hidden, rngs=rngs)
    self.times_out = nnx.Linear(config.hidden, 4, rngs=rngs)

  def __call__(self, mels: Float[Array, "t f c"]) -> Float[Array, "p t d"]:
    """A vector for each target and frame.

    Args:
      mels: Log-mel spectra of a segment, one for each window.
    """
    h = self.stem(mels)
    # A place more in time and in frequency, to which all attend.
    h = jnp.pad(h, ((1, 0), (1, 0), (0, 0)))
    time = jnp.arange(h.shape[0], dtype=h.dtype)
    frequency = jnp.arange(h.shape[1], dtype=h.dtype)
    targets = jnp.array(self.config.targets, h.dtype)
    h = h + self.positions(time, frequency)
    h = jnp.concatenate([h, self.target_positions(time, targets)], axis=1)
    for block in self.blocks:
      h = block(h)
    h = h[1:, -len(self.config.targets) :].swapaxes(0, 1)
    frames = self.frames_out(h).reshape(h.shape[0], -1, h.shape[2])
    return frames[:, : mels.shape[0]]

  def interval_scores(
    self, vectors: Float[Array, "p t d"]
  ) -> tuple[Float[Array, "t p t"], Float[Array, "p t"]]:
    """Scores of intervals, by first frame, target and last frame.

    Returns:
      Those of intervals from one frame to a later one, and those of intervals
      of one frame.
    """
    width, length = vectors.shape[2], vectors.shape[1]
    end, begin, single = jnp.split(
      self.scores(vectors), (width, 2 * width), axis=-1
    )
    frames = jnp.arange(length)
    lengths = jnp.abs(frames[:, None] - frames[None]).astype(vectors.dtype)
    scores = jnp.einsum("ped,pbd->bpe", end / math.sqrt(width), begin)
    return scores * lengths[:, None], single[..., 0]

  def attributes(
    self, begin: Float[Array, "n d"], end: Float[Array, "n d"]
  ) -> tuple[Float[Array, "n 128"], Float[Array, "n 4"]]:
    """What belongs to intervals, by the vectors of their ends.

    Returns:
      Logits of velocities; logits of where in their frames onset and offset
      lie, and of whether the interval has an onset and an offset.
    """
    given = jnp.concatenate([begin, end, begin * end], axis=-1)
    velocity = self.velocity_out(_gelu(self.velocity_hidden(given)))
    return velocity, self.times_out(_gelu(self.times_hidden(given)))
