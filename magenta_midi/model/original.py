"""Magenta RealTime's own conventions: names of its arrays, shifted targets.

What our model does otherwise (time, parts, level columns, memory slots) is
absent here; `docs/decisions.md` says why ours differs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.model.depthformer import Depthformer, Frames, Memory
from magenta_midi.typing import Int

__all__ = ["TrainingPass", "load_t5x", "teacher_forced", "to_t5x_name"]


class TrainingPass(NamedTuple):
  """Every stage of the original's training pass."""

  encoded: jax.Array  # [b, s, d]
  temporal: jax.Array  # [b, t, d]
  depth: jax.Array  # [b, n, d] before the decoder norm
  logits: jax.Array  # [b, n, v]


def to_t5x_name(path: Iterable[Any]) -> str:
  """The T5X name (without `target.`) of one of our parameters."""
  name = ".".join(str(key) for key in path)
  for ours, theirs in (
    ("encoder_layers.", "encoder.layers_"),
    ("encoder_norm.", "encoder.encoder_norm."),
    (
      "temporal_relpos_bias.",
      "decoder.decoder.temporal_decoder.relpos_bias.",
    ),
    ("temporal_layers.", "decoder.decoder.temporal_decoder.layers_"),
    (
      "depth_relpos_bias.",
      "decoder.decoder.depth_decoder.relpos_bias_depth.",
    ),
    ("depth_layers.", "decoder.decoder.depth_decoder.depth_layers_"),
    ("decoder_norm.", "decoder.decoder_norm."),
    ("logits_dense.", "decoder.logits_dense."),
  ):
    if name.startswith(ours):
      return theirs + name.removeprefix(ours)
  return name


def load_t5x(model: Depthformer, arrays: Mapping[str, Any]) -> None:
  """Puts flat T5X arrays (`target.` names) into the model.

  Raises:
    ValueError: Arrays are missing or of another shape; all are named.
  """
  state = nnx.state(model, nnx.Param)
  flat = nnx.to_flat_state(state)
  wrong = []
  loaded = []
  for path, variable in flat:
    name = "target." + to_t5x_name(path)
    if name not in arrays:
      wrong.append(f"{name} is missing")
    elif arrays[name].shape != variable.shape:
      wrong.append(
        f"{name} has shape {arrays[name].shape}, expected {variable.shape}"
      )
    else:
      loaded.append(
        (path, variable.replace(jnp.asarray(arrays[name], jnp.float32)))
      )
  if wrong:
    raise ValueError("the checkpoint does not fit: " + "; ".join(wrong) + ".")
  nnx.update(model, nnx.from_flat_state(loaded))


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
    Memory(memory.states, memory.mask),
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
