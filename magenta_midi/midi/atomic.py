"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from os import PathLike
from pathlib import Path


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
  """Writes beside `path`, then takes its name.

  Raises:
    OSError: It cannot be written there; names `path`. An older file of that
      name is as it was.
  """
  path = Path(path)
  temporary = path.with_name(f".{secrets.token_hex(8)}.part")
  try:
    # "x": with the permissions any new file gets, and never somebody's file.
    with open(temporary, "xb") as file:
      file.write(data)
    os.replace(temporary, path)
  except BaseException as error:
    temporary.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.errno is not None:
      # The subclass (PermissionError and so on) follows from the number.
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise
