"""T5X checkpoints: a msgpack tree whose leaves are zarr arrays beside it.

Source: the layout that `t5x.checkpoints.Checkpointer` writes, version 3.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import ml_dtypes
import numpy as np
import tensorstore as ts
from flax import serialization

from magenta_midi.bounded_files import (
  INDEX_BYTES,
  MAX_DIMS,
  TEXT_BYTES,
  read_bytes,
  read_json,
)
from magenta_midi.magenta_rt.names import TARGET
from magenta_midi.midi.folder_lock import folder_lock
from magenta_midi.model.weights_file import ArrayInfo, CheckpointError
from magenta_midi.plain_text import line

__all__ = [
  "INDEX",
  "NOTES",
  "T5xCheckpoint",
  "absent_folders",
  "find_t5x",
  "write_t5x",
]

# The msgpack file of a checkpoint.
INDEX = "checkpoint"
# File of our notes beside a checkpoint. T5X reads only the index and the arrays
# that the index names.
NOTES = "magenta_midi.json"
VERSION = 3
# Faults in one message.
_SHOWN = 40

# Text of tensorstore's errors before the reason.
_PREAMBLE = re.compile(r'^[A-Z_]+: (Error opening "zarr" driver: )?')

_DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16))


def find_t5x(path: Path) -> Path:
  """The checkpoint's own folder in a folder that holds one, at any depth.

  Its index may be named too.

  Raises:
    CheckpointError: There is none, or there are several.
  """
  if path.name == INDEX and path.is_file():
    return path.parent
  if (path / INDEX).is_file():
    return path
  found = []
  for folder, subfolders, files in os.walk(path):
    if INDEX in files:
      found.append(Path(folder))
      subfolders.clear()
    # Its arrays are folders too, and many.
    arrays = (TARGET, "state.")
    subfolders[:] = [f for f in subfolders if not f.startswith(arrays)]
  if not found:
    raise CheckpointError(
      f"{path}: no T5X checkpoint there (a folder checkpoint_<step> that holds"
      f" a file named {INDEX})."
    )
  if len(found) > 1:
    names = ", ".join(sorted(str(f.relative_to(path)) for f in found))
    raise CheckpointError(
      f"{path}: holds {len(found)} checkpoints ({names}). Name one of them."
    )
  return found[0]


class T5xCheckpoint:
  """A checkpoint folder whose index is read and whose arrays are opened.

  Args:
    folder: `checkpoint_<step>`.

  Raises:
    CheckpointError: The index cannot be read, or arrays are missing or cannot
      be opened; all are named.
  """

  def __init__(self, folder: Path):
    self.folder = folder
    # Steps of training.
    self.step = 0
    # Every array by its name without `target.`.
    self.infos: dict[str, ArrayInfo] = {}
    self._inline: dict[str, np.ndarray] = {}
    self._folders: dict[str, Path] = {}
    leaves, self.step = _read_index(folder)
    wrong = []
    for name, leaf in leaves.items():
      try:
        if isinstance(leaf, dict):
          self._folders[name] = _array_folder(folder, name, leaf)
          self.infos[name] = _stored_info(self._folders[name])
        else:
          self._inline[name] = leaf
          self.infos[name] = ArrayInfo(leaf.shape, leaf.dtype)
        if (dtype := self.infos[name].dtype) not in _DTYPES:
          wrong.append(f"{TARGET}{name} is {dtype}, not float32 or bfloat16")
      except FileNotFoundError:
        wrong.append(f"{TARGET}{name} is missing")
      except (ValueError, OSError) as error:
        reason = _reason(error, self._folders[name])
        wrong.append(f"{TARGET}{name} cannot be opened: {reason}")
    if wrong:
      raise CheckpointError(f"{folder.name}: {_first(wrong)}.")

  def read(self, name: str) -> np.ndarray:
    """One array, as stored.

    Raises:
      CheckpointError: A chunk of it is missing or damaged.
    """
    if name in self._inline:
      return self._inline[name]
    try:
      return np.asarray(_open(self._folders[name]).read().result())
    except (ValueError, OSError) as error:
      raise CheckpointError(
        f"{self.folder.name}: {TARGET}{name} is damaged:"
        f" {_reason(error, self._folders[name])}. Copy or download it again."
      ) from None


def absent_folders(folder: Path) -> set[str]:
  """Last names of the array folders that the index names and are not there.

  Raises:
    CheckpointError: The index cannot be read.
  """
  absent = set()
  for name, leaf in _read_index(folder)[0].items():
    if isinstance(leaf, dict):
      try:
        _array_folder(folder, name, leaf)
      except FileNotFoundError:
        absent.update(p.name for p in _candidates(name, leaf))
  return absent


def _read_index(folder: Path) -> tuple[dict[str, Any], int]:
  """Leaves by dotted name (arrays or tensorstore specs), and the step."""
  where = f"{folder.name}/{INDEX}: no T5X index"
  data = read_bytes(folder / INDEX, INDEX_BYTES)
  try:
    tree: Any = serialization.msgpack_restore(data)
  # On foreign bytes the unpacker raises errors of several unrelated types.
  except Exception:
    raise CheckpointError(f"{where} (msgpack), or damaged.") from None
  # T5X's optimizer state, or a train state without an optimizer.
  inner = _branch(_branch(tree).get("optimizer", tree))
  if not isinstance(inner.get("target"), dict):
    raise CheckpointError(
      f"{where}: it has no tree of parameters named target."
    )
  leaves, foreign = {}, []
  for name, value in _flatten(inner["target"]):
    if isinstance(value, np.ndarray) or (
      isinstance(value, dict) and isinstance(value["kvstore"], dict)
    ):
      leaves[name] = value
    else:
      foreign.append(f"{TARGET}{name} is no array")
  if foreign:
    raise CheckpointError(f"{folder.name}/{INDEX}: {_first(foreign)}.")
  if not leaves:
    raise CheckpointError(f"{folder.name}/{INDEX}: names no arrays.")
  return leaves, _step(_branch(inner.get("state")).get("step"))


def _branch(node: Any) -> dict:
  return node if isinstance(node, dict) else {}


def _step(value: Any) -> int:
  """Steps of training; 0 where the index does not hold one number.

  It names the checkpoint and changes no array, so nothing is refused for it.
  """
  array = np.asarray(value)
  if array.size != 1 or array.dtype.kind not in "iu":
    return 0
  return max(0, int(array.reshape(())))


def _flatten(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, dict) and "kvstore" not in value:
      yield from _flatten(value, name + ".")
    else:
      yield name, value


def _candidates(name: str, spec: dict) -> list[PurePosixPath]:
  """Possible paths of an array, from the folder of the checkpoint.

  The path of the spec may be another machine's: then its last part counts.
  """
  text = spec["kvstore"].get("path", "")
  path = PurePosixPath(text if isinstance(text, str) else "")
  inside = not path.is_absolute() and ".." not in path.parts
  candidates = [path] if inside and path.name else []
  if path.name and path.name != "..":
    candidates.append(PurePosixPath(path.name))
  return [*candidates, PurePosixPath(TARGET + name)]


def _array_folder(folder: Path, name: str, spec: dict) -> Path:
  for candidate in _candidates(name, spec):
    if (folder / candidate / ".zarray").is_file():
      return folder / candidate
  raise FileNotFoundError(name)


def _open(folder: Path) -> Any:
  # T5X writes every chunk: one that is not there was lost. Zarr would have it
  # read as the fill value; a model of zeros is worse than an error.
  spec = {
    "driver": "zarr",
    "kvstore": {"driver": "file", "path": f"{folder}/"},
    "fill_missing_data_reads": False,
  }
  return ts.open(spec, open=True, read=True).result()


def _stored_info(folder: Path) -> ArrayInfo:
  _check_zarr(folder)
  store = _open(folder)
  return ArrayInfo(tuple(store.shape), store.dtype.numpy_dtype)


def _check_zarr(folder: Path) -> None:
  """Checks what would make Tensorstore wait, or take memory at will.

  Raises:
    ValueError: A chunk is larger than the array, or a file is no regular one.
    OSError: The description cannot be read.
  """
  facts = read_json(folder / ".zarray", TEXT_BYTES)
  facts = _branch(facts)
  shape, chunks = facts.get("shape", 0), facts.get("chunks", 0)
  for sizes in (shape, chunks):
    if (
      not isinstance(sizes, list)
      or len(sizes) > MAX_DIMS
      or not all(type(n) is int and 0 <= n < 2**31 for n in sizes)
    ):
      raise ValueError("its .zarray has no shape of an array")
  # It reserves memory for whole chunks.
  if len(shape) != len(chunks) or any(
    chunk > max(size, 1) for size, chunk in zip(shape, chunks, strict=True)
  ):
    raise ValueError(f"its chunks {chunks} are larger than its shape {shape}")
  if facts.get("filters") is not None:
    raise ValueError("it has filters")
  with os.scandir(folder) as entries:
    for entry in entries:
      if not entry.is_file() and not entry.is_dir():
        raise ValueError(f"{entry.name} is a pipe or device")


def _first(faults: list[str]) -> str:
  """The first of many faults, and how many more there are."""
  shown = "; ".join(line(fault, longest=200) for fault in faults[:_SHOWN])
  more = len(faults) - _SHOWN
  return f"{shown}; and {more} more" if more > 0 else shown


def _reason(error: Exception, folder: Path) -> str:
  """Tensorstore's words without its spec, code and paths, in one line."""
  text = " ".join(str(error).split(" [tensorstore_spec")[0].split())
  return _PREAMBLE.sub("", text).replace(f"{folder}/", "")


