"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from magenta_midi.midi.folder_lock import lock_file

# Pattern of the files that a killed process may leave behind.
TEMPORARY = ".*.part"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")
# A younger one may be just opened and not locked yet.
_ABANDONED_S = 60.0

# Folders that this process has looked through.
_cleaned: set[str] = set()


def write_atomically(path: str | PathLike[str], data: bytes | str) -> None:
  """Writes a temporary file beside `path`, then renames it.

  Args:
    path: The file; replaced only once everything is written.
    data: Text is written as UTF-8, its line ends as they are.

  Raises:
    OSError: It cannot be written there; names `path`. An older file of that
      name is as it was.
  """
  if isinstance(data, str):
    data = data.encode()
  with open_atomically(path) as file:
    file.write(data)


@contextlib.contextmanager
def open_atomically(
  path: str | PathLike[str], *, sync: bool = False
) -> Iterator[BinaryIO]:
  """A new file that takes the name `path` when the block ends.

  What a killed process has left in the folder is removed, at the first file
  that this process writes there.

  Args:
    path: An older file of that name stays as it was if anything goes wrong.
    sync: Waits until the disk has it, so that it outlives a power cut.

  Raises:
    OSError: It cannot be written there; names `path`.
  """
  path = Path(path)
  _clean(path.parent)
  temporary = path.with_name(f".{secrets.token_hex(8)}.part")
  try:
    # "x": with the permissions any new file gets, and never somebody's file.
    with open(temporary, "x+b") as file:
      lock_file(file.fileno())
      yield file
      if sync:
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException as error:
    temporary.unlink(missing_ok=True)
    named = getattr(error, "filename", None) in (None, str(temporary))
    if isinstance(error, OSError) and error.errno is not None and named:
      # The subclass (PermissionError and so on) follows from the number.
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def _clean(folder: Path) -> None:
  """Removes abandoned temporary files, once for each folder."""
  name = os.path.realpath(folder)
  if name in _cleaned:
    return
  _cleaned.add(name)
  oldest = time.time() - _ABANDONED_S
  with contextlib.suppress(OSError), os.scandir(folder) as entries:
    for entry in entries:
      if _TEMPORARY.fullmatch(entry.name):
        with contextlib.suppress(OSError):
          if entry.stat(follow_symlinks=False).st_mtime < oldest:
            _remove_abandoned(entry.path)


def _remove_abandoned(path: str) -> None:
  """Removes a temporary file unless a process is still writing it."""
  flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
  fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
  try:
    abandoned = lock_file(fd)
  finally:
    os.close(fd)
  if abandoned:
    os.unlink(path)
