"""Optimizers and schedules by name.

An optimizer here turns gradients into a direction; the trainer moves the
parameters against it by the schedule's rate, so that a run whose length is a
time can follow the clock.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.sharding import path_name
from magenta_midi.typing import Float

__all__ = [
  "DrawnSizes",
  "learning_rate",
  "make_optimizer",
  "orthogonal",
  "scale_by_drawn_size",
  "scale_by_orthogonal",
]

# Of the peak, where cosine and linear end.
_MIN = 0.02
# Least size that an update is relative to, as in Adafactor: some arrays are
# drawn as zeros.
_MIN_SIZE = 1e-3
# Names of the kernels whose columns, and of those whose rows, belong to heads.
_TO_HEADS = ("query", "key", "value")
_FROM_HEADS = "out"
# Polynomials that bring singular values to 1, one for each step: the best ones
# of degree 5 for what the step before leaves of the range from 0.006 to 1.
# Source: Polar Express, arXiv 2505.16932, whose five steps cost a quarter more.
_POLAR = (
  (8.1196, -23.1216, 16.9533),
  (3.8610, -2.8827, 0.5548),
  (3.0552, -2.2893, 0.4875),
  (2.1152, -1.4969, 0.4004),
)


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
  """The rate of a step: a linear warm-up over steps, times the schedule.

  `rsqrt` is T5X's `constant * linear_warmup * rsqrt_normalized_decay`, step by
  step: `create_learning_rate_scheduler` of `t5x.utils`, which the trainer calls
  with the number of steps done. The others begin their warm-up a step further.

  Args:
    config: The run's.
    step: Steps done.
    fraction: How much of the run is done, 0..1.
  """
  warmup = max(1, config.warmup_steps)
  # T5X counts the steps that are done, so its first step of a warm-up is at 0.
  at = step if config.schedule == "rsqrt" else step + 1
  warm = min(1.0, at / warmup) if config.warmup_steps else 1.0
  done = max(0.0, min(1.0, (fraction - config.hold) / (1 - config.hold)))
  match config.schedule:
    case "cosine":
      shape = 0.5 * (1 + math.cos(math.pi * done))
      factor = _MIN + (1 - _MIN) * shape
    case "linear":
      factor = _MIN + (1 - _MIN) * (1 - done)
    case "rsqrt":
      factor = math.sqrt(warmup / max(warmup, at))
    case "constant":
      factor = 1.0
  return config.learning_rate * warm * factor


def make_optimizer(
  config: TrainConfig, head_dim: int | None = None
) -> optax.GradientTransformation:
  """The optimizer of a run, without its rate.

  `muon_drawn` orthogonalizes the updates of the kernels between embeddings and
  head and leaves all other arrays to Adam; `adam_drawn` leaves all to Adam.
  Both move each array in proportion to its size when it was drawn.
  `adam_relative` is Adam with updates relative to the size of the moment;
  `adamw` is AdamW; `adafactor` is Magenta RealTime's, as T5X has it: factored
  from 128 columns and rows on, decay 0.8, updates clipped to 1, relative to
  the arrays' sizes, no momentum, no weight decay and no global clip; `muon`
  is Optax's, scaled to AdamW's usual size, with AdamW for the rest.

  Args:
    config: The run's.
    head_dim: Width of an attention head: `muon_drawn` orthogonalizes each head
      by itself. None: whole kernels.
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
    case "adam_drawn":
      return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(b2=config.adam_b2),
        # Relative to the size of the moment, arrays grow exponentially.
        scale_by_drawn_size(),
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
      )
    case "muon_drawn":
      return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.partition(
          {
            "kernels": scale_by_orthogonal(head_dim=head_dim),
            "rest": optax.chain(
              optax.scale_by_adam(b2=config.adam_b2),
              optax.scale(config.rest_rate),
            ),
          },
          _kernels_and_rest,
        ),
        scale_by_drawn_size(),
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
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


class DrawnSizes(NamedTuple):
  """State of `scale_by_drawn_size`: the root mean square of each array."""

  sizes: Any


def scale_by_drawn_size() -> optax.GradientTransformation:
  """Multiplies updates by the size of each array at the optimizer's `init`.

  Query kernels, which are drawn 8 times smaller in place of 1/sqrt(head size),
  so move 8 times less far than other kernels, embeddings farther.
  """

  def init(params: Any) -> DrawnSizes:
    def size(array: jax.Array) -> jax.Array:
      mean_square = jnp.mean(jnp.square(array.astype(jnp.float32)))
      return jnp.maximum(jnp.sqrt(mean_square), _MIN_SIZE)

    return DrawnSizes(jax.tree.map(size, params))

  def update(
    updates: Any, state: Any, params: Any = None
  ) -> tuple[Any, DrawnSizes]:
    del params
    return jax.tree.map(lambda u, s: s * u, updates, state.sizes), state

  return optax.GradientTransformation(init, update)


