"""Cross entropy by level."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from magenta_midi.data.examples.examples import Batch
from magenta_midi.model.depthformer import Depthformer, Frames, OutlineFrames
from magenta_midi.typing import Float

__all__ = [
  "BatchNats",
  "batch_nats",
  "level_logits",
  "level_nats",
  "training_loss",
]


class BatchNats(NamedTuple):
  """Sums over a batch."""

  nats: jax.Array  # [l] nats of each level
  frames: jax.Array  # () predicted frames, END included


def level_logits(
  model: Depthformer, batch: Batch
) -> tuple[Float[jax.Array, "b t _"], ...]:
  """Teacher-forced logits of each level over its columns."""
  context = Frames(batch.context_ids, batch.context_time, batch.context_part)
  inputs = Frames(batch.input_ids, batch.input_time, batch.input_part)
  outline = None
  if batch.outline_rows is not None:
    outline = OutlineFrames(
      batch.outline_rows, batch.outline_time, batch.outline_key
    )
  return model(context, inputs, batch.targets, batch.style, outline)


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
  return training_loss(model, batch)[1]


def training_loss(
  model: Depthformer,
  batch: Batch,
  *,
  z_loss: float = 0.0,
  label_smoothing: float = 0.0,
  level_weights: Sequence[float] = (),
  teacher: Sequence[jax.Array] | None = None,
  teacher_share: float = 0.0,
) -> tuple[Float[jax.Array, ""], BatchNats]:
  """Training loss, summed over a batch, and the plain nats in it.

  Args:
    model: In training mode.
    batch: As `cut_examples` makes it.
    z_loss: Weight of each level's squared log normalizer.
    label_smoothing: Share of a target spread evenly over its level's codes.
    level_weights: Factors on all that a level adds; (): 1 each.
    teacher: Another model's logits of each level.
    teacher_share: Share of a target that is what the teacher expects.

  Returns:
    The sum, and the nats that are reported: none of these terms is in them.
  """
  nats, losses = [], []
  for level, logits in enumerate(level_logits(model, batch)):
    weights = batch.weights[..., level]
    found = level_nats(
      logits, batch.targets[..., level], weights, model.config.columns[level][0]
    )
    nats.append(jnp.sum(found))
    loss = nats[-1]
    if z_loss or label_smoothing:
      log_z = jax.nn.logsumexp(logits, axis=-1)
      # Cost of a target spread over all codes, above the cost of the true code.
      spread = log_z - jnp.mean(logits, axis=-1) - found
      terms = z_loss * jnp.square(log_z) + label_smoothing * spread
      loss = loss + jnp.sum(jnp.where(weights, terms, 0.0))
    if teacher is not None:
      expected = jax.nn.softmax(teacher[level], axis=-1)
      log_z = jax.nn.logsumexp(logits, axis=-1)
      taught = log_z - jnp.sum(expected * logits, axis=-1)
      terms = teacher_share * (taught - found)
      loss = loss + jnp.sum(jnp.where(weights, terms, 0.0))
    losses.append(loss * level_weights[level] if level_weights else loss)
  frames = jnp.sum(batch.weights[..., 0])
  return jnp.sum(jnp.stack(losses)), BatchNats(jnp.stack(nats), frames)
