"""Files of a piano codec: config.json and weights.safetensors.

Large arrays are stored as int8 with a scale for each column, the rest as
float16.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load, save

from magenta_midi.audio.codec.piano.network import (
  PianoCodecConfig,
  PianoNetwork,
)
from magenta_midi.bounded_files import read_bytes, read_json
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.settings import convert

__all__ = ["CONFIG", "WEIGHTS", "CodecFileError", "read_codec", "write_codec"]

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
# Of the weights file at most.
_BYTES = 64 * 2**20
_SCALE = ".scale"
# Values from which an array is stored as int8.
_LARGE = 1 << 14


class CodecFileError(ValueError):
  """A codec's files are missing, damaged or of other sizes."""


def write_codec(
  folder: Path, network: PianoNetwork, facts: dict[str, Any]
) -> None:
  """Writes a codec.

  Args:
    folder: Made if absent.
    network: With its codes.
    facts: Of its training, JSON values.

  Raises:
    OSError: Something cannot be written.
  """
  folder.mkdir(parents=True, exist_ok=True)
  stored: dict[str, np.ndarray] = {}
  for name, array in _named(network).items():
    value = np.asarray(array, np.float32)
    if value.size >= _LARGE and value.ndim == 2:
      scale = np.maximum(np.abs(value).max(axis=0), 1e-12) / 127
      stored[name] = np.rint(value / scale).astype(np.int8)
      stored[name + _SCALE] = scale.astype(np.float32)
    else:
      stored[name] = value.astype(np.float16)
  write_atomically(folder / WEIGHTS, save(stored))
  config = dict(
    format=FORMAT, sizes=dataclasses.asdict(network.config), training=facts
  )
  write_atomically(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def read_codec(folder: Path) -> tuple[PianoNetwork, dict[str, Any]]:
  """Reads a codec.

  Returns:
    The network, and the facts of its training.

  Raises:
    CodecFileError: It is missing, damaged or of a later version; one line.
  """
  try:
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
      raise ValueError(f"{CONFIG} is of another version")
    sizes = convert(PianoCodecConfig, config.get("sizes"), "sizes")
    arrays = load(read_bytes(folder / WEIGHTS, _BYTES))
    network = nnx.eval_shape(lambda: PianoNetwork(sizes, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(network)
    leaves, tree = jax.tree.flatten(state)
    values = [
      _value(arrays, name, leaf.shape)
      for name, leaf in zip(_names(state), leaves, strict=True)
    ]
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
    raise CodecFileError(f"{folder}: not read as a codec: {reason}.") from None
  except (ValueError, SafetensorError) as error:
    reason = str(error).rstrip(".")
    raise CodecFileError(f"{folder}: not read as a codec: {reason}.") from None
  network = nnx.merge(graph, jax.tree.unflatten(tree, values))
  return network, dict(config.get("training") or {})


def _value(
  arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> jax.Array:
  array = arrays.get(name)
  if array is None or array.shape != shape:
    raise ValueError(f"{WEIGHTS} has no {name} of shape {list(shape)}")
  value = array.astype(np.float32)
  if array.dtype == np.int8:
    scale = arrays.get(name + _SCALE)
    if scale is None or scale.shape != shape[-1:]:
      raise ValueError(f"{WEIGHTS} has no scale of {name}")
    value = value * scale.astype(np.float32)
  if not np.isfinite(value).all():
    raise ValueError(f"{name} in {WEIGHTS} is not finite")
  return jnp.asarray(value)


def _named(network: PianoNetwork) -> dict[str, jax.Array]:
  state = nnx.state(network)
  return dict(zip(_names(state), jax.tree.leaves(state), strict=True))


def _names(state: nnx.State) -> list[str]:
  """A name for each leaf, as `encoder.blocks.0.taps`."""
  return [
    ".".join(str(part) for part in path) for path, _ in nnx.to_flat_state(state)
  ]
