"""Weights file: safetensors, written and read array by array.

The functions of the safetensors library read or write all arrays at once or map
the file into memory. These hold only one array in memory.

Source: https://huggingface.co/docs/safetensors, section Format.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from magenta_midi.bounded_files import (
  HEADER_BYTES,
  MAX_ARRAYS,
  MAX_DIMS,
  WEIGHTS_BYTES,
  open_regular,
  parse_json,
)
from magenta_midi.plain_text import line

__all__ = ["ArrayInfo", "CheckpointError", "WeightsFile", "write_weights"]

_DTYPES = {
  "F32": np.dtype(np.float32),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "I8": np.dtype(np.int8),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


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
    path: The file, a regular one.
    limit: Bytes of the file at most.

  Raises:
    CheckpointError: It is missing, truncated, too large or not a safetensors
      file.
  """

  def __init__(self, path: Path, *, limit: int = WEIGHTS_BYTES):
    self.path = path
    # All arrays, in the order of the file.
    self.infos: dict[str, ArrayInfo] = {}
    # Metadata of the file.
    self.metadata: dict[str, str] = {}
    self._offsets: dict[str, int] = {}
    # SHA-256 of the whole file, after the first `check`.
    self._sha256: str | None = None
    try:
      with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
          raise ValueError(
            f"it has {size / 2**20:.0f} MiB, at most {limit / 2**20:g} are read"
          )
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, size - 8):
          raise ValueError("its header is truncated or no safetensors header")
        header = _parsed(file.read(length))
      if not isinstance(header, dict) or len(header) > MAX_ARRAYS:
        raise ValueError("its header is no safetensors header")
      end = self._read_header(header, 8 + length)
    except OSError as error:
      raise CheckpointError(
        f"{path}: cannot be read: {error.strerror}."
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
        raise ValueError(f"its header does not say what {_shown(name)} is")
    for name, entry in sorted(
      header.items(), key=lambda item: item[1]["data_offsets"]
    ):
      if entry["dtype"] not in _DTYPES:
        raise ValueError(
          f"{_shown(name)} is stored as {_shown(entry['dtype'])}, expected one"
          f" of {', '.join(_DTYPES)}"
        )
      info = ArrayInfo(tuple(entry["shape"]), _DTYPES[entry["dtype"]])
      first, last = entry["data_offsets"]
      if first != end - start or last - first != info.bytes:
        raise ValueError(f"{_shown(name)} is not where its header says")
      self.infos[name], self._offsets[name] = info, end
      end = start + last
    return end

  def check(self, sha256: str) -> None:
    """Compares the file with a SHA-256; reads it only at the first call.

    Raises:
      CheckpointError: The file has another SHA-256.
    """
    if self._sha256 is None:
      with open_regular(self.path) as file:
        self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if self._sha256 != sha256:
      raise CheckpointError(
        f"{self.path}: damaged, or not the weights of the config.json beside"
        f" it (SHA-256 {self._sha256[:12]}..., expected {sha256[:12]}...)."
        " Copy both again."
      )

  def read(self, name: str) -> np.ndarray:
    """Reads one array, as stored.

    Raises:
      CheckpointError: The file has become shorter.
    """
    info = self.infos[name]
    count = math.prod(info.shape)
    with open_regular(self.path) as file:
      flat = np.fromfile(file, info.dtype, count, offset=self._offsets[name])
    if len(flat) != count:
      raise CheckpointError(f"{self.path}: changed while it was read.")
    return flat.reshape(info.shape)


def _parsed(data: bytes) -> Any:
  try:
    return parse_json(data)
  except ValueError as error:
    reason = line(error, longest=100)
    raise ValueError(
      f"its header is no safetensors header ({reason})"
    ) from None


def _shown(text: str) -> str:
  """A name from the file, for a message."""
  return line(text, longest=80)


def _is_entry(entry: Any) -> bool:
  """Whether an entry of the header has fields of the right types."""
  if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
    return False
  shape, offsets = entry.get("shape"), entry.get("data_offsets")
  return (
    isinstance(shape, list)
    and len(shape) <= MAX_DIMS
    and isinstance(offsets, list)
    and len(offsets) == 2
    and all(type(n) is int and 0 <= n < 2**63 for n in (*shape, *offsets))
    # NumPy counts the elements of an empty array too.
    and math.prod(n for n in shape if n) < 2**60
  )
