"""Cross entropy by level."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.train.windows import Batch
from magenta_midi.typing import Float

__all__ = ["BatchNats", "batch_nats", "level_nats", "level_logits"]


class BatchNats(NamedTuple):
  """Sums over a batch."""

  nats: jax.Array  # [l] nats of each level
  frames: jax.Array  # () predicted frames, END included


def level_logits(
  model: Depthformer, batch: Batch
) -> tuple[Float[jax.Array, "b t _"], ...]:
  """Teacher-forced logits of each level over its own columns."""
  context = Frames(batch.context_ids, batch.context_time, batch.context_part)
  inputs = Frames(batch.input_ids, batch.input_time, batch.input_part)
  return model(context, inputs, batch.targets, batch.style)


def level_nats(
  logits: Float[jax.Array, "b t c"],
  targets: jax.Array,
  weights: jax.Array,
  first: int,
) -> Float[jax.Array, "b t"]:
  """Nats of one level; 0 where it is not predicted.

  Args:
    logits: Over the level's columns.
    targets: `[b, t]` global ids.
    weights: `[b, t]` True where predicted.
    first: Global id of the level's first column.
  """
  code = jnp.where(weights, targets - first, 0)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  picked = jnp.take_along_axis(logits, code[..., None], axis=-1)[..., 0]
  return jnp.where(weights, log_z - picked, 0.0)


def batch_nats(model: Depthformer, batch: Batch) -> BatchNats:
  """Sums the nats of a batch by level."""
  sums = []
  for level, logits in enumerate(level_logits(model, batch)):
    nats = level_nats(
      logits,
      batch.targets[..., level],
      batch.weights[..., level],
      model.config.columns[level][0],
    )
    sums.append(jnp.sum(nats))
  return BatchNats(jnp.stack(sums), jnp.sum(batch.weights[..., 0]))
