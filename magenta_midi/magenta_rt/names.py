"""Magenta RealTime's names of its arrays, to ours and back.

Source: T5X checkpoints of the Depthformer and of Flaxformer's plain decoder.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer

__all__ = ["TARGET", "from_t5x_name", "lacked_by_t5x", "load_t5x"]
__all__ += ["to_t5x_name"]

# Prefix of all names in a whole checkpoint.
TARGET = "target."


def _prefixes(config: DepthformerConfig) -> tuple[tuple[str, str], ...]:
  """Pairs of beginnings, ours and theirs; each decides alone."""
  plain = config.depth_layers == 0 and config.temporal_positions == "sinusoid"
  temporal = "decoder.decoder.temporal_decoder."
  depth = "decoder.decoder.depth_decoder."
  return (
    ("token_embedder.", "token_embedder."),
    ("encoder_layers.", "encoder.layers_"),
    ("encoder_norm.", "encoder.encoder_norm."),
    ("temporal_relpos_bias.", temporal + "relpos_bias."),
    # The plain decoder has one stack and no Depthformer around it.
    ("temporal_layers.", ("decoder." if plain else temporal) + "layers_"),
    ("depth_relpos_bias.", depth + "relpos_bias_depth."),
    ("depth_layers.", depth + "depth_layers_"),
    ("decoder_norm.", "decoder.decoder_norm."),
    ("logits_dense.", "decoder.logits_dense."),
  )


def _joined(path: str | Iterable[Any]) -> str:
  return path if isinstance(path, str) else ".".join(map(str, path))


def to_t5x_name(path: str | Iterable[Any], config: DepthformerConfig) -> str:
  """The T5X name (without `target.`) of one of our parameters.

  Args:
    path: Dotted, or its parts.
    config: Of the model; a plain T5 decoder has names of its own.

  Returns:
    What the original lacks keeps our name.
  """
  name = _joined(path)
  for ours, theirs in _prefixes(config):
    if name.startswith(ours):
      return theirs + name.removeprefix(ours)
  return name


def from_t5x_name(name: str, config: DepthformerConfig) -> str:
  """Our dotted name of a T5X array; `target.` before it is optional."""
  name = name.removeprefix(TARGET)
  for ours, theirs in _prefixes(config):
    if name.startswith(theirs):
      return ours + name.removeprefix(theirs)
  return name


def lacked_by_t5x(
  names: Iterable[str], config: DepthformerConfig
) -> tuple[str, ...]:
  """Those of our names that the original's model has no place for."""
  known = tuple(ours for ours, _ in _prefixes(config))
  return tuple(name for name in names if not name.startswith(known))


def load_t5x(model: Depthformer, arrays: Mapping[str, Any]) -> None:
  """Puts flat T5X arrays (`target.` names) into the model, as float32.

  Raises:
    ValueError: Arrays are missing, unknown or of another shape; all are
      named.
  """
  wrong, loaded = [], []
  unknown = set(arrays)
  for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
    name = TARGET + to_t5x_name(path, model.config)
    unknown.discard(name)
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
  wrong.extend(f"{name} is unknown" for name in sorted(unknown))
  if wrong:
    raise ValueError("the checkpoint does not fit: " + "; ".join(wrong) + ".")
  nnx.update(model, nnx.from_flat_state(loaded))
