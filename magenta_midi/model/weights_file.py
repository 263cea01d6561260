"""Weights file: safetensors, written and read array by array.

The functions of the safetensors library read or write all arrays at once or map
the file into memory. These hold only one array in memory.

Source: https://huggingface.co/docs/safetensors, section Format.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

__all__ = ["ArrayInfo", "CheckpointError", "WeightsFile", "write_weights"]

_DTYPES = {
  "F32": np.dtype(np.float32),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "I8": np.dtype(np.int8),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

# Larger than the header of any model; a larger one is not a header.
_MAX_HEADER = 100_000_000


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged or has other shapes."""


class ArrayInfo(NamedTuple):
  """Shape and type of an array that is not read yet."""

  shape: tuple[int, ...]
  dtype: np.dtype

  @property
  def bytes(self) -> int:
    """Size in bytes."""
    return math.prod(self.shape) * self.dtype.itemsize


def write_weights(
  file: BinaryIO,
  infos: Mapping[str, ArrayInfo],
  arrays: Iterable[tuple[str, np.ndarray]],
) -> str:
  """Writes arrays one by one.

  Args:
    file: Opened for writing, empty.
    infos: All arrays, in the order of `arrays`.
    arrays: Names and values.

  Returns:
    SHA-256 of the file, hexadecimal.
  """
  header: dict[str, dict] = {}
  end = 0
  for name, info in infos.items():
    header[name] = dict(
      dtype=_NAMES[info.dtype],
      shape=list(info.shape),
      data_offsets=[end, end + info.bytes],
    )
    end += info.bytes
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # data start at a multiple of 8
  digest = hashlib.sha256()
  start = len(text).to_bytes(8, "little") + text
  file.write(start)
  digest.update(start)
  expected = iter(infos.items())
  for name, array in arrays:
    assert (name, ArrayInfo(array.shape, array.dtype)) == next(expected)
    # As bytes, because NumPy has no buffer type for bfloat16.
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    file.write(data)
    digest.update(data)
  assert next(expected, None) is None
  return digest.hexdigest()


class WeightsFile:
  """A safetensors file with a valid header.

  Args:
    path: The file.

  Raises:
    CheckpointError: It is missing, truncated or not a safetensors file.
  """

  def __init__(self, path: Path):
    self.path = path
    # All arrays, in the order of the file.
    self.infos: dict[str, ArrayInfo] = {}
    # Metadata of the file.
    self.metadata: dict[str, str] = {}
    self._offsets: dict[str, int] = {}
    # SHA-256 of the whole file, after the first `check`.
    self._sha256: str | None = None
    try:
      size = path.stat().st_size
      with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
          raise ValueError("its header is truncated or no safetensors header")
        header = json.loads(file.read(length))
      if not isinstance(header, dict):
        raise ValueError("its header is no safetensors header")
      end = self._read_header(header, 8 + length)
    except OSError as error:
      raise CheckpointError(
        f"{path}: cannot be read: {error.strerror}."
      ) from None
    except UnicodeDecodeError:
      raise CheckpointError(
        f"{path}: cannot be read: its header is no safetensors header."
      ) from None
    except ValueError as error:
      raise CheckpointError(f"{path}: cannot be read: {error}.") from None
    if end != size:
      raise CheckpointError(
        f"{path}: cannot be read: {size} bytes, but its header names {end}; it"
        " is truncated or damaged. Copy it again."
      )

  def _read_header(self, header: dict, start: int) -> int:
    """Reads the entries of the header; returns the end of the data."""
    end = start
    metadata = header.pop("__metadata__", None)
    if isinstance(metadata, dict):
      self.metadata = {name: str(text) for name, text in metadata.items()}
    for name, entry in header.items():
      if not _is_entry(entry):
        raise ValueError(f"its header does not say what {name} is")
    for name, entry in sorted(
      header.items(), key=lambda item: item[1]["data_offsets"]
    ):
      if entry["dtype"] not in _DTYPES:
        raise ValueError(
          f"{name} is stored as {entry['dtype']}, expected one of"
          f" {', '.join(_DTYPES)}"
        )
      info = ArrayInfo(tuple(entry["shape"]), _DTYPES[entry["dtype"]])
      first, last = entry["data_offsets"]
      if first != end - start or last - first != info.bytes:
        raise ValueError(f"{name} is not where its header says")
      self.infos[name], self._offsets[name] = info, end
      end = start + last
    return end

  def check(self, sha256: str) -> None:
    """Compares the file with a SHA-256; reads it only at the first call.

    Raises:
      CheckpointError: The file has another SHA-256.
    """
    if self._sha256 is None:
      with open(self.path, "rb") as file:
        self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if self._sha256 != sha256:
      raise CheckpointError(
        f"{self.path}: damaged, or not the weights of the config.json beside"
        f" it (SHA-256 {self._sha256[:12]}..., expected {sha256[:12]}...)."
        " Copy both again."
      )

  def read(self, name: str) -> np.ndarray:
    """Reads one array, as stored."""
    info = self.infos[name]
    flat = np.fromfile(
      self.path,
      info.dtype,
      count=math.prod(info.shape),
      offset=self._offsets[name],
    )
    return flat.reshape(info.shape)


def _is_entry(entry: Any) -> bool:
  """Whether an entry of the header has fields of the right types."""
  if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
    return False
  shape, offsets = entry.get("shape"), entry.get("data_offsets")
  return (
    isinstance(shape, list)
    and isinstance(offsets, list)
    and len(offsets) == 2
    and all(type(n) is int and n >= 0 for n in (*shape, *offsets))
  )
