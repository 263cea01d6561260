"""EnCodec's weights in a folder: `config.json` and `weights.safetensors`."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.audio.codec.encodec.codec import EncodecCodec
from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.network import Encodec
from magenta_midi.audio.codec.encodec.windows import EncodecWindows
from magenta_midi.bounded_files import CODEC_BYTES, read_json
from magenta_midi.midi.atomic import open_atomically, write_atomically
from magenta_midi.midi.folder_lock import folder_lock
from magenta_midi.model.weights_file import (
  ArrayInfo,
  CheckpointError,
  WeightsFile,
  write_weights,
)
from magenta_midi.plain_text import line
from magenta_midi.settings import convert

__all__ = [
  "load_encodec",
  "make_network",
  "parameter_shapes",
  "random_encodec",
  "save_encodec",
]

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1
_CODEC = "encodec"


@functools.lru_cache(maxsize=8)
def _outline(config: EncodecConfig) -> Encodec:
  """The network without numbers."""
  return nnx.eval_shape(lambda: Encodec(config, rngs=nnx.Rngs(0)))


def parameter_shapes(config: EncodecConfig) -> dict[str, tuple[int, ...]]:
  """Dotted names and shapes of all arrays."""
  flat = nnx.to_flat_state(nnx.state(_outline(config), nnx.Param))
  return {
    ".".join(map(str, path)): tuple(variable.get_value().shape)
    for path, variable in flat
  }


def make_network(
  config: EncodecConfig, arrays: Mapping[str, np.ndarray]
) -> Encodec:
  """A network of arrays that have the names and shapes it needs."""
  graph, state = nnx.split(_outline(config))

  def placed(path: tuple[Any, ...], value: Any) -> jax.Array:
    # The last step leads into the variable.
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    array = arrays[".".join(map(str, keys))]
    assert array.shape == value.shape
    return jnp.asarray(array)

  return nnx.merge(graph, jax.tree_util.tree_map_with_path(placed, state))


def random_encodec(
  config: EncodecConfig, seed: int = 0
) -> EncodecCodec | EncodecWindows:
  """A codec with random weights, for tests."""
  return _codec(config, Encodec(config, rngs=nnx.Rngs(seed)))


def _codec(
  config: EncodecConfig, network: Encodec
) -> EncodecCodec | EncodecWindows:
  kind = EncodecCodec if config.causal else EncodecWindows
  return kind(config, network)


def save_encodec(
  folder: Path, config: EncodecConfig, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """Writes a codec; replaces an older one.

  Args:
    folder: Made if missing.
    config: Sizes of the network.
    arrays: float32, by the names of `parameter_shapes`.

  Returns:
    Counts for a report: `arrays`, `parameters`, `bytes`.

  Raises:
    FolderInUseError: Another process is writing there.
    OSError: It cannot be written.
  """
  infos = {
    name: ArrayInfo(shape, np.dtype(np.float32))
    for name, shape in parameter_shapes(config).items()
  }
  with folder_lock(folder, again=True):
    with open_atomically(folder / WEIGHTS) as file:
      digest = write_weights(
        file, infos, ((name, arrays[name]) for name in infos)
      )
    facts = dict(
      format=FORMAT,
      codec=_CODEC,
      model=dataclasses.asdict(config),
      sha256=digest,
    )
    write_atomically(folder / CONFIG, json.dumps(facts, indent=2) + "\n")
  size = sum(info.bytes for info in infos.values())
  return dict(arrays=len(infos), parameters=size // 4, bytes=size)


def load_encodec(
  folder: Path, *, mirrored: bool | None = None
) -> EncodecCodec | EncodecWindows:
  """Reads a codec that `magenta-midi import-encodec` wrote.

  Args:
    folder: It holds `config.json` and `weights.safetensors`.
    mirrored: What lies before the first sample: its mirror image, or silence,
      so that no frame waits. None: as the model was trained.

  Raises:
    CheckpointError: A file is missing, damaged or does not fit the other.
  """
  config, sha256 = _read_config(folder / CONFIG)
  file = WeightsFile(folder / WEIGHTS, limit=CODEC_BYTES)
  expected = parameter_shapes(config)
  found = {name: info.shape for name, info in file.infos.items()}
  if found != expected:
    wrong = sorted(
      name
      for name in found.keys() | expected.keys()
      if found.get(name) != expected.get(name)
    )
    raise CheckpointError(
      f"{file.path}: {line(wrong[0], longest=80)} is not as {CONFIG} says."
    )
  file.check(sha256)
  arrays = {name: file.read(name).astype(np.float32) for name in expected}
  if mirrored is not None:
    config = dataclasses.replace(config, mirrored=mirrored)
  return _codec(config, make_network(config, arrays))


def _read_config(path: Path) -> tuple[EncodecConfig, str]:
  try:
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("codec") != _CODEC:
      raise ValueError("it names another codec, or none")
    if facts.get("format") != FORMAT:
      raise ValueError(f"its format is not {FORMAT}")
    sha256 = convert(str, facts.get("sha256"), "sha256", source="json")
    model = facts.get("model")
    config = convert(EncodecConfig, model, "model", source="json")
    return config, sha256
  except OSError as error:
    raise CheckpointError(
      f"{path}: cannot be read: {error.strerror}. Give a folder that"
      " magenta-midi import-encodec wrote."
    ) from None
  except ValueError as error:
    reason = line(error, longest=200).rstrip(".")
    raise CheckpointError(
      f"{path}: no EnCodec of import-encodec: {reason}."
    ) from None
