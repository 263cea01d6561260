"""Checkpoints: a folder with `config.json` and `weights.safetensors`.

Weights are stored in float32, in bfloat16, or in int8 with one float32 scale
for each column. Loading converts them to float32, because CPUs decode with it
fastest (`docs/decisions.md`).
"""

import dataclasses
import functools
import itertools
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

from magenta_midi.bounded_files import read_json
from magenta_midi.midi.atomic import TEMPORARY, write_atomically
from magenta_midi.midi.folder_lock import folder_lock
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.weights_file import (
  ArrayInfo,
  CheckpointError,
  WeightsFile,
  write_weights,
)
from magenta_midi.plain_text import line

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
# Faults in one message.
_SHOWN = 8


def embedded_path() -> Path:
  """Folder of the embedded checkpoint in the package."""
  return Path(__file__).parent / "embedded"


def flat_parameters(model: nnx.Module) -> dict[str, np.ndarray]:
  """Parameters of a model by dotted name, float32."""
  return {name: _widened(array) for name, array in _parameters(model).items()}


def parameter_shapes(config: DepthformerConfig) -> dict[str, tuple[int, ...]]:
  """Dotted names and shapes of all parameters, without computing them.

  Only one layer of each stack is traced, so that the work does not depend on
  numbers of layers, which anybody may have written.
  """
  return dict(_parameter_shapes(config))


@functools.lru_cache(maxsize=8)
def _parameter_shapes(
  config: DepthformerConfig,
) -> dict[str, tuple[int, ...]]:
  layers = {
    name: getattr(config, name)
    for name in ("encoder_layers", "temporal_layers", "depth_layers")
  }
  one = {name: min(count, 1) for name, count in layers.items()}
  shapes = _parameters(_empty(dataclasses.replace(config, **one)))
  found: dict[str, tuple[int, ...]] = {}
  for stack, group in itertools.groupby(shapes, lambda n: n.partition(".")[0]):
    names = list(group)
    for index in range(layers.get(stack, 1)):
      for name in names:
        repeated = name
        if stack in layers:
          repeated = name.replace(f"{stack}.0.", f"{stack}.{index}.", 1)
        found[repeated] = tuple(shapes[name].shape)
  return found


def _outline(config: DepthformerConfig) -> dict[str, tuple[int, ...]]:
  """Shapes of a few arrays that show the widths and numbers of layers."""
  width, depth = config.embed_dim, config.depth_width
  shapes = {"token_embedder.embedding": (config.vocab_size, width)}
  for stack, count, inner, outer in (
    ("encoder", config.encoder_layers, config.mlp_dim, width),
    ("temporal", config.temporal_layers, config.mlp_dim, width),
    ("depth", config.depth_layers, config.depth_mlp_width, depth),
  ):
    if count:
      last = f"{stack}_layers.{count - 1}.mlp.wi_0.kernel"
      shapes[last] = (outer, inner)
  return shapes


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

  Raises:
    FolderInUseError: Another process is writing one there.
    OSError: It cannot be written.
  """
  with folder_lock(folder, again=True):
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
  if not path.exists():
    raise CheckpointError(f"{folder}: {_absence(folder)}")
  try:
    config = read_json(path)
    check_object("the file", config)
  except OSError as error:
    raise CheckpointError(
      f"{path}: cannot be read: {error.strerror}."
    ) from None
  except ValueError as error:
    raise CheckpointError(
      f"{path}: not a checkpoint's config: {error}."
    ) from None
  if "format" not in config or "model" not in config:
    raise CheckpointError(
      f"{path}: not a checkpoint's config: it names no format or no model."
    )
  if config["format"] != FORMAT:
    raise CheckpointError(
      f"{path}: format {_shown(config['format'])}, this version reads {FORMAT}."
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


def _first(faults: list[str]) -> str:
  """The first of many faults, and how many more there are."""
  shown = "; ".join(line(fault, longest=120) for fault in faults[:_SHOWN])
  more = len(faults) - _SHOWN
  return f"{shown}; and {more} more" if more > 0 else shown


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
    # The widths first: a model of a stranger's config may be of any size, and
    # takes a second to trace.
    wrong = self._misfits(_outline(self.config))
    if not wrong:
      expected = parameter_shapes(self.config)
      wrong = self._misfits(expected)
      wrong += [f"{n} is unknown" for n in self.infos if n not in expected]
    if wrong:
      raise CheckpointError(
        f"{folder}: the weights do not fit the config: {_first(wrong)}."
      )

  def _misfits(self, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Arrays that are missing or of other shapes."""
    wrong = []
    for name, shape in expected.items():
      if name not in self.infos:
        wrong.append(f"{name} is missing")
      elif (found := self.infos[name].shape) != shape:
        wrong.append(f"{name} is {found}, expected {shape}")
    return wrong

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