class Momentum(NamedTuple):
  """State of `scale_by_orthogonal`."""

  momentum: Any


def scale_by_orthogonal(
  *, head_dim: int | None = None, decay: float = 0.95
) -> optax.GradientTransformation:
  """Muon's direction of matrices: orthogonal, of root mean square 1.

  Args:
    head_dim: Width of an attention head: the kernels of queries, keys, values
      and outputs are orthogonalized head by head. None: as wholes.
    decay: Of Nesterov's momentum.

  Source: https://kellerjordan.github.io/posts/muon/
  """

  def init(params: Any) -> Momentum:
    return Momentum(jax.tree.map(jnp.zeros_like, params))

  def update(
    updates: Any, state: Any, params: Any = None
  ) -> tuple[Any, Momentum]:
    del params
    momentum = jax.tree.map(
      lambda m, g: decay * m + (1 - decay) * g, state.momentum, updates
    )
    ahead = jax.tree.map(
      lambda m, g: decay * m + (1 - decay) * g, momentum, updates
    )
    named, structure = jax.tree_util.tree_flatten_with_path(ahead)
    blocks = [
      _to_blocks(path_name(path), array, head_dim) for path, array in named
    ]
    # Blocks of the same shape at once.
    places: dict[tuple[int, ...], list[int]] = {}
    for index, block in enumerate(blocks):
      places.setdefault(block.shape[1:], []).append(index)
    found: dict[int, jax.Array] = {}
    for members in places.values():
      stacked = orthogonal(jnp.concatenate([blocks[i] for i in members]))
      ends = np.cumsum([len(blocks[i]) for i in members])
      found |= zip(members, jnp.split(stacked, ends[:-1]), strict=True)
    directions = [
      _from_blocks(path_name(path), found[index], array.shape, head_dim)
      for index, (path, array) in enumerate(named)
    ]
    return jax.tree.unflatten(structure, directions), Momentum(momentum)

  return optax.GradientTransformation(init, update)


def orthogonal(x: Float[jax.Array, "n i o"]) -> Float[jax.Array, "n i o"]:
  """The nearest orthogonal matrices, of root mean square 1, `i <= o`.

  Singular values come out between 0.94 and 1.06, times `sqrt(o)`; those that
  were below 0.006 of the norm, smaller.
  """
  dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16

  def one(x: jax.Array) -> jax.Array:
    norm = jnp.linalg.norm(x, axis=(-2, -1), keepdims=True)
    # A singular value above 1 would grow without bounds.
    x = (x / (1.02 * norm + 1e-7)).astype(dtype)
    for a, b, c in _POLAR:
      gram = x @ x.mT
      x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.astype(jnp.float32) * x.shape[-1] ** 0.5

  if jax.default_backend() == "cpu":
    # One after the other they stay in the caches: 0.42 in place of 0.48 s for
    # 50 of 256 x 256.
    return jax.lax.map(one, x)
  return one(x)


def _to_blocks(
  name: str, x: jax.Array, head_dim: int | None
) -> Float[jax.Array, "n i o"]:
  """Splits a kernel into matrices that are no higher than wide."""
  match _heads_of(name, head_dim):
    case "rows":
      x = x.reshape(-1, head_dim, x.shape[1])
    case "columns":
      x = x.T.reshape(-1, head_dim, x.shape[0])
    case None:
      x = x[None]
  return x if x.shape[1] <= x.shape[2] else x.mT


def _from_blocks(
  name: str, blocks: jax.Array, shape: tuple[int, ...], head_dim: int | None
) -> Float[jax.Array, "i o"]:
  """Joins the matrices of `_to_blocks` to a kernel of that shape."""
  sides = _heads_of(name, head_dim)
  rows, columns = shape
  match sides:
    case "rows":
      block = (head_dim, columns)
    case "columns":
      block = (head_dim, rows)
    case None:
      block = shape
  x = blocks if blocks.shape[1:] == block else blocks.mT
  x = x.reshape(-1, block[1])
  return x.T if sides == "columns" else x


def _heads_of(
  name: str, head_dim: int | None
) -> Literal["rows", "columns"] | None:
  """Which side of a kernel is split into heads; None: neither."""
  kind = name.split(".")[-2]
  if head_dim is None:
    return None
  if kind in _TO_HEADS:
    return "columns"
  return "rows" if kind == _FROM_HEADS else None


def _kernels_and_rest(params: Any) -> Any:
  """Who moves each array under `muon_drawn`."""

  def label(path: tuple, _: jax.Array) -> str:
    name = path_name(path)
    hidden = name.endswith(".kernel") and "logits_dense" not in name
    return "kernels" if hidden else "rest"

  return jax.tree.map_with_path(label, params)


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
