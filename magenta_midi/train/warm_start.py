"""Warm start: the blocks of a trained checkpoint in a new model.

A block's knowledge of attention and music does not depend on the ids of tokens,
so a MIDI model may start from a model of audio tokens.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.checkpoint import StoredCheckpoint
from magenta_midi.model.config import PRESETS, DepthformerConfig
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import relative_buckets
from magenta_midi.style.slots import same_style
from magenta_midi.tokens.codec import Codec, get_codec

__all__ = ["WarmStart", "check_widths", "same_vocabulary", "warm_start"]

# Their rows or columns are ids of a vocabulary.
_VOCABULARY = ("token_embedder.", "logits_dense.")
_BLOCKS = ("encoder", "temporal", "depth")


class WarmStart(NamedTuple):
  """Record of a warm start: parameters, and their sources."""

  checkpoint: str
  arrays: int
  parameters: int
  # Layers taken of each stack, and how many the model has.
  layers: dict[str, tuple[int, int]]
  # Whether embeddings and head were taken too.
  vocabulary: bool
  # Parameters with drawn weights: an array, or a layer of a stack.
  fresh: tuple[str, ...]

  def line(self) -> str:
    """All of it in one line."""
    layers = ", ".join(
      f"{taken} of {total} {stack}"
      for stack, (taken, total) in self.layers.items()
    )
    return (
      f"took {self.arrays} arrays ({self.parameters:,} parameters) from"
      f" {self.checkpoint}: {layers} layers; fresh:"
      f" {', '.join(self.fresh) or 'nothing'}"
    )


def _widths(config: DepthformerConfig) -> dict[str, int]:
  widths = dict(
    embed_dim=config.embed_dim,
    num_heads=config.num_heads,
    head_dim=config.head_dim,
    mlp_dim=config.mlp_dim,
  )
  if config.depth_layers:
    widths |= dict(
      depth_dim=config.depth_width,
      depth_heads=config.depth_num_heads,
      depth_mlp_dim=config.depth_mlp_width,
    )
  return widths


def check_widths(stored: StoredCheckpoint, config: DepthformerConfig) -> None:
  """Refuses a checkpoint whose blocks do not fit a model.

  Raises:
    ValueError: Their widths differ; names both, and what to give instead.
  """
  theirs, ours = _widths(stored.config), _widths(config)
  differing = [n for n in ours if n in theirs and theirs[n] != ours[n]]
  if not differing:
    return
  fitting = [
    f"--preset {name}"
    for name, fields in PRESETS.items()
    if _widths(
      DepthformerConfig(**{"vocab_size": 1, "levels": 1, **fields})
    ).items()
    >= theirs.items()
  ]
  settings = " ".join(f"--set {name}={theirs[name]}" for name in differing)
  raise ValueError(
    f"--init-from {stored.folder}: its widths are"
    f" {', '.join(f'{n} {theirs[n]}' for n in differing)}; the model's are"
    f" {', '.join(f'{n} {ours[n]}' for n in differing)}. Give"
    f" {fitting[0] if fitting else settings}."
  )


def warm_start(
  model: Depthformer,
  stored: StoredCheckpoint,
  codec: Codec,
  style: dict[str, Any] | None = None,
) -> WarmStart:
  """Copies into a model the fitting arrays of a checkpoint of equal widths.

  Arrays of the same name and shape are copied, blocks by the index of their
  layer; embeddings and head only if codec and vocabulary are the same. A depth
  stack with other levels keeps its biases distance by distance. From a part
  table of another size only the model's row is copied; from a style table with
  another meaning only the mask's row.

  Args:
    model: Changed in place.
    stored: The checkpoint.
    codec: The model's.
    style: What the model's style slots mean, as in config.json; None: nothing.

  Raises:
    ValueError: The widths differ.
  """
  config = model.config
  check_widths(stored, config)
  same = same_vocabulary(stored, codec) and (
    stored.config.vocab_size == config.vocab_size
    and stored.config.columns == config.columns
  )
  loaded, fresh = [], []
  taken: dict[str, set[str]] = {}
  parameters = 0
  for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
    name = ".".join(map(str, path))
    info = stored.infos.get(name)
    stack, _, rest = name.partition("_layers.")
    part = f"{stack} layer {rest.split('.')[0]}" if rest else name
    if info is None or (name.startswith(_VOCABULARY) and not same):
      fresh.append(part)
      continue
    if name == "style_embedder.embedding" and not same_style(
      style, stored.facts.get("style")
    ):
      array = _unmasked(stored.read(name), np.asarray(variable[...]))
      fresh.append("style rows")
    elif info.shape == variable.shape:
      array = stored.read(name).astype(np.float32)
    elif name == "part_embedder.embedding":
      array = _partners(stored.read(name), np.asarray(variable[...]))
    elif name.endswith("relpos_bias.rel_embedding"):
      array = _rebucketed(stored.read(name), np.asarray(variable[...]))
    else:
      fresh.append(part)
      continue
    loaded.append((path, variable.replace(jnp.asarray(array))))
    parameters += array.size
    if rest:
      taken.setdefault(stack, set()).add(rest.split(".")[0])
  nnx.update(model, nnx.from_flat_state(loaded))
  totals = (config.encoder_layers, config.temporal_layers, config.depth_layers)
  return WarmStart(
    checkpoint=str(stored.folder),
    arrays=len(loaded),
    parameters=parameters,
    layers={
      stack: (len(taken.get(stack, ())), total)
      for stack, total in zip(_BLOCKS, totals, strict=True)
    },
    vocabulary=same,
    fresh=tuple(dict.fromkeys(fresh)),
  )


def _partners(theirs: np.ndarray, fresh: np.ndarray) -> np.ndarray:
  """Checkpoint's row of the model; rows of the other part, by delay.

  Updates are relative to the size of an array (see `optimizers`): with rows of
  the drawn size a model would need long to separate the parts.
  """
  table = np.repeat(theirs[:1].astype(np.float32), len(fresh), axis=0)
  late = np.linspace(0, 2, len(fresh) - 1, dtype=np.float32)[:, None]
  table[1:] += 4 * fresh[1:2] + late * fresh[-1:]
  return table


def _unmasked(theirs: np.ndarray, fresh: np.ndarray) -> np.ndarray:
  """Checkpoint's row of the mask, and rows of drawn values."""
  table = fresh.copy()
  table[0] = theirs[0]
  return table


def _rebucketed(theirs: np.ndarray, fresh: np.ndarray) -> np.ndarray:
  """Checkpoint's bias by distance in new buckets, float32 `[h, buckets]`.

  Buckets for distances that the checkpoint does not separate get the nearest
  value.
  """
  ours = fresh.shape[1]
  distance = np.arange(ours)
  table = fresh.copy()
  table[:, relative_buckets(distance, ours, ours)] = theirs[
    :, relative_buckets(distance, theirs.shape[1], theirs.shape[1])
  ]
  return table


def same_vocabulary(stored: StoredCheckpoint, codec: Codec) -> bool:
  """Whether a checkpoint's codec is the same, with the same settings."""
  described: dict[str, Any] = stored.facts.get("codec") or {}
  if described.get("name") != codec.name:
    return False
  try:
    theirs = get_codec(codec.name, **described.get("settings", {}))
  except (ValueError, TypeError):
    return False
  return theirs.config == codec.config
