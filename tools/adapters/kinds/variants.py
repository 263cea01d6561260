"""Kinds of adapters, and full fine-tuning, behind one interface.

A variant is a model, the arrays that are learned, and how the model's
parameters follow from them; the base's own arrays are shared, not copied.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.lora import (
  Factors,
  LoraConfig,
  adapt,
  drop_inputs,
  init_factors,
  merge_factors,
)
from magenta_midi.tokens.codec import Codec
from tools.adapters.kinds.dora import (
  begin_dora,
  drop_dora,
  merge_dora,
  named_values,
)
from tools.adapters.kinds.slots import (
  PREFIXES,
  SLOTS,
  SlottedDepthformer,
  heard_states,
  with_prefixes,
)

__all__ = ["KINDS", "LOW_RANK", "POSITIONS", "Variant", "begin_variant"]

# With a rank, and with a number of positions.
LOW_RANK = ("lora", "dora")
POSITIONS = ("slots", "prefix")
KINDS = (*LOW_RANK, *POSITIONS, "light", "full")
# The arrays that are learned as they are, by the last parts of their names.
_WHOLE = {
  "slots": rf".*({'|'.join(SLOTS)})",
  "prefix": rf".*\.({'|'.join(PREFIXES)})",
  "light": r".*norm\.scale|token_embedder\.embedding|logits_dense\.kernel",
  "full": r".*",
}


class Variant(NamedTuple):
  """A variant: the trained parameters and their settings."""

  model: Depthformer
  # A tree of float32 arrays, as they begin.
  learned: Any
  # The model's parameters of its own parameters and of what is learned; may be
  # traced. The key draws dropout; None: nothing is left out.
  adapt: Callable[[nnx.State, Any, jax.Array | None], nnx.State]


def begin_variant(
  kind: str,
  base: Depthformer,
  *,
  lora: LoraConfig,
  positions: int,
  codec: Codec,
  music: Corpus,
  seed: int,
) -> Variant:
  """A variant before its first step.

  Args:
    kind: Of `KINDS`.
    base: Is not changed.
    lora: Rank, alpha, targets and dropout of LoRA and DoRA.
    positions: How many slots, or positions of a prefix.
    codec: The base's.
    music: What is learned from; slots begin as what the encoder makes of it.
    seed: Of what is drawn.

  Raises:
    ValueError: The kind is unknown, or does not fit the base.
  """
  if kind not in KINDS:
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
  # Modules of its own around the same arrays.
  model = nnx.merge(*nnx.split(base))
  # As `AdapterTrainer` draws, so that LoRA here is LoRA there.
  key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
  if kind in LOW_RANK:
    params = nnx.state(model, nnx.Param)
    if kind == "lora":
      factors = init_factors(params, lora, key)
      return Variant(model, factors, functools.partial(_with_lora, lora))
    dora = begin_dora(params, lora, key)
    return Variant(model, dora, functools.partial(_with_dora, lora))
  if kind == "slots":
    model.eval()
    states = heard_states(model, codec, music, positions, seed)
    model = SlottedDepthformer(model, states)
  elif kind == "prefix":
    with_prefixes(model, positions, key)
  learned = {
    name: jnp.asarray(value, jnp.float32)
    for name, value in named_values(nnx.state(model, nnx.Param))
    if re.fullmatch(_WHOLE[kind], name)
  }
  return Variant(model, learned, _with_whole)


def _with_lora(
  lora: LoraConfig, params: nnx.State, learned: Factors, key: jax.Array | None
) -> nnx.State:
  if key is None:
    return merge_factors(params, [(learned, lora.scale)])
  return adapt(params, drop_inputs(learned, key, lora.dropout), lora.scale)


def _with_dora(
  lora: LoraConfig, params: nnx.State, learned: Any, key: jax.Array | None
) -> nnx.State:
  if key is not None:
    learned = drop_dora(learned, key, lora.dropout)
  return merge_dora(params, learned, lora.scale)


def _with_whole(
  params: nnx.State, learned: dict[str, jax.Array], key: jax.Array | None
) -> nnx.State:
  del key
  changed = []
  for path, variable in nnx.to_flat_state(params):
    value = learned.get(".".join(map(str, path)))
    if value is not None:
      variable = variable.replace(value.astype(variable.get_value().dtype))
    changed.append((path, variable))
  return nnx.from_flat_state(changed)
