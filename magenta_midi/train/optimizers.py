"""Optimizers and schedules by name.

An optimizer here turns gradients into a direction; the trainer moves the
parameters against it by the schedule's rate, so that a run whose length is a
time can follow the clock.
"""

import math
from typing import Any

import jax
import optax
import optax.contrib

from magenta_midi.train.run_settings import TrainConfig

__all__ = ["learning_rate", "make_optimizer"]

# Of the peak, where cosine and linear end.
_MIN = 0.02


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
  """The rate of a step: a linear warm-up over steps, times the schedule.

  Args:
    config: The run's.
    step: Steps done.
    fraction: How much of the run is done, 0..1.
  """
  warmup = max(1, config.warmup_steps)
  warm = min(1.0, (step + 1) / warmup)
  done = min(1.0, fraction)
  match config.schedule:
    case "cosine":
      shape = 0.5 * (1 + math.cos(math.pi * done))
      factor = _MIN + (1 - _MIN) * shape
    case "linear":
      factor = _MIN + (1 - _MIN) * (1 - done)
    case "rsqrt":
      factor = math.sqrt(warmup / max(warmup, step + 1))
    case "constant":
      factor = 1.0
  return config.learning_rate * warm * factor


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
  """The optimizer of a run, without its rate.

  `adam_relative` is Adam with updates relative to the size of each array;
  `adamw` is AdamW; `adafactor` is Magenta RealTime's, as T5X has it: factored
  from 128 columns and rows on, decay 0.8, updates clipped to 1, relative to
  the arrays' sizes, no momentum, no weight decay and no global clip; `muon`
  orthogonalizes the updates of the matrices between embeddings and head,
  scaled to AdamW's usual size, and leaves the rest to AdamW.
  """
  match config.optimizer:
    case "adam_relative":
      return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(b2=config.adam_b2),
        # Updates relative to the size of each array, as in Adafactor.
        # Without it the query kernels, which start 8 times smaller in place of
        # 1/sqrt(head size), move 8 times too far, embeddings not far enough.
        optax.scale_by_param_block_rms(),
        # Norm scales and embeddings are not decayed.
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
      )
    case "adamw":
      return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(b2=config.adam_b2),
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
      )
    case "adafactor":
      return optax.chain(
        optax.scale_by_factored_rms(decay_rate=0.8),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(),
      )
    case "muon":
      return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.contrib.muon(
          learning_rate=1.0,
          weight_decay=config.weight_decay,
          adam_b2=config.adam_b2,
          adam_weight_decay=0.0,
          muon_weight_dimension_numbers=_hidden_matrices,
          # Moonshot's: steps of AdamW's usual root mean square.
          consistent_rms=0.2,
        ),
        # Undoes the sign that is already applied.
        optax.scale(-1.0),
      )


def _is_kernel(params: Any) -> Any:
  """True for the matrices of dense layers."""
  return jax.tree.map_with_path(
    lambda path, _: "kernel" in jax.tree_util.keystr(path), params
  )


def _hidden_matrices(params: Any) -> Any:
  """Muon's: the kernels but the head's."""

  def axes(
    path: tuple, _: jax.Array
  ) -> optax.contrib.MuonDimensionNumbers | None:
    name = jax.tree_util.keystr(path)
    hidden = "kernel" in name and "logits_dense" not in name
    return optax.contrib.MuonDimensionNumbers() if hidden else None

  return jax.tree.map_with_path(axes, params)
