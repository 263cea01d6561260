"""Checkpoints: a folder with `config.json` and `weights.safetensors`.

Weights are stored in float32, in bfloat16, or in int8 with one float32 scale
for each column. Loading converts them to float32, because CPUs decode with it
fastest (`docs/decisions.md`).
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

from magenta_midi.midi.atomic import TEMPORARY, write_atomically
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.weights_file import (
  ArrayInfo,
  CheckpointError,
  WeightsFile,
  write_weights,
)

__all__ = [
  "CheckpointError",
  "Storage",
  "StoredCheckpoint",
  "check_codec",
  "check_object",
  "embedded_path",
  "flat_parameters",
  "load_checkpoint",
  "parameter_shapes",
  "read_config",
  "save_checkpoint",
  "write_checkpoint",
]

Storage = Literal["float32", "bfloat16", "int8"]
FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
SCALE = "|scale"


def embedded_path() -> Path:
  """Folder of the embedded checkpoint in the package."""
  return Path(__file__).parent / "embedded"


def flat_parameters(model: nnx.Module) -> dict[str, np.ndarray]:
  """Parameters of a model by dotted name, float32."""
  return {name: _widened(array) for name, array in _parameters(model).items()}


def parameter_shapes(config: DepthformerConfig) -> dict[str, tuple[int, ...]]:
  """Dotted names and shapes of all parameters, without computing them."""
  return {
    name: tuple(array.shape)
    for name, array in _parameters(_empty(config)).items()
  }


def _empty(config: DepthformerConfig) -> Depthformer:
  # Only shapes: random weights are not needed.
  return nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))


def _parameters(model: nnx.Module) -> dict[str, Any]:
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  return {
    ".".join(map(str, path)): variable.get_value() for path, variable in flat
  }


def _widened(array: Any) -> np.ndarray:
  return np.asarray(array).astype(np.float32, copy=False)


def _stored(
  name: str, array: np.ndarray, storage: Storage
) -> Iterator[tuple[str, np.ndarray]]:
  """The stored arrays of one float32 array."""
  if storage == "bfloat16":
    yield name, array.astype(ml_dtypes.bfloat16)
  elif storage == "int8" and array.ndim > 1:
    scale = np.abs(array).max(axis=0) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    yield name, np.round(array / scale).astype(np.int8)
    yield name + SCALE, scale
  else:
    yield name, array


def _stored_infos(
  shapes: dict[str, tuple[int, ...]], storage: Storage
) -> dict[str, ArrayInfo]:
  """The arrays of `_stored`, without values."""
  infos = {}
  for name, shape in shapes.items():
    if storage == "bfloat16":
      infos[name] = ArrayInfo(shape, np.dtype(ml_dtypes.bfloat16))
    elif storage == "int8" and len(shape) > 1:
      infos[name] = ArrayInfo(shape, np.dtype(np.int8))
      infos[name + SCALE] = ArrayInfo(shape[1:], np.dtype(np.float32))
    else:
      infos[name] = ArrayInfo(shape, np.dtype(np.float32))
  return infos


def save_checkpoint(
  folder: Path,
  model: Depthformer,
  *,
  codec: dict[str, Any],
  storage: Storage = "bfloat16",
  notes: dict[str, Any] | None = None,
  style: dict[str, Any] | None = None,
) -> None:
  """Writes a checkpoint; replaces the files of an older one.

  Args:
    folder: Folder of the checkpoint; made if missing.
    model: The model; its config is stored too.
    codec: Name and settings of the model's codec.
    storage: How weights are stored.
    notes: Other facts (steps, held-out figures), as JSON.
    style: Description of the style slots (`style.slots`); None: no style.
  """
  parameters = _parameters(model)
  shapes = {name: tuple(array.shape) for name, array in parameters.items()}
  write_checkpoint(
    folder,
    model.config,
    _stored_infos(shapes, storage),
    (
      stored
      for name, array in parameters.items()
      for stored in _stored(name, _widened(array), storage)
    ),
    codec=codec,
    storage=storage,
    notes=notes or {},
    style=style,
  )


def write_checkpoint(
  folder: Path,
  config: DepthformerConfig,
  infos: Mapping[str, ArrayInfo],
  arrays: Iterable[tuple[str, np.ndarray]],
  *,
  codec: dict[str, Any],
  storage: str,
  notes: dict[str, Any],
  style: dict[str, Any] | None = None,
) -> None:
  """Writes a checkpoint from an iterator of stored arrays.

  Args:
    folder: Folder of the checkpoint; made if missing. An older checkpoint stays
      valid until all is written, even if the process is killed.
    config: Configuration of the model.
    infos: All arrays, in the order of `arrays`.
    arrays: Dotted names and values.
    codec: Name and settings of the codec.
    storage: Name of the storage of weights.
    notes: Other facts, as JSON.
    style: Description of the style slots; None: no style.
  """
  new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  weights, described = folder / WEIGHTS, folder / CONFIG
  temporary = folder / f".{WEIGHTS}.{os.getpid()}"
  staged, text = temporary, ""
  try:
    with open(temporary, "wb") as file:
      digest = write_weights(file, infos, arrays)
    facts = dict(
      format=FORMAT,
      model=dataclasses.asdict(config),
      codec=codec,
      **({} if style is None else dict(style=style)),
      storage=storage,
      sha256=digest,
      notes=notes,
    )
    text = json.dumps(facts, indent=2) + "\n"
    # Two files change as one: the weights take a name with their digest, the
    # config names the digest, then the weights take their usual name.
    staged = folder / _staged(digest)
    os.replace(temporary, staged)
    write_atomically(described, text)
    os.replace(staged, weights)
    for left in (_staged("*"), f".{WEIGHTS}.*", TEMPORARY):
      for path in folder.glob(left):
        path.unlink(missing_ok=True)
  except BaseException:
    temporary.unlink(missing_ok=True)
    if not described.is_file() or described.read_text("utf-8") != text:
      staged.unlink(missing_ok=True)
    if new and not any(folder.iterdir()):
      folder.rmdir()
    raise


def _staged(digest: str) -> str:
  """Name of complete weights before they get the usual name."""
  return f"weights.{digest[:12]}.safetensors"


def _weights_path(folder: Path, digest: str) -> Path:
  """Path of the weights of a config with this digest."""
  staged = folder / _staged(digest)
  return staged if digest and staged.is_file() else folder / WEIGHTS


def read_config(folder: Path) -> dict[str, Any]:
  """Reads `config.json` of a checkpoint; checks `codec` and `notes`.

  Raises:
    CheckpointError: It is missing, not JSON, of another format, or a field has
      the wrong type.
  """
  path = folder / CONFIG
  if not path.is_file():
    raise CheckpointError(f"{folder}: {_absence(folder)}")
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
    check_object("the file", config)
  except ValueError as error:
    reason = "no text" if isinstance(error, UnicodeError) else error
    raise CheckpointError(
      f"{path}: not a checkpoint's config: {reason}."
    ) from (None)
  if "format" not in config or "model" not in config:
    raise CheckpointError(
      f"{path}: not a checkpoint's config: it names no format or no model."
    )
  if config["format"] != FORMAT:
    raise CheckpointError(
      f"{path}: format {config['format']!r}, this version reads {FORMAT}."
    )
  try:
    check_object("model", config["model"])
    check_object("notes", config.setdefault("notes", {}))
    check_codec(config.get("codec"))
    check_text("sha256", config.get("sha256", ""))
  except ValueError as error:
    raise CheckpointError(f"{path}: {error}.") from None
  return config


def _absence(folder: Path) -> str:
  """The reason why a folder is not a checkpoint, and what to do."""
  what = "no checkpoint there"
  if (folder / "checkpoint" / CONFIG).is_file():
    return f"{what}, but in {folder / 'checkpoint'}. Give that."
  indices = (folder / "checkpoint", *folder.glob("checkpoint_*/checkpoint"))
  if ".tar" in folder.suffixes or any(path.is_file() for path in indices):
    return (
      f"{what} that this program reads, but one of T5X. Convert it:"
      f" magenta-midi import-magenta-rt {folder} --out DIR"
    )
  if folder.is_file():
    what += " but a file"
  elif folder.is_dir():
    what += f" ({CONFIG} is missing)"
  return (
    f"{what}. Give a folder that `magenta-midi train` or `magenta-midi"
    " import-magenta-rt` wrote."
  )


def check_object(name: str, value: Any) -> None:
  """Raises a ValueError if a value is not a JSON object."""
  if not isinstance(value, dict):
    raise ValueError(f"{name} must be an object, got {_shown(value)}")


def check_text(name: str, value: Any) -> None:
  """Raises a ValueError if a value is not a string."""
  if not isinstance(value, str):
    raise ValueError(f"{name} must be a string, got {_shown(value)}")


def check_codec(codec: Any) -> None:
  """Checks the description of a codec: `name` and optional `settings`.

  Raises:
    ValueError: A field is wrong; the message states what was expected.
  """
  check_object("codec", codec)
  check_text("codec.name", codec.get("name"))
  check_object("codec.settings", codec.get("settings", {}))


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 40 else f"{text[:37]}..."


class StoredCheckpoint:
  """A checkpoint on disk with checked shapes, whose arrays are read later.

  Args:
    folder: A folder that `save_checkpoint` wrote.

  Raises:
    CheckpointError: It is missing, damaged or has other shapes.
  """

  def __init__(self, folder: Path):
    self.folder = folder
    # Content of `config.json`.
    self.facts = read_config(folder)
    try:
      self.config = DepthformerConfig.from_dict(self.facts["model"])
    except ValueError as error:
      raise CheckpointError(f"{folder}/{CONFIG}: {error}") from None
    # Missing if the checkpoint is not from `write_checkpoint`.
    self._sha256: str = self.facts.get("sha256", "")
    # The file of weights.
    self.path = _weights_path(folder, self._sha256)
    self._weights = WeightsFile(self.path)
    # All parameters, without the scales of int8 columns.
    self.infos = {
      name: info
      for name, info in self._weights.infos.items()
      if not name.endswith(SCALE)
    }
    expected = parameter_shapes(self.config)
    wrong = []
    for name, shape in expected.items():
      if name not in self.infos:
        wrong.append(f"{name} is missing")
      elif (found := self.infos[name].shape) != shape:
        wrong.append(f"{name} is {found}, expected {shape}")
    wrong.extend(
      f"{name} is unknown" for name in self.infos if name not in expected
    )
    if wrong:
      raise CheckpointError(
        f"{folder}: the weights do not fit the config: {'; '.join(wrong)}."
      )

  @property
  def parameters(self) -> int:
    """Number of parameters of the model."""
    return sum(math.prod(info.shape) for info in self.infos.values())

  def read(self, name: str) -> np.ndarray:
    """Reads one parameter: bfloat16 unchanged, other types as float32.

    The first call checks the whole file (about 0.6 s for each GB), so that
    damaged weights are never used.

    Raises:
      CheckpointError: The weights do not belong to the config.
    """
    if self._sha256:
      self._weights.check(self._sha256)
    array = self._weights.read(name)
    if name + SCALE in self._weights.infos:
      return array.astype(np.float32) * self._weights.read(name + SCALE)
    return array


def load_checkpoint(folder: Path) -> tuple[Depthformer, dict[str, Any]]:
  """Loads a model and its `config.json`, one array at a time.

  Raises:
    CheckpointError: It is missing, damaged or has other shapes.
  """
  stored = StoredCheckpoint(folder)
  model = _empty(stored.config)
  loaded = []
  for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
    array = _widened(stored.read(".".join(map(str, path))))
    loaded.append((path, variable.replace(jnp.asarray(array))))
  nnx.update(model, nnx.from_flat_state(loaded))
  model.eval()
  return model, stored.facts
