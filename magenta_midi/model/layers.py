"""Building blocks of the Depthformer, as in Magenta RealTime v1.

T5 layer norm without mean or bias, attention without 1/sqrt(head size),
tanh-GELU gates, bucketed relative positions. No biases anywhere.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.lora.kernel_proxy import KernelProxy
from magenta_midi.model.rotary import rotate
from magenta_midi.typing import Bool, Float, Int

__all__ = [
  "MASKED",
  "Attention",
  "Dense",
  "GatedMlp",
  "KeyValue",
  "Norm",
  "RelativeBias",
  "lookup",
  "mask_to_bias",
  "matrix_product",
  "one_hot_lookup",
  "relative_buckets",
  "sinusoid",
  "time_features",
  "watch_attention",
]

# Added to masked attention logits; a fully masked row becomes uniform.
MASKED = -1e10


# From this number of query times key positions, a CPU computes one head at a
# time, because the logits of all heads do not fit its caches
# (`docs/reports/performance.md`).
LONG = 512 * 512


class KeyValue(NamedTuple):
  """Keys and values of one attention, `[b, h, s, k]`."""

  key: jax.Array
  value: jax.Array


def _normal(rngs: nnx.Rngs, shape: tuple[int, ...], std: float) -> jax.Array:
  return std * jax.random.normal(rngs.params(), shape, jnp.float32)


def matrix_product(
  x: Float[jax.Array, "*n i"], kernel: Float[jax.Array, "i o"]
) -> Float[jax.Array, "*n o"]:
  """Multiplies the last axis.

  All leading axes are one row axis: the gradient of the kernel is then one
  product, for which a CPU needs no transposed copies.
  """
  rows = jnp.dot(x.reshape(-1, x.shape[-1]), kernel)
  return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def lookup(
  table: Float[jax.Array, "v d"], ids: Int[jax.Array, "*n"]
) -> Float[jax.Array, "*n d"]:
  """Rows of a table.

  On accelerators its gradient is a product: there, adding many rows to few
  places one by one takes several times as long as the rest of a training step.
  """
  if jax.default_backend() == "cpu":
    return jnp.take(table, ids, axis=0)
  return one_hot_lookup(table.shape[0], table, ids)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def one_hot_lookup(
  rows: int, table: Float[jax.Array, "v d"], ids: Int[jax.Array, "*n"]
) -> Float[jax.Array, "*n d"]:
  """`lookup` with the gradient as a product with one-hot rows, in bfloat16."""
  del rows
  return jnp.take(table, ids, axis=0)


def _lookup_forward(
  rows: int, table: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return one_hot_lookup(rows, table, ids), ids


def _lookup_backward(
  rows: int, ids: jax.Array, dy: jax.Array
) -> tuple[jax.Array, None]:
  hot = jax.nn.one_hot(ids.reshape(-1), rows, dtype=jnp.bfloat16)
  flat = dy.reshape(-1, dy.shape[-1]).astype(jnp.bfloat16)
  grad = jnp.dot(hot.T, flat, preferred_element_type=jnp.float32)
  return grad.astype(dy.dtype), None


one_hot_lookup.defvjp(_lookup_forward, _lookup_backward)


class Dense(nnx.Module):
  """Linear layer without bias; computes in `dtype`."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    rngs: nnx.Rngs,
    dtype: jnp.dtype,
    scale: float = 1.0,
  ):
    self.dtype = dtype
    self.kernel = nnx.Param(
      _normal(rngs, (inputs, outputs), scale / math.sqrt(inputs))
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """Multiplies the last axis."""
    x = x.astype(self.dtype)
    kernel: Any = self.kernel.get_value()
    if isinstance(kernel, KernelProxy):
      return kernel.product(x)
    return matrix_product(x, kernel.astype(self.dtype))


class Norm(nnx.Module):
  """T5 layer norm: root mean square, computed in float32."""

  def __init__(self, width: int, *, dtype: jnp.dtype):
    self.dtype = dtype
    self.scale = nnx.Param(jnp.ones((width,), jnp.float32))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalizes the last axis."""
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    y = (x * jax.lax.rsqrt(mean_square + 1e-6)).astype(self.dtype)
    scale = self.scale[...].astype(self.dtype)
    return y * jnp.expand_dims(scale, range(y.ndim - 1))


class GatedMlp(nnx.Module):
  """`wo(gelu_tanh(x wi_0) * (x wi_1))`."""

  def __init__(
    self, width: int, hidden: int, *, rngs: nnx.Rngs, dtype: jnp.dtype
  ):
    self.wi_0 = Dense(width, hidden, rngs=rngs, dtype=dtype)
    self.wi_1 = Dense(width, hidden, rngs=rngs, dtype=dtype)
    self.wo = Dense(hidden, width, rngs=rngs, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the block to the last axis."""
    return self.wo(nnx.gelu(self.wi_0(x), approximate=True) * self.wi_1(x))


def _attend_head_by_head(
  query: Float[jax.Array, "b h t k"],
  key_value: KeyValue,
  bias: Float[jax.Array, "#b #h #t s"],
) -> Float[jax.Array, "b h t k"]:
  """Softmax attention that keeps its logits in the caches of a CPU."""
  num_heads = query.shape[1]
  shared = bias.shape[1] == 1
  bias = jnp.broadcast_to(bias, (query.shape[0], *bias.shape[1:]))

  def one_row(row: tuple[jax.Array, ...]) -> jax.Array:
    query, key, value, bias = row

    def one_head(head: jax.Array) -> jax.Array:
      logits = query[head] @ key[head].T + bias[0 if shared else head]
      return jax.nn.softmax(logits, axis=-1) @ value[head]

    return jax.lax.map(one_head, jnp.arange(num_heads))

  return jax.lax.map(one_row, (query, *key_value, bias))


_WATCHED: contextvars.ContextVar[list[jax.Array] | None] = (
  contextvars.ContextVar("watched", default=None)
)


@contextlib.contextmanager
def watch_attention() -> Iterator[list[jax.Array]]:
  """Collects the largest logit of each attention that is called inside.

  They belong to the trace of that call, if it is one. Attention over long
  contexts on a CPU, which is done head by head, is left out. Elsewhere nothing
  is added to a compiled function.
  """
  found: list[jax.Array] = []
  token = _WATCHED.set(found)
  try:
    yield found
  finally:
    _WATCHED.reset(token)


def _watch(logits: jax.Array) -> None:
  watched = _WATCHED.get()
  if watched is not None:
    watched.append(jnp.max(logits))


class Attention(nnx.Module):
  """Multi-head attention; kernels are two-dimensional and head-major.

  The initial query kernel is divided by sqrt(head size). This replaces the
  usual scaling of the logits.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    head_dim: int,
    *,
    rngs: nnx.Rngs,
    dtype: jnp.dtype,
  ):
    self.num_heads = num_heads
    self.head_dim = head_dim
    joined = num_heads * head_dim
    self.query = Dense(
      width, joined, rngs=rngs, dtype=dtype, scale=head_dim**-0.5
    )
    self.key = Dense(width, joined, rngs=rngs, dtype=dtype)
    self.value = Dense(width, joined, rngs=rngs, dtype=dtype)
    self.out = Dense(joined, width, rngs=rngs, dtype=dtype)

  def _heads(self, x: jax.Array) -> jax.Array:
    x = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return jnp.swapaxes(x, -3, -2)

  def key_value(
    self,
    x: Float[jax.Array, "b s d"],
    angles: Float[jax.Array, "b s _"] | None = None,
  ) -> KeyValue:
    """Projects attended positions to keys and values.

    Args:
      x: The positions.
      angles: Of their rotary positions; None: the model has none.
    """
    key = self._heads(self.key(x))
    if angles is not None:
      key = rotate(key, angles)
    return KeyValue(key, self._heads(self.value(x)))

  def attend(
    self,
    x: Float[jax.Array, "b t d"],
    key_value: KeyValue,
    bias: Float[jax.Array, "#b #h #t s"],
    angles: Float[jax.Array, "#b t _"] | None = None,
  ) -> Float[jax.Array, "b t d"]:
    """Attends from `x` to projected positions.

    Args:
      x: The positions that ask.
      key_value: What they attend to.
      bias: Added to the logits.
      angles: Of the rotary positions of `x`; None: the model has none.
    """
    query = self._heads(self.query(x))
    if angles is not None:
      query = rotate(query, angles)
    long = query.shape[-2] * key_value.key.shape[-2] >= LONG
    if long and jax.default_backend() == "cpu":
      heads = _attend_head_by_head(query, key_value, bias)
    else:
      logits = jnp.einsum("bhtk,bhsk->bhts", query, key_value.key) + bias
      _watch(logits)
      weights = jax.nn.softmax(logits, axis=-1)
      heads = jnp.einsum("bhts,bhsk->bhtk", weights, key_value.value)
    joined = jnp.swapaxes(heads, -3, -2).reshape(
      *x.shape[:-1], self.num_heads * self.head_dim
    )
    return self.out(joined)

  def __call__(
    self,
    x: Float[jax.Array, "b t d"],
    attended: Float[jax.Array, "b s d"],
    bias: Float[jax.Array, "#b #h #t s"],
    angles: Float[jax.Array, "b t _"] | None = None,
  ) -> Float[jax.Array, "b t d"]:
    """Attends from `x` to `attended`; with angles both are the same frames."""
    return self.attend(x, self.key_value(attended, angles), bias, angles)


def mask_to_bias(
  mask: Bool[jax.Array, "b #t s"], dtype: jnp.dtype
) -> Float[jax.Array, "b 1 #t s"]:
  """Converts a mask to an additive bias, with an axis for heads."""
  return jnp.where(mask, 0.0, MASKED).astype(dtype)[:, None]


def relative_buckets(
  distance: Int[np.ndarray, "..."], buckets: int, reach: int
) -> Int[np.ndarray, "..."]:
  """T5's causal buckets of `query position - key position`.

  Half of the buckets are exact distances, the rest logarithmic up to `reach`.
  With one bucket (a depth stack of one level) all distances share it; the
  original divides by zero.
  """
  n = np.maximum(distance, 0)
  if buckets == 1:
    return np.zeros_like(n)
  exact = buckets // 2
  ratio = n.astype(np.float32) / exact + np.finfo(np.float32).eps
  log = np.log(np.maximum(ratio, np.finfo(np.float32).eps))
  coarse = exact + (log / np.log(reach / exact) * (buckets - exact)).astype(
    np.int32
  )
  return np.where(n < exact, n, np.minimum(coarse, buckets - 1))


class RelativeBias(nnx.Module):
  """A learned bias for each head and relative-position bucket."""

  def __init__(
    self, num_heads: int, buckets: int, *, rngs: nnx.Rngs, dtype: jnp.dtype
  ):
    self.dtype = dtype
    self.buckets = buckets
    limit = math.sqrt(6 / (num_heads + buckets))
    self.rel_embedding = nnx.Param(
      jax.random.uniform(
        rngs.params(), (num_heads, buckets), jnp.float32, -limit, limit
      )
    )

  def __call__(self, queries: int, keys: int) -> Float[jax.Array, "1 h t s"]:
    """The bias for each pair of query and key position."""
    distance = np.arange(queries)[:, None] - np.arange(keys)[None, :]
    buckets = relative_buckets(distance, self.buckets, self.buckets)
    return self.rel_embedding[...].astype(self.dtype)[:, buckets][None]


def sinusoid(positions: int, width: int) -> Float[np.ndarray, "s d"]:
  """Fixed positions of the encoder: sines first, then cosines."""
  half = width // 2
  step = math.log(10_000.0) / (half - 1)
  frequency = np.exp(np.arange(half, dtype=np.float32) * np.float32(-step))
  angle = np.arange(positions, dtype=np.float32)[:, None] * frequency
  return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def time_features(
  step: Int[jax.Array, "..."], width: int
) -> Float[jax.Array, "... d"]:
  """Sines and cosines of an absolute time in 10 ms steps.

  Periods are 40 ms (the finest timing of a hand) to 40 s.
  """
  half = width // 2
  period = np.geomspace(4.0, 4000.0, half)
  frequency = jnp.asarray(2 * np.pi / period, jnp.float32)
  angle = step[..., None].astype(jnp.float32) * jnp.expand_dims(
    frequency, range(step.ndim)
  )
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
