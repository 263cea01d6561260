"""Trainer of a base model: its network, optimizer and data.

The random numbers of a step follow from the seed and the number of the step, so
that the state of a run is its arrays, its step and its place in the data.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import Batch
from magenta_midi.data.examples.style_table import style_table
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.model.checkpoint import CheckpointError, StoredCheckpoint
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.dropout import seed_dropout
from magenta_midi.style.model import MASK_TOKEN
from magenta_midi.style.slots import same_style
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.train.optimizers import learning_rate, make_optimizer
from magenta_midi.train.run_settings import (
  TrainConfig,
  level_weights,
  model_config,
  style_rows,
)
from magenta_midi.train.run_store import State
from magenta_midi.train.sharding import (
  HostRows,
  host_rows,
  make_mesh,
  on_one_device,
  path_name,
  place_batch,
  replicate,
  settle,
  shardings,
)
from magenta_midi.train.sources import BatchSource, make_source
from magenta_midi.train.teacher import Teacher
from magenta_midi.train.warm_start import WarmStart, warm_start

__all__ = ["BatchSource", "Trainer", "predicted_notes"]


class _Learned(NamedTuple):
  """The arrays that a step changes."""

  params: Any
  optimizer: Any
  ema: Any  # None without


class _Gradients(NamedTuple):
  """Sums over the batches of one step."""

  grads: Any
  nats: jax.Array  # [l]
  frames: jax.Array  # ()


class Trainer:
  """Model, optimizer and data of one run.

  Args:
    config: The run's.
    codec: The run's.
    corpora: What to train on.
    shares: Share of examples from each corpus.
    style: The run's `style_rows`; None: made here.
    open_source: Gives the batches, this host's rows of them, in place of the
      corpora's; None: the corpora.

  Attributes:
    model: Its parameters lag behind; `current_model` brings them up.
    stream: Gives the batches.
    step: Optimizer steps done.
    notes: Notes predicted so far since this process began; of many hosts, as
      if all had as many as this one.
    rate_factor: Factor on the schedule's learning rate; the guard lowers it.
  """

  def __init__(
    self,
    config: TrainConfig,
    codec: Codec,
    corpora: list[Corpus],
    shares: list[float],
    style: StyleRows | None = None,
    open_source: Callable[[HostRows], BatchSource] | None = None,
  ):
    self.config = config
    self.codec = codec
    self.style = style_rows(config) if style is None else style
    self.mesh = make_mesh(config.mesh)
    shape = model_config(config, codec, self.style)
    self.model = Depthformer(shape, rngs=nnx.Rngs(config.seed))
    if self.style is not None:
      table = self.model.style_embedder.embedding
      rows = style_table(self.style.model, shape.embed_dim, config.seed)
      table[...] = table[...].at[MASK_TOKEN + 1 :].set(rows)
    self.model.train()
    block = host_rows(self.mesh)
    self._hosts = block.count
    if open_source is not None:
      self.stream = open_source(block)
    else:
      self.stream = make_source(
        config,
        codec,
        corpora,
        shares,
        self.style,
        shard_index=block.index,
        shard_count=block.count,
        row_multiple=block.multiple,
      )
    self.step = 0
    self.notes = 0
    self.rate_factor = 1.0
    self._key = jax.random.key(config.seed)
    self._graph, params, self._rest = nnx.split(self.model, nnx.Param, ...)
    self._optimizer = make_optimizer(config, shape.head_dim)
    self._learned = self._place(params)
    self._teacher: Teacher | None = None
    if config.teacher is not None:
      self._teacher = Teacher(
        Path(config.teacher),
        codec,
        duet=config.duet,
        style=self._entry,
      )
    # An argument of the compiled step: a constant would be copied into it.
    self._taught_by = replicate(
      None if self._teacher is None else self._teacher.params, self.mesh
    )
    self._compile()

  @property
  def params(self) -> Any:
    """The parameters, not their average."""
    return self._learned.params

  @property
  def _entry(self) -> dict[str, Any] | None:
    """Entry of style in config.json."""
    return None if self.style is None else self.style.entry

  def _place(self, params: Any, optimizer: Any = None) -> _Learned:
    """The state before the first step, on its devices.

    Args:
      params: The parameters.
      optimizer: State of the optimizer; None: that of these parameters.
    """
    begun = _Learned(
      params,
      self._optimizer.init(params) if optimizer is None else optimizer,
      jax.tree.map(jnp.copy, params) if self.config.ema_decay else None,
    )
    if self.mesh is None:
      return settle(begun)
    return jax.device_put(begun, shardings(begun, params, self.mesh))

  def _compile(self) -> None:
    config, graph, rest = self.config, self._graph, self._rest
    has_dropout = self.model.config.dropout_rate > 0
    optimizer, teacher = self._optimizer, self._teacher
    weights = level_weights(config, self.codec)

    def sums(params: Any, batch: Batch, key: jax.Array, taught: Any) -> tuple:
      model = nnx.merge(graph, params, rest)
      model.remat = config.remat
      if has_dropout:
        seed_dropout(model, key)
      return training_loss(
        model,
        batch,
        z_loss=config.z_loss,
        label_smoothing=config.label_smoothing,
        level_weights=weights,
        teacher=None if teacher is None else teacher.logits(taught, batch),
        teacher_share=config.teacher_share,
      )

    def mean(params: Any, batch: Batch, key: jax.Array, taught: Any) -> tuple:
      loss, (nats, frames) = sums(params, batch, key, taught)
      return loss / frames, nats / frames

    def move(
      learned: _Learned, grads: Any, step: jax.Array, rate: jax.Array
    ) -> _Learned:
      params, state, ema = learned
      updates, state = optimizer.update(grads, state, params)
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      if ema is not None:
        # Early on it looks back less far: the first weights are drawn.
        decay = jnp.minimum(config.ema_decay, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), ema, params)
      return _Learned(params, state, ema)

    def update(
      learned: _Learned,
      batch: Batch,
      key: jax.Array,
      step: jax.Array,
      rate: jax.Array,
      taught: Any,
    ) -> tuple:
      grads, nats = jax.grad(mean, has_aux=True)(
        learned.params, batch, key, taught
      )
      return move(learned, grads, step, rate), nats

    def add(
      total: _Gradients,
      params: Any,
      batch: Batch,
      key: jax.Array,
      taught: Any,
    ) -> _Gradients:
      grads, (nats, frames) = jax.grad(sums, has_aux=True)(
        params, batch, key, taught
      )
      return jax.tree.map(jnp.add, total, _Gradients(grads, nats, frames))

    def update_by(
      learned: _Learned, total: _Gradients, step: jax.Array, rate: jax.Array
    ) -> tuple:
      grads = jax.tree.map(lambda g: g / total.frames, total.grads)
      return move(learned, grads, step, rate), total.nats / total.frames

    where: Any = None
    if self.mesh is not None:
      # A step returns arrays with the same shardings.
      where = (jax.tree.map(lambda x: x.sharding, self._learned), None)
    self._update = jax.jit(update, donate_argnums=0, out_shardings=where)
    self._add = jax.jit(add, donate_argnums=0)
    self._update_by = jax.jit(update_by, donate_argnums=0, out_shardings=where)

  def start_from(self, stored: StoredCheckpoint) -> WarmStart:
    """Copies a checkpoint's weights where they fit, before the first step."""
    taken = warm_start(self.model, stored, self.codec, self._entry)
    # The optimizer stays that of the drawn arrays: steps are relative to their
    # sizes, however often weights are handed on.
    self._learned = self._place(
      nnx.state(self.model, nnx.Param), self._learned.optimizer
    )
    return taken

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step, with that much of the run done."""
    return self.rate_factor * learning_rate(self.config, self.step, fraction)

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns nats an event by level, not yet awaited."""
    rate = jnp.float32(self.rate(fraction))
    key = jax.random.fold_in(self._key, self.step)
    step = jnp.int32(self.step)
    if self.config.accumulate == 1:
      self._learned, nats = self._update(
        self._learned, self._batch(), key, step, rate, self._taught_by
      )
    else:
      total = self._nothing()
      for index in range(self.config.accumulate):
        total = self._add(
          total,
          self.params,
          self._batch(),
          jax.random.fold_in(key, index),
          self._taught_by,
        )
      self._learned, nats = self._update_by(self._learned, total, step, rate)
    self.step += 1
    return nats

  def _nothing(self) -> _Gradients:
    zeros = jax.tree.map(jnp.zeros_like, self.params)
    levels = self.codec.vocabulary.levels
    return _Gradients(zeros, jnp.zeros(levels), jnp.int32(0))

  def _batch(self) -> Batch:
    batch = self.stream.next()
    self.notes += self._hosts * predicted_notes(batch, self.codec)
    return place_batch(batch, self.mesh)

  def current_model(self) -> Depthformer:
    """The model with the weights of this moment, for evaluation.

    They are the moving average where the run keeps one.
    """
    learned = self._learned
    weights = learned.params if learned.ema is None else learned.ema
    nnx.update(self.model, on_one_device(weights, self.mesh))
    self.model.eval()
    return self.model

  def state(self) -> State:
    """State for a resumed run: the arrays, and the place in the data."""
    data = dict(
      **self.stream.state(), cut=self.stream.cut, capped=self.stream.capped
    )
    facts = dict(data=data, seed=self.config.seed, style=self._entry)
    return State(self.step, self._named(), facts)

  def load(self, state: State) -> None:
    """Continues from a state.

    Args:
      state: Its arrays lie where this trainer's do.

    Raises:
      CheckpointError: It was trained with other weights of the style model.
    """
    # A state of an earlier version does not name its style model.
    if not same_style(self._entry, state.facts.get("style", self._entry)):
      raise CheckpointError(
        "its style model has other weights now. Give --out a new folder and"
        " --init-from this run's checkpoint."
      )
    self._learned = jax.tree.unflatten(
      jax.tree.structure(self._learned),
      [state.arrays[name] for name in self._named()],
    )
    self.step = state.step
    data = dict(state.facts["data"])
    cut, capped = data.pop("cut"), data.pop("capped")
    self.stream.restore(data)
    self.stream.cut, self.stream.capped = cut, capped

  def copied(self) -> _Learned:
    """A copy of every array that a step changes."""
    return settle(jax.tree.map(jnp.copy, self._learned))

  def go_back(self, copy: _Learned) -> None:
    """Takes the arrays from a copy, which stays; step and data go on."""
    # The next step is given these buffers.
    self._learned = settle(jax.tree.map(jnp.copy, copy))

  def close(self) -> None:
    """Ends the threads and processes that cut batches ahead, if there are."""
    close = getattr(self.stream, "close", None)
    if close is not None:
      close()

  def _named(self) -> dict[str, jax.Array]:
    """Every array that a step changes, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(self._learned)
    return {path_name(path): leaf for path, leaf in leaves}


def predicted_notes(batch: Batch, codec: Codec) -> int:
  """How many notes a batch predicts."""
  if isinstance(codec, EventCodec):
    first = codec.vocabulary.level_slice(0).start
    code = batch.targets[..., 0] - first
    is_note = (code >= codec.config.note_on) & (code < codec.config.note_off)
    return int(np.count_nonzero(batch.weights[..., 0] & is_note))
  # Of pedal events and END no duration is predicted.
  return int(np.count_nonzero(batch.weights[..., -1]))
