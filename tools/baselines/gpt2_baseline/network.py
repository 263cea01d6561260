"""GPT-2's network in Flax NNX: learned positions, layer norm before each
block, tanh-GELU of four times the width, embeddings that are also the head.

Rows may hold several pieces of music, which do not see each other.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.typing import Float, Int

__all__ = ["Gpt2", "Gpt2Config", "layers_for", "parameter_count"]

_MASKED = -1e10
# Query positions at a time: later keys are not multiplied, and the logits of
# so many stay in a CPU's caches.
_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpt2Config:
  """Shape of the network."""

  vocab_size: int
  width: int = 256
  layers: int = 11
  # GPT-2's, of all its sizes.
  head_dim: int = 64
  # Positions.
  context: int = 1024
  # Of activations; parameters and softmax are float32.
  dtype: str = "float32"

  def __post_init__(self) -> None:
    """Refuses what cannot be built."""
    for name in ("vocab_size", "width", "layers", "head_dim", "context"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}."
        )
    if self.width % self.head_dim:
      raise ValueError(
        f"width must be a multiple of {self.head_dim}, got {self.width}."
      )


def parameter_count(config: Gpt2Config) -> int:
  """Number of parameters, embeddings counted once."""
  d = config.width
  block = 12 * d * d + 13 * d
  return (
    (config.vocab_size + config.context) * d + config.layers * block + 2 * d
  )


def layers_for(parameters: int, config: Gpt2Config) -> int:
  """The number of layers that comes nearest to so many parameters."""
  one, two = (
    parameter_count(dataclasses.replace(config, layers=layers))
    for layers in (1, 2)
  )
  return max(1, 1 + round((parameters - one) / (two - one)))


def _linear(
  inputs: int,
  outputs: int,
  *,
  rngs: nnx.Rngs,
  dtype: jnp.dtype,
  scale: float = 1.0,
) -> nnx.Linear:
  """A kernel with a bias.

  Kernels are drawn with 1 / sqrt(inputs), as in our own model, and not with
  GPT-2's 0.02, which is that for its width only: relative rates are of the
  arrays' sizes.
  """
  drawn = nnx.initializers.normal(scale / math.sqrt(inputs))
  return nnx.Linear(inputs, outputs, kernel_init=drawn, dtype=dtype, rngs=rngs)


def _layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """Layer norm, float32 inside and out."""
  return nnx.LayerNorm(
    width,
    epsilon=1e-5,
    use_fast_variance=False,
    dtype=jnp.float32,
    rngs=rngs,
  )


def _attend(
  query: Float[jax.Array, "b t h k"],
  key: Float[jax.Array, "b t h k"],
  value: Float[jax.Array, "b t h k"],
  segment: Int[jax.Array, "b t"],
) -> Float[jax.Array, "b t h k"]:
  """Causal attention inside each segment."""
  length, size = query.shape[1], query.shape[-1]
  out = []
  for start in range(0, length, _BLOCK):
    end = min(start + _BLOCK, length)
    logits = jnp.einsum(
      "bthk,bshk->bhts", query[:, start:end], key[:, :end]
    ).astype(jnp.float32)
    ahead = jnp.arange(start, end)[:, None] >= jnp.arange(end)[None]
    same = segment[:, start:end, None] == segment[:, None, :end]
    seen = (ahead[None] & same)[:, None]
    logits = jnp.where(seen, logits / math.sqrt(size), _MASKED)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    out.append(jnp.einsum("bhts,bshk->bthk", weights, value[:, :end]))
  return jnp.concatenate(out, axis=1)


class _Block(nnx.Module):
  """Attention and MLP, each after a layer norm and added to its input."""

  def __init__(self, config: Gpt2Config, rngs: nnx.Rngs, dtype: jnp.dtype):
    d = config.width
    # GPT-2's: 2 per layer add to one stream.
    last = 1 / math.sqrt(2 * config.layers)
    self.heads = d // config.head_dim
    self.ln_1 = _layer_norm(d, rngs)
    self.c_attn = _linear(d, 3 * d, rngs=rngs, dtype=dtype)
    self.c_proj = _linear(d, d, rngs=rngs, dtype=dtype, scale=last)
    self.ln_2 = _layer_norm(d, rngs)
    self.c_fc = _linear(d, 4 * d, rngs=rngs, dtype=dtype)
    self.c_out = _linear(4 * d, d, rngs=rngs, dtype=dtype, scale=last)

  def __call__(self, x: jax.Array, segment: jax.Array) -> jax.Array:
    batch, length, width = x.shape
    parts = self.c_attn(self.ln_1(x)).reshape(batch, length, 3, self.heads, -1)
    y = _attend(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2], segment)
    x = x + self.c_proj(y.reshape(batch, length, width))
    y = jax.nn.gelu(self.c_fc(self.ln_2(x)), approximate=True)
    return x + self.c_out(y)


class Gpt2(nnx.Module):
  """A decoder-only transformer.

  Source: Radford et al. 2019, and the released `model.py`.
  """

  def __init__(self, config: Gpt2Config, rngs: nnx.Rngs):
    self.config = config
    self.dtype = jnp.dtype(config.dtype)

    def drawn(rows: int, scale: float) -> nnx.Param:
      shape = (rows, config.width)
      std = scale / math.sqrt(config.width)
      return nnx.Param(std * jax.random.normal(rngs.params(), shape))

    self.wte = drawn(config.vocab_size, 1.0)
    # GPT-2's are half as large as its tokens' embeddings.
    self.wpe = drawn(config.context, 0.5)
    self.blocks = nnx.List(
      [_Block(config, rngs, self.dtype) for _ in range(config.layers)]
    )
    self.ln_f = _layer_norm(config.width, rngs)

  def __call__(
    self,
    ids: Int[jax.Array, "b t"],
    position: Int[jax.Array, "b t"],
    segment: Int[jax.Array, "b t"],
  ) -> Float[jax.Array, "b t v"]:
    """Logits of the id after each position, float32.

    Args:
      ids: The tokens, `BEGIN` first in each segment.
      position: In the segment, below `context`.
      segment: Positions of different numbers do not see each other.
    """
    wte = self.wte[...]
    x = (wte[ids] + self.wpe[...][position]).astype(self.dtype)
    for block in self.blocks:
      x = block(x, segment)
    x = self.ln_f(x).astype(self.dtype)
    return jnp.dot(x, wte.T.astype(self.dtype)).astype(jnp.float32)
