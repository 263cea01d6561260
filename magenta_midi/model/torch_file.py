"""Arrays from a file of PyTorch, without PyTorch and without running it.

Such a file is a zip archive with a pickle, which may call any function when it
is read. Here it may make dictionaries and float32 tensors; it is refused if it
asks for anything else.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.bounded_files import open_regular

__all__ = ["TorchFileError", "read_torch_file"]

# The pickle holds names and shapes: 40 KB in a model of 200 arrays.
_PICKLE_BYTES = 4 * 2**20
_ARRAY_BYTES = 2**30
_MAX_DIMS = 8


class TorchFileError(ValueError):
  """The file is damaged, or holds what is no plain tensor."""


class _Storage(NamedTuple):
  """Names the part of the archive in which numbers lie."""

  key: str


class _Tensor(NamedTuple):
  """A tensor whose numbers are not read yet."""

  storage: _Storage
  offset: int
  shape: tuple
  strides: tuple


class _FloatStorage:
  """Stands for PyTorch's class; nothing can be made of it or set on it."""

  __slots__ = ()


class _Rebuild:
  """Stands for PyTorch's function that makes a tensor of its parts."""

  __slots__ = ()

  def __call__(
    self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
  ) -> _Tensor:
    del rest  # gradients and hooks
    if not isinstance(storage, _Storage) or not (
      isinstance(shape, tuple)
      and isinstance(strides, tuple)
      and len(shape) == len(strides)
    ):
      raise pickle.UnpicklingError("a tensor of other parts")
    return _Tensor(storage, offset, shape, strides)


def read_torch_file(
  path: str | PathLike[str], *, key: str | None = "state_dict"
) -> dict[str, np.ndarray]:
  """Reads the model's arrays: those under `state_dict`.

  Args:
    path: A file as `torch.save` writes it, with float32 tensors.
    key: Where the arrays are; None: they are all that the file holds.

  Returns:
    float32 arrays by the names in the file.

  Raises:
    TorchFileError: See there; one line names the file.
    OSError: It cannot be read.
  """
  path = Path(path)
  try:
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
      return _read(archive, key)
  except TorchFileError as error:
    raise TorchFileError(f"{path}: {error}") from None
  except (
    *(zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError),
    *(ValueError, TypeError, AttributeError, IndexError, OverflowError),
    *(MemoryError, NotImplementedError, RuntimeError),
  ) as error:
    raise TorchFileError(
      f"{path}: is no PyTorch file that can be read ({type(error).__name__})."
    ) from None


def _read(archive: zipfile.ZipFile, key: str | None) -> dict[str, np.ndarray]:
  names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
  if len(names) != 1:
    raise TorchFileError("holds no `data.pkl`. Is it a PyTorch file?")
  root = names[0].removesuffix("data.pkl")
  pickled = _member(archive, names[0], _PICKLE_BYTES)
  found: Any = _TensorUnpickler(io.BytesIO(pickled)).load()
  state = found
  if key is not None:
    state = found.get(key) if isinstance(found, dict) else None
  if not isinstance(state, dict) or not state:
    raise TorchFileError(f"holds no `{key or 'state_dict'}`.")
  storages: dict[str, np.ndarray] = {}
  arrays: dict[str, np.ndarray] = {}
  for name, tensor in state.items():
    if not isinstance(name, str) or not isinstance(tensor, _Tensor):
      raise TorchFileError("holds something else among its tensors.")
    part = tensor.storage.key
    if part not in storages:
      data = _member(archive, f"{root}data/{part}", _ARRAY_BYTES)
      storages[part] = np.frombuffer(data, "<f4")
    arrays[name] = _array(tensor, storages[part])
  return arrays


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
  """A member's bytes; it must be stored as it is, as PyTorch stores it."""
  info = archive.getinfo(name)
  if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
    raise TorchFileError(f"its part {name[:60]!r} is compressed or too large.")
  return archive.read(info)


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
  shape = tensor.shape
  whole = all(isinstance(n, int) and n >= 0 for n in (tensor.offset, *shape))
  if not whole or len(shape) > _MAX_DIMS:
    raise TorchFileError("a tensor has an impossible shape.")
  strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
  size = math.prod(shape)
  # Axes of length 1 may have any stride.
  plain = (
    all(n == 1 or n == m for n, m in zip(tensor.strides, strides, strict=True))
    or list(tensor.strides) == strides
  )
  if not plain or tensor.offset + size > len(storage):
    raise TorchFileError(
      "a tensor does not lie whole and in order in its part."
    )
  return storage[tensor.offset : tensor.offset + size].reshape(shape)


_FLOATS, _REBUILD = _FloatStorage(), _Rebuild()


class _TensorUnpickler(pickle.Unpickler):
  """Makes dictionaries and tensors, and refuses everything else."""

  def find_class(self, module: str, name: str) -> Any:
    allowed: dict[tuple[str, str], Any] = {
      ("collections", "OrderedDict"): OrderedDict,
      ("torch._utils", "_rebuild_tensor_v2"): _REBUILD,
      ("torch", "FloatStorage"): _FLOATS,
    }
    if (module, name) not in allowed:
      raise TorchFileError(
        f"asks for {f'{module}.{name}'[:80]!r}, which is no float32 tensor, and"
        " is not read."
      )
    return allowed[module, name]

  def persistent_load(self, pid: Any) -> _Storage:
    match pid:
      case ("storage", kind, str(key), *_) if kind is _FLOATS:
        return _Storage(key)
    raise TorchFileError("holds a tensor that is not float32.")
