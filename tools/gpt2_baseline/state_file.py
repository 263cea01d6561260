"""A run's arrays and facts in one file, which is there whole or not at all."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.train.sharding import path_name

__all__ = ["read_facts", "read_state", "write_state"]


def _named(tree: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): leaf for path, leaf in leaves}


def write_state(path: Path, tree: Any, facts: dict[str, Any]) -> None:
  """Writes a tree of arrays, and JSON values beside it.

  Raises:
    OSError: It cannot be written; an older file stays as it was.
  """
  arrays = {name: np.asarray(leaf) for name, leaf in _named(tree).items()}
  write_atomically(path, save(arrays, metadata=dict(facts=json.dumps(facts))))


def read_facts(path: Path) -> dict[str, Any]:
  """The JSON values.

  Raises:
    OSError: The file is missing; ValueError if it is no such file.
  """
  with _opened(path) as file:
    return json.loads((file.metadata() or {}).get("facts", "{}"))


def read_state(path: Path, like: Any) -> Any:
  """The arrays of a tree; the file may hold more.

  Args:
    path: Of `write_state`.
    like: A tree of the same names and shapes.

  Raises:
    ValueError: An array is missing or of another shape.
  """
  with _opened(path) as file:
    held = set(file.keys())
    found = []
    for name, leaf in _named(like).items():
      shape = None
      if name in held:
        array = file.get_tensor(name)
        shape = array.shape
        found.append(array.astype(leaf.dtype))
      if shape != leaf.shape:
        raise ValueError(
          f"{path}: {name} is {shape or 'missing'}, expected {leaf.shape}: the"
          " state is another model's."
        )
  return jax.tree.unflatten(jax.tree.structure(like), found)


def _opened(path: Path) -> Any:
  try:
    return safe_open(path, "numpy")
  except SafetensorError as error:
    raise ValueError(f"{path}: cannot be read ({error}).") from None
