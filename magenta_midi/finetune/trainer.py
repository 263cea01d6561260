"""Trainer of an adapter: base, factors, optimizer and data.

The base's parameters are one copy, an argument of the compiled step, which
adds the factors' product to them as it goes; gradients and the optimizer's
moments are of the factors alone. A quantized base is another copy, of which one
layer at a time is widened; the base itself, by which factors are scored, is in
the host's memory meanwhile.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from magenta_midi.data.examples.batches import BUCKETS
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.finetune.config import FinetuneConfig, train_config
from magenta_midi.finetune.layer_schedule import (
  GROUPS,
  check_learns,
  group_of,
  group_rates,
)
from magenta_midi.finetune.mixture import Mixture
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.dropout import seed_dropout
from magenta_midi.model.lora.lora import (
  Factors,
  LowRank,
  adapt,
  drop_inputs,
  init_factors,
  merge_factors,
  merge_on_host,
)
from magenta_midi.model.lora.quantized import (
  QuantizedBase,
  quantize_base,
  stored_bytes,
)
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.optimizers import learning_rate, make_optimizer
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.run_store import State
from magenta_midi.train.sharding import path_name, settle
from magenta_midi.train.sources import BatchSource, make_source
from magenta_midi.train.trainer import predicted_notes

__all__ = [
  "AdapterTrainer",
  "Learned",
  "check_run",
  "recordings_source",
  "update",
]


class Learned(NamedTuple):
  """The arrays that a run changes."""

  factors: Factors
  optimizer: Any
  best: Factors  # of the best evaluation so far


class AdapterTrainer:
  """Trains factors on a base that stays as it is.

  Args:
    config: The run's.
    model: The base.
    codec: The base's.
    music: What examples are cropped from.
    start: Factors to go on from, of the same arrays and rank; None: new ones,
      which change nothing.

  Attributes:
    base: The base as the step is given it.
    base_parameters: How many numbers it has.
    start: The factors that it goes on from; None: the base.
    step: Optimizer steps done.
    notes: Notes predicted so far in this process.
    stream: Gives the batches.
  """

  def __init__(
    self,
    config: FinetuneConfig,
    model: Depthformer,
    codec: Codec,
    music: Mixture,
    start: Factors | None = None,
  ):
    self.config = config
    self.codec = codec
    self.settings = train_config(config, model.config, codec)
    self.stream = recordings_source(self.settings, codec, music)
    # Modules of its own around the same arrays: the base may be in use.
    own = nnx.merge(*nnx.split(model))
    own.train()
    self._graph, params, self._rest = nnx.split(own, nnx.Param, ...)
    own.eval()
    self._scored = nnx.split(own, nnx.Param, ...)
    self._key = jax.random.key(config.seed)
    self._optimizer = make_optimizer(self.settings)
    factors = init_factors(
      params, config.lora, jax.random.fold_in(self._key, 2**31 - 1)
    )
    self.base = quantize_base(params, config.quantize)
    self.base_parameters = sum(x.size for x in jax.tree.leaves(params))
    self.start = start
    if start is not None:
      # Copies: the first step is given these buffers.
      factors = {
        name: LowRank(*map(jnp.array, start[name])) for name in factors
      }
    self._learned = settle(
      Learned(
        factors,
        self._optimizer.init(factors),
        jax.tree.map(jnp.copy, factors),
      )
    )
    self.step = 0
    self.notes = 0
    self._update = _compiled(
      self._graph,
      self._rest,
      self._optimizer,
      scale=config.lora.scale,
      thinned=config.lora.dropout,
      has_dropout=model.config.dropout_rate > 0,
      remat=config.remat,
      loop=config.quantize != "none",
    )

  @property
  def factors(self) -> Factors:
    """Of this moment."""
    return self._learned.factors

  @property
  def best(self) -> Factors:
    """Of the best evaluation so far; before the first, they change nothing."""
    return self._learned.best

  @property
  def base_bytes(self) -> int:
    """Of the arrays by which the step is given the base."""
    return stored_bytes(self.base)

  def keep_as_best(self) -> None:
    """Notes the factors of this moment as the best."""
    # Copies: the next step is given these buffers.
    best = jax.tree.map(jnp.copy, self.factors)
    self._learned = self._learned._replace(best=best)

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step, with that much of the run done."""
    return learning_rate(self.settings, self.step, fraction)

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns nats an event by level, not yet awaited.

    Args:
      fraction: How much of the run is done, 0..1.
    """
    rate = jnp.float32(self.rate(fraction))
    key = jax.random.fold_in(self._key, self.step)
    groups = group_rates(
      self.config.stack_rates, self.config.unfreeze, fraction
    )
    batch = self.stream.next()
    self.notes += predicted_notes(batch, self.codec)
    self._learned, nats = self._update(
      self._learned, self.base, batch, key, rate * jnp.asarray(groups)
    )
    self.step += 1
    return nats

  def adapted(self, factors: Factors | None) -> Depthformer:
    """The model with factors merged, for evaluation; None: the base.

    It is the base itself that they are added to, however it is held.
    """
    graph, params, rest = self._scored
    merge = merge_factors
    if self.config.quantize != "none":
      # The host's: one float32 model is put on the device, not two.
      merge = merge_on_host
    if factors is not None:
      params = merge(params, [(factors, self.config.lora.scale)])
    # Bound to their device, as what is trained is: the base alone, which is
    # scored first, would otherwise be compiled for on its own.
    params = settle(jax.tree.map(jnp.asarray, params))
    return nnx.merge(graph, params, rest)

  def state(self) -> State:
    """State for a resumed run: the arrays, and the place in the data."""
    data = dict(
      **self.stream.state(), cut=self.stream.cut, capped=self.stream.capped
    )
    return State(self.step, self._named(), dict(data=data))

  def load(self, state: State) -> None:
    """Continues from a state of the same model and rank."""
    self._learned = jax.tree.unflatten(
      jax.tree.structure(self._learned),
      [state.arrays[name] for name in self._named()],
    )
    self.step = state.step
    data = dict(state.facts["data"])
    cut, capped = data.pop("cut"), data.pop("capped")
    self.stream.restore(data)
    self.stream.cut, self.stream.capped = cut, capped

  def _named(self) -> dict[str, jax.Array]:
    """Every array that a run changes, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(self._learned)
    return {path_name(path): leaf for path, leaf in leaves}


