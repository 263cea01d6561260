"""Random streams of dropout, with a new seed at each step."""

import jax
from flax import nnx

__all__ = ["seed_dropout"]


def seed_dropout(model: nnx.Module, key: jax.Array) -> None:
  """Gives each dropout layer a separate random stream.

  Call it inside the traced function, because a stream belongs to the trace that
  draws from it.

  Args:
    model: A model just made by `nnx.merge`.
    key: Random key of the step.
  """
  layers = [
    module
    for _, module in nnx.iter_modules(model)
    if isinstance(module, nnx.Dropout)
  ]
  for index, layer in enumerate(layers):
    layer.rngs = nnx.Rngs(dropout=jax.random.fold_in(key, index)).dropout
