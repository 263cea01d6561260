"""Offload of a model's parameters from the device to the host's memory."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ["on_device", "on_host"]


@contextlib.contextmanager
def on_host(model: nnx.Module, *, wanted: bool = True) -> Iterator[None]:
  """Keeps a model's parameters in the host's memory inside the block.

  The model can be used as before, but each use moves them to the device.

  Args:
    model: Its parameters are the same numbers at all times.
    wanted: False does nothing.
  """
  if not wanted:
    yield
    return
  _move(model, np.asarray)
  try:
    yield
  finally:
    _move(model, jnp.asarray)


@contextlib.contextmanager
def on_device(model: nnx.Module, *, wanted: bool = True) -> Iterator[None]:
  """Within `on_host`: keeps them on the device inside the block."""
  if not wanted:
    yield
    return
  _move(model, jnp.asarray)
  try:
    yield
  finally:
    _move(model, np.asarray)


def _move(model: nnx.Module, place: Callable[[Any], Any]) -> None:
  """Moves one array after the other."""
  for _, variable in nnx.iter_graph(model):
    if isinstance(variable, nnx.Param):
      variable.set_value(place(variable.get_value()))
