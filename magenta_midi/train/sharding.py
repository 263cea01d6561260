"""Sharding of a run over many devices: the mesh, and the place of each array.

Batches are split over `data` and `fsdp`. Parameters, with the optimizer's
arrays of the same shape, are split by the names of their axes
(`model.logical_axes`): over `model` by heads, hidden units and vocabulary,
over `fsdp` by the width of the residual stream. XLA adds the communication.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from magenta_midi.model.logical_axes import logical_axes

__all__ = [
  "AXES",
  "RULES",
  "HostRows",
  "host_rows",
  "join_hosts",
  "make_mesh",
  "on_one_device",
  "path_name",
  "place_batch",
  "replicate",
  "settle",
  "shardings",
]

AXES = ("data", "fsdp", "model")
# Logical axis -> mesh axis.
RULES = {"embed": "fsdp", "heads": "model", "mlp": "model", "vocab": "model"}
_BATCH = PartitionSpec(("data", "fsdp"))


def join_hosts() -> None:
  """Makes this process one of many, if the environment asks for it.

  `MAGENTA_MIDI_HOSTS=auto` reads the cluster's settings (TPU pod slices,
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
  """Mesh with these numbers of devices by axis; None: one device, no mesh.

  Raises:
    ValueError: There are not so many devices, or they are of several hosts
      and not all are used.
  """
  if not sizes:
    return None
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  count = int(np.prod(shape))
  # A host's devices side by side: it cuts one block of a batch's rows.
  devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
  if count > len(devices) or (count < len(devices) and jax.process_count() > 1):
    raise ValueError(
      f"the mesh {dict(zip(AXES, shape, strict=True))} takes {count} devices,"
      f" there are {len(devices)} ({devices[0].platform})."
    )
  return Mesh(np.array(devices[:count]).reshape(shape), AXES)


def path_name(path: tuple) -> str:
  """A tree's path, dotted: for parameters, their name in checkpoints."""
  # Wrapper of flax's variables.
  if path and path[-1] == jax.tree_util.GetAttrKey("value"):
    path = path[:-1]
  return jax.tree_util.keystr(path, simple=True, separator=".")


def shardings(tree: Any, params: Any, mesh: Mesh) -> Any:
  """Shardings of the arrays of a tree that holds copies of `params`.

  An array has the sharding of the parameter with the same shape and a path that
  ends the array's path: so have the moments of Adam, but not the factors of
  Adafactor. All other arrays are on every device. An axis that is not divisible
  by its devices is not split.

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


def settle(tree: Any) -> Any:
  """Binds arrays to the device that they happen to be on.

  As restored ones are: otherwise, a resumed run would compile every step again.
  """
  return jax.device_put(tree, jax.tree.map(lambda x: x.sharding, tree))


class HostRows(NamedTuple):
  """Rows of each batch that this process cuts: one of equal blocks."""

  index: int = 0
  count: int = 1
  # A block's rows must be a multiple of this, the devices that split it.
  multiple: int = 1


def host_rows(mesh: Mesh | None) -> HostRows:
  """The rows of this process's devices.

  Hosts that split only the work of a row (`model`) cut the same rows. If the
  devices are not in equal blocks, every host cuts all rows.
  """
  if mesh is None:
    return HostRows()
  blocks = mesh.shape["data"] * mesh.shape["fsdp"]
  process = np.array(
    [device.process_index for device in mesh.devices.flat]
  ).reshape(blocks, -1)
  own = np.flatnonzero((process == jax.process_index()).any(axis=1))
  size = len(own)
  first = int(own[0]) if size else 0
  in_a_row = np.array_equal(own, np.arange(first, first + size))
  if size and in_a_row and blocks % size == 0 and first % size == 0:
    return HostRows(first // size, blocks // size, size)
  return HostRows(0, 1, blocks)


def place_batch(batch: Any, mesh: Mesh | None) -> Any:
  """Puts a batch's rows on their devices.

  Args:
    batch: The rows of `host_rows`, a multiple of its number.
    mesh: From `make_mesh`.
  """
  if mesh is None:
    return batch
  sharding = NamedSharding(mesh, _BATCH)
  block = host_rows(mesh)

  def place(array: np.ndarray) -> jax.Array:
    rows = len(array)
    first = block.index * rows
    shape = (rows * block.count, *array.shape[1:])

    def own(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(shape[0])
      return array[(slice(start - first, stop - first), *index[1:])]

    return jax.make_array_from_callback(shape, sharding, own)

  return jax.tree.map(place, batch)


def on_one_device(tree: Any, mesh: Mesh | None) -> Any:
  """Whole copies of a tree's arrays on a device of this process."""
  if mesh is None:
    return tree
  everywhere = NamedSharding(mesh, PartitionSpec())
  whole = jax.jit(lambda x: x, out_shardings=everywhere)(tree)
  return jax.tree.map(
    lambda x: jnp.asarray(np.asarray(x.addressable_data(0))), whole
  )
