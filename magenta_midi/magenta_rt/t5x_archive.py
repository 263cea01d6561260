"""Tar archives of T5X checkpoints: parameters out, nothing else."""

import lzma
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from magenta_midi.bounded_files import (
  ARCHIVE_BYTES,
  ARCHIVE_RATIO,
  MAX_MEMBERS,
  open_regular,
)
from magenta_midi.magenta_rt.names import TARGET
from magenta_midi.magenta_rt.t5x_checkpoint import (
  INDEX,
  NOTES,
  absent_folders,
  find_t5x,
)
from magenta_midi.model.weights_file import CheckpointError
from magenta_midi.plain_text import line

__all__ = ["unpack_t5x"]

# Errors of a damaged archive, by its compression; the last ones are of names
# and of headers within headers.
_DAMAGED = (
  tarfile.TarError,
  EOFError,
  zlib.error,
  lzma.LZMAError,
  OSError,
  ValueError,
  RecursionError,
)
# What is read at once; more can only be a header that is none.
_PIECE_BYTES = 1 << 20


def unpack_t5x(
  archive: Path,
  into: Path,
  *,
  on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
  """Unpacks a checkpoint's index and parameters, not the optimizer's state.

  Only regular files are written, only below `into`, and no more than
  `ARCHIVE_BYTES` are unpacked, or `ARCHIVE_RATIO` times the archive's size.

  Args:
    archive: Plain, or compressed by gzip, bzip2 or xz (from Python 3.14 on
      also by zstd).
    into: An empty folder.
    on_bytes: Called with the bytes of the archive read so far, and its size.

  Returns:
    The checkpoint's folder.

  Raises:
    CheckpointError: It is no tar archive, is damaged (the array is named),
      tries to write elsewhere, or holds too much.
  """

  def is_parameter(path: PurePosixPath) -> bool:
    return path.name in (INDEX, NOTES) or any(
      p.startswith(TARGET) for p in path.parts
    )

  _unpack(archive, into, is_parameter, on_bytes)
  try:
    folder = find_t5x(into)
  except CheckpointError as error:
    reason = str(error).replace(str(into), archive.name)
    raise CheckpointError(reason) from None
  # An index may keep its arrays under names of its own.
  if names := absent_folders(folder):
    _unpack(
      archive, into, lambda path: not names.isdisjoint(path.parts), on_bytes
    )
  return folder


class _Archive(tarfile.TarFile):
  """A tar archive whose headers are bounded, whatever size they name."""

  @classmethod
  def taropen(
    cls, name: Any, mode: Any = "r", fileobj: Any = None, **more: Any
  ):
    """Opens the archive, decompressed by now."""
    bounded: Any = _Pieces(fileobj)
    return super().taropen(name, mode, bounded, **more)


class _Pieces:
  """A file that refuses to be read in pieces of more than `_PIECE_BYTES`."""

  def __init__(self, file: Any):
    self._file = file

  def read(self, size: int = -1) -> bytes:
    """Reads some bytes.

    Raises:
      ReadError: Too many are asked for.
    """
    if not 0 <= size <= 2 * _PIECE_BYTES:
      raise tarfile.ReadError(f"a header of {size:,} bytes")
    return self._file.read(size)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._file, name)


def _unpack(
  archive: Path,
  into: Path,
  wanted: Callable[[PurePosixPath], bool],
  on_bytes: Callable[[int, int], None],
) -> None:
  last = "its start"
  opened = False
  with open_regular(archive) as raw:
    size = os.fstat(raw.fileno()).st_size
    limit = min(ARCHIVE_BYTES, ARCHIVE_RATIO * size + _PIECE_BYTES)
    try:
      with _Archive.open(fileobj=raw, mode="r:*") as tar:
        opened = True
        for count, member in enumerate(tar, 1):
          last = line(member.name, longest=80)
          on_bytes(raw.tell(), size)
          if count > MAX_MEMBERS or member.offset_data + member.size > limit:
            raise CheckpointError(
              f"{archive}: unpacks to more than {limit / 2**20:,.0f} MiB or"
              f" {MAX_MEMBERS:,} files, at {last}. Do not trust this archive."
            )
          path = PurePosixPath(member.name)
          if not member.isreg() or member.issparse() or not wanted(path):
            continue
          _write_member(tar, member, into / _safe(path))
    except CheckpointError:
      raise
    except _DAMAGED as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # not the archive's fault: a full disk, a folder not writable
      if not opened:
        raise CheckpointError(
          f"{archive}: no tar archive (plain, gzip, bzip2 or xz),"
          f" {'and empty' if not size else 'or damaged at its start'}."
        ) from None
      raise CheckpointError(
        f"{archive}: truncated or damaged at {last}:"
        f" {line(error, longest=100)}. Copy or download it again."
      ) from None


def _safe(path: PurePosixPath) -> PurePosixPath:
  if path.is_absolute() or ".." in path.parts:
    raise CheckpointError(
      f"the archive holds {line(path, longest=80)}, which would be written"
      " outside of its folder. Do not trust this archive."
    )
  return path


def _write_member(
  tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> None:
  source = tar.extractfile(member)
  assert source is not None  # a regular file
  path.parent.mkdir(parents=True, exist_ok=True)
  left = member.size
  with open(path, "wb") as file:
    while left:
      data = source.read(min(left, _PIECE_BYTES))
      if not data:
        raise EOFError("the file ends early")
      file.write(data)
      left -= len(data)