def write_t5x(
  out: Path,
  step: int,
  arrays: Iterable[tuple[str, np.ndarray]],
  notes: str = "",
) -> Path:
  """Writes `checkpoint_<step>` as T5X does, parameters only.

  Args:
    out: The folder that receives it; made if absent.
    step: Steps of training.
    arrays: T5X names without `target.`, and values; one is held at a time.
    notes: Text of `NOTES`; empty: there is no such file.

  Returns:
    The checkpoint's folder. It is there whole or not at all.

  Raises:
    CheckpointError: It is there already.
    FolderInUseError: Another process is writing there.
  """
  folder = out / f"checkpoint_{step}"
  if folder.exists():
    raise CheckpointError(
      f"{folder}: is there already. Give another --out or --step, or remove it."
    )
  temporary = out / f".{folder.name}.{os.getpid()}"
  with folder_lock(out):
    # What a killed process has left.
    for left in out.glob(f".{folder.name}.[0-9]*"):
      shutil.rmtree(left, ignore_errors=True)
    try:
      temporary.mkdir()
      _write_tree(temporary, step, arrays, notes)
      os.replace(temporary, folder)
    finally:
      shutil.rmtree(temporary, ignore_errors=True)
  return folder


def _write_tree(
  folder: Path, step: int, arrays: Iterable[tuple[str, np.ndarray]], notes: str
) -> None:
  target: dict[str, Any] = {}
  for name, array in arrays:
    *parents, last = name.split(".")
    node = target
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = _write_array(folder, TARGET + name, array)
  tree = dict(
    version=VERSION,
    optimizer=dict(
      state=dict(param_states={}, step=np.array(step, np.int32)),
      target=target,
    ),
  )
  (folder / INDEX).write_bytes(serialization.msgpack_serialize(tree))
  if notes:
    (folder / NOTES).write_text(notes, encoding="utf-8")


def _write_array(folder: Path, name: str, array: np.ndarray) -> dict[str, Any]:
  """Writes one array in one chunk; returns its spec for the index."""
  spec = {
    "driver": "zarr",
    "dtype": array.dtype.name,
    "kvstore": {"driver": "file", "path": f"{name}/"},
    "metadata": {
      "chunks": list(array.shape),
      "compressor": {"id": "gzip", "level": 1},
      "shape": list(array.shape),
    },
  }
  placed = {**spec, "kvstore": {"driver": "file", "path": f"{folder}/{name}/"}}
  ts.open(placed, create=True, open=True).result().write(array).result()
  return spec
