"""Tar archives of T5X checkpoints: parameters out, nothing else."""

import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from magenta_midi.magenta_rt.names import TARGET
from magenta_midi.magenta_rt.t5x_checkpoint import (
  INDEX,
  NOTES,
  absent_folders,
  find_t5x,
)
from magenta_midi.model.weights_file import CheckpointError

__all__ = ["unpack_t5x"]

# Errors of a damaged archive, by its compression.
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


def unpack_t5x(
  archive: Path,
  into: Path,
  *,
  on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
  """Unpacks a checkpoint's index and parameters, not the optimizer's state.

  Only regular files are written, and only below `into`.

  Args:
    archive: Plain, or compressed by gzip, bzip2 or xz (from Python 3.14 on
      also by zstd).
    into: An empty folder.
    on_bytes: Called with the bytes of the archive read so far, and its size.

  Returns:
    The checkpoint's folder.

  Raises:
    CheckpointError: It is no tar archive, is damaged (the array is named), or
      tries to write elsewhere.
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


def _unpack(
  archive: Path,
  into: Path,
  wanted: Callable[[PurePosixPath], bool],
  on_bytes: Callable[[int, int], None],
) -> None:
  size = archive.stat().st_size
  last = "its start"
  opened = False
  with open(archive, "rb") as raw:
    try:
      with tarfile.open(fileobj=raw, mode="r:*") as tar:
        opened = True
        for member in tar:
          last = member.name
          on_bytes(raw.tell(), size)
          path = PurePosixPath(member.name)
          if not member.isreg() or member.issparse() or not wanted(path):
            continue
          _write_member(tar, member, into / _safe(path))
    except _DAMAGED as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # not the archive's fault: a full disk, a folder not writable
      if not opened:
        raise CheckpointError(
          f"{archive}: no tar archive (plain, gzip, bzip2 or xz),"
          f" {'and empty' if not size else 'or damaged at its start'}."
        ) from None
      raise CheckpointError(
        f"{archive}: truncated or damaged at {last}: {error}. Copy or"
        " download it again."
      ) from None


def _safe(path: PurePosixPath) -> PurePosixPath:
  if path.is_absolute() or ".." in path.parts:
    raise CheckpointError(
      f"the archive holds {path}, which would be written outside of its"
      " folder. Do not trust this archive."
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
      data = source.read(min(left, 1 << 20))
      if not data:
        raise EOFError("the file ends early")
      file.write(data)
      left -= len(data)
