"""One run on many devices: a mesh, and what lies where.

Batches are split over `data` and `fsdp`. Parameters, with the optimizer's
arrays of the same shape, are split by the names of their axes
(`model.logical_axes`): over `model` by heads, hidden units and vocabulary,
over `fsdp` by the width of the residual stream. XLA adds the communication.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from magenta_midi.model.logical_axes import logical_axes

__all__ = [
  "AXES",
  "RULES",
  "batch_rows",
  "join_hosts",
  "make_mesh",
  "on_one_device",
  "path_name",
  "place_batch",
  "replicate",
  "shardings",
]

AXES = ("data", "fsdp", "model")
# Logical axis -> mesh axis.
RULES = {"embed": "fsdp", "heads": "model", "mlp": "model", "vocab": "model"}
_BATCH = PartitionSpec(("data", "fsdp"))


def join_hosts() -> None:
  """Makes this process one of many, where the environment says so.

  `MAGENTA_MIDI_HOSTS=auto` takes what the cluster says (TPU pod slices,
  Slurm, GKE); `ADDRESS:PORT,COUNT,INDEX` names the first host, how many there
  are, and which this one is. Absent: one host. To be called before any other
  use of JAX.

  Raises:
    ValueError: The variable is of another form.
  """
  given = os.environ.get("MAGENTA_MIDI_HOSTS", "")
  if not given:
    return
  if given == "auto":
    jax.distributed.initialize()
    return
  found = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", given)
  if found is None:
    raise ValueError(
      "MAGENTA_MIDI_HOSTS must be auto or ADDRESS:PORT,COUNT,INDEX, got"
      f" {given!r}."
    )
  address, count, index = found.groups()
  jax.distributed.initialize(address, int(count), int(index))


def make_mesh(sizes: Mapping[str, int]) -> Mesh | None:
  """The mesh of so many devices along each axis; None: one device, no mesh.

  Raises:
    ValueError: There are not so many devices, or they are of several hosts
      and not all are used.
  """
  if not sizes:
    return None
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  count = int(np.prod(shape))
  devices = jax.devices()
  if count > len(devices) or (count < len(devices) and jax.process_count() > 1):
    raise ValueError(
      f"the mesh {dict(zip(AXES, shape, strict=True))} takes {count} devices,"
      f" there are {len(devices)} ({devices[0].platform})."
    )
  return Mesh(np.array(devices[:count]).reshape(shape), AXES)


def path_name(path: tuple) -> str:
  """A tree's path, dotted: for parameters, their name in checkpoints."""
  # What flax's variables are wrapped in.
  if path and path[-1] == jax.tree_util.GetAttrKey("value"):
    path = path[:-1]
  return jax.tree_util.keystr(path, simple=True, separator=".")


def shardings(tree: Any, params: Any, mesh: Mesh) -> Any:
  """Where each array lies of a tree that holds copies of `params`.

  An array goes where the parameter goes whose path ends its own and whose
  shape it has: the moments of Adam, but not the factors of Adafactor. All
  else is on every device. An axis that its devices do not divide is not
  split.

  Args:
    tree: Parameters, or an optimizer's state.
    params: The model's parameters.
    mesh: From `make_mesh`.
  """
  shapes = {
    path_name(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }

  def place(path: tuple, leaf: Any) -> NamedSharding:
    parts = path_name(path).split(".")
    for first in range(len(parts)):
      name = ".".join(parts[first:])
      if shapes.get(name) == leaf.shape:
        return NamedSharding(mesh, _spec(name, leaf.shape, mesh))
    return NamedSharding(mesh, PartitionSpec())

  return jax.tree_util.tree_map_with_path(place, tree)


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  axes = []
  for logical, size in zip(logical_axes(name), shape, strict=True):
    axis = None if logical is None else RULES[logical]
    divides = axis is not None and size % mesh.shape[axis] == 0
    axes.append(axis if divides else None)
  return PartitionSpec(*axes)


def replicate(tree: Any, mesh: Mesh | None) -> Any:
  """Puts all of a tree on every device; without a mesh it stays."""
  if mesh is None:
    return tree
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def batch_rows(mesh: Mesh | None) -> int:
  """A batch's examples must be a multiple of this."""
  return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def place_batch(batch: Any, mesh: Mesh | None) -> Any:
  """Puts a batch's rows on their devices.

  Rows that predict nothing fill it up to a multiple of the devices. Every
  host cuts the same batch and keeps its own devices' rows of it.
  """
  if mesh is None:
    return batch
  rows = batch_rows(mesh)
  sharding = NamedSharding(mesh, _BATCH)

  def place(array: np.ndarray) -> jax.Array:
    missing = -len(array) % rows
    padded = np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
    return jax.make_array_from_callback(
      padded.shape, sharding, lambda index: padded[index]
    )

  return jax.tree.map(place, batch)


def on_one_device(tree: Any, mesh: Mesh | None) -> Any:
  """Whole copies of a tree's arrays on this process's own device."""
  if mesh is None:
    return tree
  everywhere = NamedSharding(mesh, PartitionSpec())
  whole = jax.jit(lambda x: x, out_shardings=everywhere)(tree)
  return jax.tree.map(
    lambda x: jnp.asarray(np.asarray(x.addressable_data(0))), whole
  )
