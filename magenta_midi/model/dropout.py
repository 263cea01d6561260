"""Dropout's random streams, seeded anew for every step."""

import jax
from flax import nnx

__all__ = ["seed_dropout"]


def seed_dropout(model: nnx.Module, key: jax.Array) -> None:
  """Gives every dropout layer a stream of its own.

  To be called inside the traced function: streams belong to the trace that
  draws from them.

  Args:
    model: Just merged.
    key: Of the step.
  """
  layers = [
    module
    for _, module in nnx.iter_modules(model)
    if isinstance(module, nnx.Dropout)
  ]
  for index, layer in enumerate(layers):
    layer.rngs = nnx.Rngs(dropout=jax.random.fold_in(key, index)).dropout