def recordings_source(
  settings: TrainConfig, codec: Codec, music: Mixture
) -> BatchSource:
  """The batches of a fine-tuning run.

  Args:
    settings: From `train_config`.
    codec: The base's.
    music: What examples are cropped from.
  """
  return make_source(
    settings,
    codec,
    music.corpora,
    music.shares,
    # A step takes 10 s to compile, and half a second to run: of the codec's
    # shapes, every other one and the largest.
    buckets=BUCKETS[codec.name][1::2],
  )


def check_run(
  config: FinetuneConfig,
  model: Depthformer,
  codec: Codec,
  start: Factors | None = None,
) -> None:
  """Refuses what cannot be trained, before anything slow.

  Args:
    config: The run's.
    model: The base.
    codec: The base's.
    start: Factors to go on from; None: new ones.

  Raises:
    ValueError: Rank, targets, rates or partners do not fit the base, or
      `start` does not fit them.
  """
  train_config(config, model.config, codec)
  params = nnx.state(model, nnx.Param)
  factors = jax.eval_shape(
    lambda: init_factors(params, config.lora, jax.random.key(0))
  )
  check_learns(factors, config.stack_rates, config.unfreeze)
  if start is not None:
    _check_like(start, factors)


def _check_like(start: Factors, factors: Factors) -> None:
  """Refuses factors to go on from that are of other arrays or another rank.

  Raises:
    ValueError: Names the first that differs.
  """
  for name in sorted(start.keys() | factors.keys()):
    shapes = [
      [tuple(x.shape) for x in of[name]] if name in of else "none"
      for of in (start, factors)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"the adapter to continue has factors of {name} of {shapes[0]}, this"
        f" run {shapes[1]}. Give the rank and targets that it was made with."
      )


_CACHE: dict[Any, Any] = {}


def _compiled(
  graph: nnx.GraphDef,
  rest: nnx.State,
  optimizer: optax.GradientTransformation,
  **how: Any,
) -> Any:
  """One compiled step a model structure, kept between runs."""
  key = (graph, tuple(sorted(how.items())))
  if key not in _CACHE:
    _CACHE[key] = jax.jit(
      functools.partial(update, graph, rest, optimizer, **how),
      donate_argnums=0,
    )
  return _CACHE[key]


def update(
  graph: nnx.GraphDef,
  rest: nnx.State,
  optimizer: optax.GradientTransformation,
  learned: Learned,
  base: QuantizedBase,
  batch: Batch,
  key: jax.Array,
  rates: jax.Array,
  *,
  scale: float,
  thinned: float,
  has_dropout: bool,
  remat: bool,
  loop: bool,
) -> tuple[Learned, jax.Array]:
  """One step, at the rate of each group; returns nats an event by level too."""

  def mean(factors: Factors) -> tuple:
    dropped = drop_inputs(factors, key, thinned)
    params = adapt(base.state(), dropped, scale)
    model = nnx.merge(graph, params, rest)
    model.remat, model.loop = remat, loop
    if has_dropout:
      seed_dropout(model, key)
    loss, (nats, frames) = training_loss(model, batch)
    return loss / frames, nats / frames

  factors, state, best = learned
  grads, nats = jax.grad(mean, has_aux=True)(factors)
  rate = {name: rates[GROUPS.index(group_of(name))] for name in factors}
  # Frozen arrays do not count in the clipped norm, and have no old moments when
  # they begin to learn.
  grads = {
    name: LowRank(*(jnp.where(rate[name] > 0, g, 0.0) for g in pair))
    for name, pair in grads.items()
  }
  updates: Any
  updates, state = optimizer.update(grads, state, factors)
  factors = {
    name: LowRank(
      *(p - rate[name] * u for p, u in zip(pair, updates[name], strict=True))
    )
    for name, pair in factors.items()
  }
  return Learned(factors, state, best), nats
