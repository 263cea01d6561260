"""Trainers of MidiCoCa: both towers together, then the text tower alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from magenta_midi.limits import AMOUNT, LEARNING_RATE, POSITIVE, SEED
from magenta_midi.model.config import padded_vocabulary
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.weights_file import WeightsFile
from magenta_midi.settings import check_bounds, check_numbers
from magenta_midi.style.midi_coca import (
  WEIGHTS,
  MidiCoCa,
  MidiCoCaConfig,
  parameter_names,
)
from magenta_midi.style.quantizer import Quantizer
from magenta_midi.style.text.captions import nonsense
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.run_store import State
from magenta_midi.train.sharding import path_name
from magenta_midi.train.style.data import (
  VOCABULARY,
  CocaStream,
  TextBatch,
  Window,
)
from magenta_midi.train.style.losses import (
  CocaBatch,
  CocaTrainee,
  coca_losses,
  match,
)

__all__ = ["CocaConfig", "CocaTrainer", "TextTrainer", "take_towers"]

# Weights of the loss's parts, in the order of `CocaLosses`.
_WEIGHTS = (1.0, 0.3, 0.5, 0.5, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CocaConfig:
  """Settings of one run."""

  # Length of the run in minutes of training, and after these of the text tower
  # alone, beside music that stays. With 0 of the first, an earlier model's text
  # tower is gone on with and its tokens stay what they are.
  minutes: float = 40.0
  text_minutes: float = 8.0
  # The same in steps, in place of minutes: repeatable.
  steps: tuple[int, int] | None = None
  learning_rate: float = 0.01
  warmup_steps: int = 60
  weight_decay: float = 0.01
  clip: float = 1.0
  seed: int = 0
  save_every_min: float = 4.0
  # Of the towers; None: the embedded model's.
  shapes: MidiCoCaConfig | None = None

  def __post_init__(self) -> None:
    """Refuses numbers that no run can have."""
    check_numbers(self)
    check_bounds(
      self,
      AMOUNT,
      "minutes",
      "text_minutes",
      "steps",
      "warmup_steps",
      "weight_decay",
      "save_every_min",
    )
    check_bounds(self, LEARNING_RATE, "learning_rate")
    check_bounds(self, POSITIVE, "clip")
    check_bounds(self, SEED, "seed")


class _Trainer:
  """Parameters and optimizer of a run.

  Attributes:
    step: Optimizer steps done.
    notes: 0: notes are not counted.
  """

  def __init__(self, config: CocaConfig, params: nnx.State):
    self.config = config
    self.step = self.notes = 0
    self.params = params
    self.optimizer = optax.chain(
      optax.clip_by_global_norm(config.clip),
      optax.scale_by_adam(b2=0.98),
      optax.scale_by_param_block_rms(),
      optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
    )
    self.optimizer_state = self.optimizer.init(params)

  def state(self) -> State:
    """State for a resumed run."""
    return State(self.step, self._named(), {})

  def load(self, state: State) -> None:
    """Continues from a state."""
    treedef = jax.tree.structure((self.params, self.optimizer_state))
    self.params, self.optimizer_state = jax.tree.unflatten(
      treedef, [state.arrays[name] for name in self._named()]
    )
    self.step = state.step

  def _named(self) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(
      (self.params, self.optimizer_state)
    )
    return {path_name(path): leaf for path, leaf in leaves}


class CocaTrainer(_Trainer):
  """Trains both towers.

  Args:
    config: Settings.
    stream: Batches.
    start: A Depthformer whose encoder the MIDI tower starts from.
    earlier: A MidiCoCa's folder, whose towers are trained further.
  """

  def __init__(
    self,
    config: CocaConfig,
    stream: CocaStream,
    start: Depthformer | None,
    earlier: Path | None = None,
  ):
    self.stream = stream
    ids = RESERVED + int(sum(stream.codec.vocabulary.level_sizes))
    self.shapes = config.shapes or MidiCoCaConfig(
      vocab_size=padded_vocabulary(ids), vector_width=stream.words.width
    )
    self.trainee = CocaTrainee(
      self.shapes,
      vocabulary=VOCABULARY,
      measures=stream.measures,
      rngs=nnx.Rngs(config.seed),
    )
    if start is not None:
      _take_encoder(self.trainee, start)
    if earlier is not None:
      take_towers(self.trainee, earlier)
    graph, params, rest = nnx.split(self.trainee, nnx.Param, ...)
    super().__init__(config, params)
    optimizer = self.optimizer

    def loss(params: nnx.State, batch: CocaBatch) -> tuple:
      parts = coca_losses(nnx.merge(graph, params, rest), batch)
      total = sum(w * x for w, x in zip(_WEIGHTS, parts[:5], strict=True))
      return total, jnp.stack(parts)

    def update(
      params: nnx.State, state: Any, batch: CocaBatch, rate: jax.Array
    ) -> tuple:
      grads, parts = jax.grad(loss, has_aux=True)(params, batch)
      updates, state = optimizer.update(grads, state, params)
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      return params, state, parts

    self._update = jax.jit(update, donate_argnums=(0, 1))

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step: a warm-up, then a cosine."""
    config = self.config
    warm = min(1.0, (self.step + 1) / config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
    return config.learning_rate * warm * (0.02 + 0.98 * cosine)

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns the loss's parts, not yet awaited."""
    self.params, self.optimizer_state, parts = self._update(
      self.params,
      self.optimizer_state,
      self.stream.next(),
      jnp.float32(self.rate(fraction)),
    )
    self.step += 1
    return parts

  def style_model(
    self, quantizer: Quantizer | None = None, **facts: Any
  ) -> MidiCoCa:
    """The model of this moment; without a quantizer it cannot tokenize."""
    nnx.update(self.trainee, self.params)
    rng = np.random.default_rng(0)
    width = 768
    empty = Quantizer(
      np.zeros(width, np.float32),
      np.zeros((width, 1), np.float32),
      np.zeros((1, 1, 1), np.float32),
    )
    found = MidiCoCa(
      self.shapes,
      self.trainee.towers,
      self.stream.words,
      quantizer or empty,
      np.zeros(width, np.float32),
      facts,
    )
    nothing = found.embed_texts([nonsense(rng) for _ in range(64)])
    mean = nothing.mean(axis=0)
    found.neutral = (mean / np.linalg.norm(mean)).astype(np.float32)
    return found

  def state(self) -> State:
    """State for a resumed run: the arrays, and the place in the data."""
    return super().state()._replace(facts=dict(pool=self.stream.pool))

  def load(self, state: State) -> None:
    """Continues from a state."""
    super().load(state)
    self.stream.pool = state.facts["pool"]


class TextTrainer(_Trainer):
  """Trains the text tower alone, on many more captions at a time.

  Source: LiT, arXiv 2111.07991, where the image tower stays as it is.

  Args:
    trainer: Has trained both towers.
    windows: Music, which stays as it is embedded.
    music: Unit vectors of the windows.
  """

  def __init__(
    self, trainer: CocaTrainer, windows: list[Window], music: np.ndarray
  ):
    nnx.update(trainer.trainee, trainer.params)
    self._coca, self._windows, self._music = trainer, windows, music
    graph, params, rest = nnx.split(trainer.trainee.towers.text, nnx.Param, ...)
    super().__init__(trainer.config, params)
    optimizer = self.optimizer
    log_temperature = trainer.trainee.log_temperature[...]

    def loss(params: nnx.State, music: jax.Array, batch: TextBatch) -> tuple:
      texts = nnx.merge(graph, params, rest)(*batch.inputs, batch.deep)
      parts = match(music, texts, batch.opposed, log_temperature)
      contrastive, neutral, opposite, _ = parts
      total = contrastive + _WEIGHTS[3] * neutral + _WEIGHTS[4] * opposite
      return total, jnp.stack(parts)

    def update(
      params: nnx.State,
      state: Any,
      music: jax.Array,
      batch: TextBatch,
      rate: jax.Array,
    ) -> tuple:
      grads, parts = jax.grad(loss, has_aux=True)(params, music, batch)
      updates, state = optimizer.update(grads, state, params)
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      return params, state, parts

    self._update = jax.jit(update, donate_argnums=(0, 1))

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step: a warm-up, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
    return self.config.learning_rate * min(1.0, (self.step + 1) / 20) * cosine

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns the loss's parts, not yet awaited."""
    batch = self._coca.stream.text_batch(self._windows, self.step)
    self.params, self.optimizer_state, parts = self._update(
      self.params,
      self.optimizer_state,
      self._music[batch.rows],
      batch,
      jnp.float32(self.rate(fraction)),
    )
    self.step += 1
    return parts

  def finish(self) -> None:
    """Puts the text tower back beside the other one."""
    nnx.update(self._coca.trainee.towers.text, self.params)
    self._coca.params = nnx.state(self._coca.trainee, nnx.Param)


def _take_encoder(trainee: CocaTrainee, start: Depthformer) -> None:
  """Token table, time and the first layers of a Depthformer's encoder."""
  tower = trainee.towers.midi
  nnx.update(tower.token_embedder, nnx.state(start.token_embedder))
  nnx.update(tower.time_projection, nnx.state(start.time_projection))
  for own, other in zip(tower.layers, start.encoder_layers, strict=False):
    nnx.update(own, nnx.state(other, nnx.Param))


def take_towers(trainee: CocaTrainee, folder: Path) -> list[str]:
  """Takes an earlier MidiCoCa's arrays where they are still the same.

  Returns:
    The arrays that it did not have.
  """
  file = WeightsFile(folder / WEIGHTS)
  params = nnx.state(trainee.towers, nnx.Param)
  names = parameter_names(params)
  leaves, treedef = jax.tree.flatten(params)
  fresh = []
  for index, name in enumerate(names):
    info = file.infos.get(name)
    if info is not None and info.shape == leaves[index].shape:
      leaves[index] = jnp.asarray(file.read(name).astype(np.float32))
    else:
      fresh.append(name)
  nnx.update(trainee.towers, jax.tree.unflatten(treedef, leaves))
  return fresh


def _is_kernel(params: nnx.State) -> nnx.State:
  return jax.tree.map_with_path(
    lambda path, _: "kernel" in jax.tree_util.keystr(path), params
  )
