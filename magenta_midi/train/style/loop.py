"""Trains MidiCoCa: batches in, a folder with both towers out.

A run's folder holds `state.safetensors` (parameters, optimizer, position),
`log.jsonl` and `midicoca/`, which the style model loads. A killed run goes on
from its last state.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

from magenta_midi.model.config import padded_vocabulary
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.weights_file import WeightsFile
from magenta_midi.style.midi_coca import (
  WEIGHTS,
  MidiCoCa,
  MidiCoCaConfig,
  parameter_names,
)
from magenta_midi.style.quantizer import Quantizer, level_cosines
from magenta_midi.style.text.captions import caption, nonsense
from magenta_midi.tokens.vocabulary import RESERVED
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

__all__ = ["CocaConfig", "CocaTrainer", "recall", "train_coca"]

STATE, LOG, OUT = "state.safetensors", "log.jsonl", "midicoca"
# Frames that windows are padded to, to be embedded.
_SIZES = (96, 160, 256)
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


class CocaTrainer:
  """Model, optimizer and data of one run.

  Args:
    config: Settings.
    stream: Batches.
    start: A Depthformer whose encoder the MIDI tower starts from.
    earlier: A MidiCoCa's folder; its towers are gone on with.
  """

  def __init__(
    self,
    config: CocaConfig,
    stream: CocaStream,
    start: Depthformer | None,
    earlier: Path | None = None,
  ):
    self.config = config
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
    self.step, self.minutes = 0, 0.0
    graph, params, rest = nnx.split(self.trainee, nnx.Param, ...)
    self.params = params
    optimizer = optax.chain(
      optax.clip_by_global_norm(config.clip),
      optax.scale_by_adam(b2=0.98),
      optax.scale_by_param_block_rms(),
      optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
    )
    self.optimizer_state = optimizer.init(params)

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

  def train_step(self, fraction: float) -> jax.Array:
    """One step; returns the loss's parts (not yet awaited)."""
    config = self.config
    batch = self.stream.next()
    warm = min(1.0, (self.step + 1) / config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
    rate = config.learning_rate * warm * (0.02 + 0.98 * cosine)
    self.params, self.optimizer_state, parts = self._update(
      self.params, self.optimizer_state, batch, jnp.float32(rate)
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

  def save(self, path: Path) -> None:
    """Writes everything that a resumed run needs, atomically."""
    leaves = jax.tree.leaves((self.params, self.optimizer_state))
    arrays = {f"leaf.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    header = dict(step=self.step, minutes=self.minutes, pool=self.stream.pool)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
      save_file(arrays, temporary, metadata={"state": json.dumps(header)})
      os.replace(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)

  def restore(self, path: Path) -> None:
    """Continues from a saved state."""
    leaves, treedef = jax.tree.flatten((self.params, self.optimizer_state))
    with safe_open(path, "numpy") as file:
      header = json.loads(file.metadata()["state"])
      arrays = [
        jnp.asarray(file.get_tensor(f"leaf.{i}")) for i in range(len(leaves))
      ]
    self.params, self.optimizer_state = jax.tree.unflatten(treedef, arrays)
    self.step, self.minutes = header["step"], header["minutes"]
    self.stream.pool = header["pool"]


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


def embed_windows(model: MidiCoCa, windows: Sequence[Window]) -> np.ndarray:
  """Unit vectors of windows, by size, 16 at a time."""
  found = np.zeros((len(windows), 768), np.float32)
  sizes = _SIZES
  for low, width in zip([-1, *sizes], sizes, strict=False):
    chosen = [
      row
      for row, window in enumerate(windows)
      if low < window.frames <= width
      or (width == sizes[-1] and window.frames > width)
    ]
    for start in range(0, len(chosen), 16):
      rows = chosen[start : start + 16]
      ids = np.stack([windows[row].ids[:width] for row in rows])
      time_ = np.stack([windows[row].time[:width] for row in rows])
      pad = ((0, 16 - len(rows)),)
      ids = np.pad(ids, (*pad, (0, 0), (0, 0)))
      time_ = np.pad(time_, (*pad, (0, 0)))
      vectors = model.embed_batch_frames(
        Frames(ids, time_, np.zeros_like(time_))
      )
      found[rows] = vectors[: len(rows)]
  return found


def recall(
  model: MidiCoCa, windows: Sequence[Window], seed: int = 0
) -> dict[str, float]:
  """Text to MIDI and back: is the true one among the nearest 1, 5, 10?"""
  rng = np.random.default_rng(seed)
  music = embed_windows(model, windows)
  texts = model.embed_texts(
    [caption(w.facts, w.description, rng) for w in windows]
  )
  alike = texts @ music.T
  report = {}
  for name, table in (("text_to_midi", alike), ("midi_to_text", alike.T)):
    rank = (table > np.diagonal(table)[:, None]).sum(axis=1)
    for most in (1, 5, 10):
      report[f"{name}@{most}"] = round(float(np.mean(rank < most)), 4)
  return report


def train_coca(
  config: CocaConfig,
  stream: CocaStream,
  held_out: Sequence[Window],
  out: Path,
  *,
  start: Depthformer | None = None,
  earlier: Path | None = None,
  on_progress: Callable[[dict[str, Any]], None] = lambda facts: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> MidiCoCa | None:
  """Trains, or continues the run in `out`; None where it was stopped."""
  out.mkdir(parents=True, exist_ok=True)
  trainer = CocaTrainer(config, stream, start, earlier)
  if (out / STATE).is_file():
    trainer.restore(out / STATE)
  began = saved = time.monotonic()
  before = trainer.minutes
  recent: list[jax.Array] = []

  def fraction() -> float:
    if config.steps is not None:
      done, length = trainer.step, config.steps[0]
    else:
      done, length = trainer.minutes, config.minutes
    return done / length if length else 1.0

  while fraction() < 1.0:
    recent.append(trainer.train_step(fraction()))
    trainer.minutes = before + (time.monotonic() - began) / 60
    if len(recent) == 10:
      parts = np.mean([np.asarray(p) for p in recent], axis=0)
      recent.clear()
      facts: dict[str, Any] = dict(
        step=trainer.step,
        minutes=round(trainer.minutes, 3),
        losses=[round(float(x), 4) for x in parts],
      )
      if time.monotonic() - saved > 60 * config.save_every_min:
        trainer.save(out / STATE)
        facts["recall"] = recall(trainer.style_model(), held_out)
        saved = time.monotonic()
      with open(out / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
      on_progress(facts)
    if should_stop():
      trainer.save(out / STATE)
      return None
  trainer.save(out / STATE)
  quantizer = None
  if earlier is not None and not trainer.step:
    quantizer = MidiCoCa.load(earlier).quantizer
  return finished(trainer, held_out, out, on_progress, quantizer)


def train_text(
  trainer: CocaTrainer,
  windows: list[Window],
  music: np.ndarray,
  on_progress: Callable[[dict[str, Any]], None],
) -> None:
  """Goes on with the text tower alone: many more captions at a time.

  Source: LiT, arXiv 2111.07991, with the roles as they are here.
  """
  nnx.update(trainer.trainee, trainer.params)
  trainee, config = trainer.trainee, trainer.config
  text = trainee.towers.text
  graph, params, rest = nnx.split(text, nnx.Param, ...)
  log_temperature = trainee.log_temperature[...]
  optimizer = optax.chain(
    optax.clip_by_global_norm(config.clip),
    optax.scale_by_adam(b2=0.98),
    optax.scale_by_param_block_rms(),
    optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
  )
  state = optimizer.init(params)

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

  step_of = jax.jit(update, donate_argnums=(0, 1))
  began, step = time.monotonic(), 0

  def fraction() -> float:
    if config.steps is not None:
      return step / config.steps[1]
    return (time.monotonic() - began) / 60 / config.text_minutes

  while (done := fraction()) < 1.0:
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    rate = config.learning_rate * min(1.0, (step + 1) / 20) * cosine
    batch = trainer.stream.text_batch(windows, step)
    params, state, parts = step_of(
      params, state, music[batch.rows], batch, jnp.float32(rate)
    )
    step += 1
    if step % 10 == 0:
      losses = [round(float(x), 4) for x in parts]
      on_progress(dict(text_step=step, done=round(done, 3), losses=losses))
  nnx.update(text, params)
  trainer.params = nnx.state(trainee, nnx.Param)


def finished(
  trainer: CocaTrainer,
  held_out: Sequence[Window],
  out: Path,
  on_progress: Callable[[dict[str, Any]], None],
  quantizer: Quantizer | None = None,
) -> MidiCoCa:
  """The text tower alone, then a quantizer; writes the style model."""
  windows = trainer.stream.bank()
  music = embed_windows(trainer.style_model(), windows)
  train_text(trainer, windows, music, on_progress)
  model = trainer.style_model()
  if quantizer is None:
    rng = np.random.default_rng(trainer.config.seed)
    texts = [caption(w.facts, w.description, rng) for w in windows]
    said = [
      model.embed_texts(texts[i : i + 64], width=20)
      for i in range(0, len(texts), 64)
    ]
    vectors = np.concatenate([music, *said])
    quantizer = Quantizer.fit(vectors, seed=trainer.config.seed)
  held = embed_windows(model, held_out)
  model = trainer.style_model(
    quantizer,
    steps=trainer.step,
    minutes=round(trainer.minutes, 1),
    recall=recall(model, held_out),
    cosine_by_level=[round(x, 4) for x in level_cosines(quantizer, held)],
  )
  model.save(out / OUT)
  return model
