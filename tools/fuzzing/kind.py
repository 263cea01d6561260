"""A kind of file that is fuzzed: how it is made, changed and read."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Kind", "mutated", "written"]


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of file.

  Attributes:
    what: The file, in words.
    make: Makes what the next two need, in a new folder.
    write: Writes a changed input into the folder, drawn from a generator;
      returns the path that has changed.
    read: Reads what lies there, as the commands do.
    errors: The documented errors of the reader, `MODULE:NAME` each.
  """

  what: str
  make: Callable[[Path], Any]
  write: Callable[[Path, Any, random.Random], Path]
  read: Callable[[Path], Any]
  errors: tuple[str, ...]


def written(path: Path, data: bytes) -> Path:
  """Writes a file; returns its path."""
  path.write_bytes(data)
  return path


def mutated(
  name: str, change: Callable[[Any, random.Random], bytes]
) -> Callable[[Path, Any, random.Random], Path]:
  """Writes what was made, changed, under a name."""
  return lambda folder, made, rng: written(folder / name, change(made, rng))
