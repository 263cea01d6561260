"""Incremental decoder with cached keys and values."""

import jax
import jax.numpy as jnp

from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import KeyValue, mask_to_bias, sinusoid
from magenta_midi.typing import Float, Int

__all__ = ["depth_step", "empty_caches", "temporal_step"]


def temporal_step(
  model: Depthformer,
  x: Float[jax.Array, "b g d"],
  index: Int[jax.Array, ""],
  caches: tuple[KeyValue, ...],
  cross: tuple[KeyValue, ...],
  cross_bias: Float[jax.Array, "b 1 1 s"],
  angles: Float[jax.Array, "#b g _"] | None = None,
) -> tuple[Float[jax.Array, "b g d"], tuple[KeyValue, ...]]:
  """Runs the temporal stack over one or a few frames.

  Args:
    model: The model.
    x: The embedded frames.
    index: Position of the first frame; `index + g` must not exceed the slots.
    caches: Caches with the previous frames; first from `empty_caches`.
    cross: Projected memory of each layer.
    cross_bias: Mask of the memory, as a bias.
    angles: Rotary positions of the frames, of `model.angles`.

  Returns:
    The output of the stack, and the caches with the new frames.
  """
  slots, group = caches[0].key.shape[1], x.shape[1]
  distance = index + jnp.arange(group)[:, None] - jnp.arange(slots)[None]
  bias = mask_to_bias((distance >= 0)[None], model.dtype)
  if model.config.temporal_positions == "relative":
    # Rows from `index` of the whole bias matrix.
    table = model.temporal_relpos_bias(slots, 1)[0, :, :, 0]
    bias = bias + jnp.take(table, jnp.maximum(distance, 0), axis=1)[None]
  else:
    positions = jnp.asarray(sinusoid(slots, model.config.embed_dim))
    x = x + jax.lax.dynamic_slice_in_dim(positions, index, group)[None]
  updated = []
  for layer, cache, cross_kv in zip(
    model.temporal_layers, caches, cross, strict=True
  ):
    new = layer.self_key_value(x, angles=angles)
    rows, heads = new.key.shape[:2]
    cache = KeyValue(
      *(
        jax.lax.dynamic_update_slice_in_dim(
          old, value.reshape(rows * heads, group, -1), index, axis=1
        )
        for old, value in zip(cache, new, strict=True)
      )
    )
    updated.append(cache)
    whole = KeyValue(
      *(array.reshape(rows, heads, slots, -1) for array in cache)
    )
    x = layer(x, whole, bias, cross_kv, cross_bias, angles=angles)
  return x, tuple(updated)


def empty_caches(
  model: Depthformer, rows: int, slots: int
) -> tuple[KeyValue, ...]:
  """Caches of the temporal stack for `slots` frames, `[b h, t, k]` each.

  Rows and heads share one axis. In this shape XLA updates a cache in place;
  with two axes it copied every cache four times for each frame.
  """
  config = model.config
  blank = jnp.zeros(
    (rows * config.num_heads, slots, config.head_dim), model.dtype
  )
  return tuple(KeyValue(blank, blank) for _ in model.temporal_layers)


def depth_step(
  model: Depthformer,
  x: Float[jax.Array, "b 1 e"],
  caches: list[KeyValue | None],
) -> tuple[Float[jax.Array, "b 1 e"], list[KeyValue | None]]:
  """Runs the depth stack over one level; caches grow by one position."""
  updated: list[KeyValue | None] = []
  for layer, cache in zip(model.depth_layers, caches, strict=True):
    new = layer.self_key_value(x)
    if cache is not None:
      new = KeyValue(
        jnp.concatenate([cache.key, new.key], axis=2),
        jnp.concatenate([cache.value, new.value], axis=2),
      )
    updated.append(new)
    positions = new.key.shape[2]
    bias = model.depth_relpos_bias(positions, positions)[:, :, -1:, :]
    x = layer(x, new, bias)
  return x, updated
