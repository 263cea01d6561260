"""Checkpoints: a folder with `config.json` and `weights.safetensors`.

Weights are stored as they were, in bfloat16, or in int8 with one float32
scale a column; loading widens them to float32, which is what CPUs decode
fastest (`docs/decisions.md`).
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer

__all__ = [
  "CheckpointError",
  "Storage",
  "embedded_path",
  "flat_parameters",
  "load_checkpoint",
  "put_parameters",
  "read_config",
  "save_checkpoint",
  "write_atomically",
]

Storage = Literal["float32", "bfloat16", "int8"]
FORMAT = 1
SCALE = "|scale"


class CheckpointError(ValueError):
  """A checkpoint is absent, damaged or of another shape; one line."""


def embedded_path() -> Path:
  """The checkpoint that comes with the package."""
  return Path(__file__).parent / "embedded"


def write_atomically(path: Path, text: str) -> None:
  """Writes a text under a temporary name, then renames it."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def flat_parameters(model: nnx.Module) -> dict[str, np.ndarray]:
  """The model's parameters by dotted name, float32."""
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  return {
    ".".join(map(str, path)): np.asarray(variable[...], np.float32)
    for path, variable in flat
  }


def put_parameters(model: nnx.Module, arrays: dict[str, np.ndarray]) -> None:
  """Puts dotted arrays into the model.

  Raises:
    CheckpointError: Arrays are missing, unknown or of another shape; all are
      named.
  """
  wrong, loaded = [], []
  left = dict(arrays)
  for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
    name = ".".join(map(str, path))
    array = left.pop(name, None)
    if array is None:
      wrong.append(f"{name} is missing")
    elif array.shape != variable.shape:
      wrong.append(f"{name} is {array.shape}, expected {variable.shape}")
    else:
      loaded.append((path, variable.replace(jnp.asarray(array))))
  wrong.extend(f"{name} is unknown" for name in left)
  if wrong:
    raise CheckpointError(
      "the weights do not fit the config: " + "; ".join(wrong) + "."
    )
  nnx.update(model, nnx.from_flat_state(loaded))


def _store(
  arrays: dict[str, np.ndarray], storage: Storage
) -> dict[str, np.ndarray]:
  if storage == "float32":
    return arrays
  if storage == "bfloat16":
    return {k: v.astype(ml_dtypes.bfloat16) for k, v in arrays.items()}
  stored = {}
  for name, array in arrays.items():
    if array.ndim < 2:
      stored[name] = array
      continue
    scale = np.abs(array).max(axis=0) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    stored[name] = np.round(array / scale).astype(np.int8)
    stored[name + SCALE] = scale
  return stored


def _widen(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  arrays = {}
  for name, array in stored.items():
    if name.endswith(SCALE):
      continue
    widened = array.astype(np.float32)
    if name + SCALE in stored:
      widened = widened * stored[name + SCALE]
    arrays[name] = widened
  return arrays


def save_checkpoint(
  folder: Path,
  model: Depthformer,
  *,
  codec: dict[str, Any],
  storage: Storage = "bfloat16",
  notes: dict[str, Any] | None = None,
) -> None:
  """Writes a checkpoint; an old one there is replaced file by file.

  Args:
    folder: Made if absent.
    model: Its config is stored too.
    codec: Name and settings of the codec it was trained with.
    storage: How weights are stored.
    notes: Anything worth knowing later (steps, held-out figures), as JSON.
  """
  folder.mkdir(parents=True, exist_ok=True)
  weights = folder / "weights.safetensors"
  temporary = weights.with_name(f".{weights.name}.{os.getpid()}")
  try:
    save_file(_store(flat_parameters(model), storage), temporary)
    # safetensors makes its files private; a checkpoint is as any other file.
    temporary.chmod(0o644)
    os.replace(temporary, weights)
  finally:
    temporary.unlink(missing_ok=True)
  config = dict(
    format=FORMAT,
    model=dataclasses.asdict(model.config),
    codec=codec,
    storage=storage,
    sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    notes=notes or {},
  )
  write_atomically(folder / "config.json", json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
  """A checkpoint's `config.json`.

  Raises:
    CheckpointError: It is absent, not JSON, or of another format.
  """
  path = folder / "config.json"
  if not path.is_file():
    raise CheckpointError(
      f"{folder}: no checkpoint there (config.json is missing). Give a folder"
      " that `magenta-midi train` wrote, or leave --checkpoint out."
    )
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
    found = config["format"]
  except (ValueError, KeyError, TypeError) as error:
    raise CheckpointError(f"{path}: not a checkpoint's config: {error}.") from (
      None
    )
  if found != FORMAT:
    raise CheckpointError(
      f"{path}: format {found}, this version reads {FORMAT}."
    )
  return config


def load_checkpoint(folder: Path) -> tuple[Depthformer, dict[str, Any]]:
  """Loads a model and its `config.json`.

  Raises:
    CheckpointError: It is absent, damaged or of another shape.
  """
  config = read_config(folder)
  try:
    shape = DepthformerConfig.from_dict(config["model"])
  except (ValueError, KeyError, TypeError) as error:
    raise CheckpointError(f"{folder}/config.json: {error}") from None
  try:
    stored = load_file(folder / "weights.safetensors")
  except (OSError, SafetensorError) as error:
    raise CheckpointError(
      f"{folder}/weights.safetensors: cannot be read: {error}."
    ) from None
  # Shapes without work: the drawn weights would be thrown away.
  model = nnx.eval_shape(lambda: Depthformer(shape, rngs=nnx.Rngs(0)))
  try:
    put_parameters(model, _widen(stored))
  except CheckpointError as error:
    raise CheckpointError(f"{folder}: {error}") from None
  model.eval()
  return model, config
