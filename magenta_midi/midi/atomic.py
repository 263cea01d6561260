"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

# Pattern of the files that a killed process may leave behind.
TEMPORARY = ".*.part"


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

  Args:
    path: An older file of that name stays as it was if anything goes wrong.
    sync: Waits until the disk has it, so that it outlives a power cut.

  Raises:
    OSError: It cannot be written there; names `path`.
  """
  path = Path(path)
  temporary = path.with_name(f".{secrets.token_hex(8)}.part")
  try:
    # "x": with the permissions any new file gets, and never somebody's file.
    with open(temporary, "xb") as file:
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
