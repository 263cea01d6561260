"""DoRA: a low-rank change of a matrix, and the length of each of its columns.

A matrix W becomes m times (W + s A B) divided by the norm of each of its
columns. The magnitudes m are learned too; a column belongs to one output. As
published, gradients treat the norm as constant.

Source: Liu et al. 2024, sections 4.1 and 4.3, https://arxiv.org/abs/2402.09353
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.model.lora.lora import (
  Factors,
  LoraConfig,
  LowRank,
  drop_inputs,
  init_factors,
  low_rank_delta,
)

__all__ = ["Dora", "begin_dora", "drop_dora", "merge_dora", "named_values"]


class Dora(NamedTuple):
  """Learned arrays of one matrix, float32."""

  a: Any  # [in, r]
  b: Any  # [r, out]
  magnitude: Any  # [out]


def begin_dora(
  params: nnx.State, config: LoraConfig, key: jax.Array
) -> dict[str, Dora]:
  """Factors as LoRA draws them, and the magnitudes that the columns have.

  Raises:
    ValueError: As `init_factors`.
  """
  factors = init_factors(params, config, key)
  return {
    name: Dora(*factors[name], _norms(jnp.asarray(value, jnp.float32)))
    for name, value in named_values(params)
    if name in factors
  }


def drop_dora(
  learned: dict[str, Dora], key: jax.Array, rate: float
) -> dict[str, Dora]:
  """Leaves rows of each A out, as LoRA does."""
  factors: Factors = {
    name: LowRank(dora.a, dora.b) for name, dora in learned.items()
  }
  dropped = drop_inputs(factors, key, rate)
  return {
    name: Dora(*dropped[name], dora.magnitude) for name, dora in learned.items()
  }


def merge_dora(
  params: nnx.State, learned: dict[str, Dora], scale: float
) -> nnx.State:
  """Parameters whose columns have the magnitudes, and point anew."""
  merged = []
  for path, variable in nnx.to_flat_state(params):
    dora = learned.get(".".join(map(str, path)))
    if dora is not None:
      value = variable.get_value()
      turned = value.astype(jnp.float32) + low_rank_delta(
        LowRank(dora.a, dora.b), scale
      )
      stretch = dora.magnitude / jax.lax.stop_gradient(_norms(turned))
      variable = variable.replace((turned * stretch[None]).astype(value.dtype))
    merged.append((path, variable))
  return nnx.from_flat_state(merged)


def _norms(matrix: jax.Array) -> jax.Array:
  """Of each column; above 0, as it is divided by."""
  return jnp.maximum(jnp.linalg.norm(matrix, axis=0), 1e-12)


def named_values(params: nnx.State) -> list[tuple[str, Any]]:
  """Dotted name and value of every array."""
  return [
    (".".join(map(str, path)), variable.get_value())
    for path, variable in nnx.to_flat_state(params)
  ]
