"""The original's training pass: shifted targets, padding quirks included.

What our model does otherwise (time, parts, level columns, memory slots) is
absent here; `docs/decisions.md` says why ours differs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.typing import Int

__all__ = ["TrainingPass", "teacher_forced"]


class TrainingPass(NamedTuple):
  """Every stage of the original's training pass."""

  encoded: jax.Array  # [b, s, d]
  temporal: jax.Array  # [b, t, d]
  depth: jax.Array  # [b, n, d] before the decoder norm
  logits: jax.Array  # [b, n, v]


def _edges(x: jax.Array, levels: int) -> jax.Array:
  """`levels - 1` copies of the first item before, one of the last after."""
  first = jnp.repeat(x[:, :1], levels - 1, axis=1)
  padded = jnp.concatenate([first, x, x[:, -1:]], axis=1)
  return padded.reshape(x.shape[0], -1, levels, *x.shape[2:])


def teacher_forced(
  model: Depthformer,
  encoder_tokens: Int[jax.Array, "b s"],
  targets: Int[jax.Array, "b n"],
) -> TrainingPass:
  """The original's training pass, padding quirks included.

  Args:
    model: With the flat encoder input and no inputs beside tokens.
    encoder_tokens: Context and style ids; 0 is padding.
    targets: Ids, frame-major; 0 is padding.

  Source: flaxformer 399ea3a as patched by magenta-realtime v1.
  """
  levels = model.config.levels
  batch, tokens = targets.shape
  frames = tokens // levels
  zeros = jnp.zeros((batch, encoder_tokens.shape[1]), jnp.int32)
  memory = model.encode(Frames(encoder_tokens[..., None], zeros, zeros))

  shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  is_token = (shifted > 0) | (targets > 0)
  is_token = is_token.at[:, 0].set(True).astype(jnp.float32)
  edged = _edges(is_token, levels)
  temporal_keep = edged[:, :-1, min(1, levels - 1), None]
  depth_keep = edged[:, 1:].reshape(batch * frames, levels, 1)

  valid = targets > 0
  by_frame = valid.reshape(batch, frames, levels)
  first, last = by_frame[..., 0], by_frame[..., -1]
  causal = jnp.tril(jnp.ones((1, frames, frames), bool))
  self_mask = causal & first[:, :, None] & first[:, None, :]
  cross_mask = last[:, :, None] & memory.mask[:, None, :]

  framed = targets.reshape(batch, frames, levels)
  inputs = jnp.pad(framed, ((0, 0), (1, 0), (0, 0)))[:, :-1]
  no_time = jnp.zeros((batch, frames), jnp.int32)
  temporal = model.temporal(
    model.embed_frames(Frames(inputs, no_time, no_time)),
    memory,
    self_mask,
    cross_mask,
    temporal_keep,
  )
  rows = by_frame.reshape(batch * frames, levels)
  depth_mask = jnp.tril(jnp.ones((1, levels, levels), bool))
  depth_mask = depth_mask & rows[:, :, None] & rows[:, None, :]
  depth = model.depth(
    model.depth_inputs(temporal, framed), depth_mask, depth_keep
  ).reshape(batch, tokens, -1)
  return TrainingPass(
    memory.states,
    temporal,
    depth,
    model.logits(depth, is_token[..., None]),
  )
