"""Trainer of the piano codec, and its task of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from magenta_midi.audio.codec.piano.network import (
  PianoCodecConfig,
  PianoNetwork,
)
from magenta_midi.audio.codec.piano.quantizer import (
  Codebook,
  Quantized,
  unit,
)
from magenta_midi.audio.codec.piano.weights import write_codec
from magenta_midi.limits import (
  AMOUNT,
  COUNT,
  FRACTION,
  LEARNING_RATE,
  MINUTES,
  POSITIVE,
  SEED,
  SHARE,
  STEPS,
)
from magenta_midi.model.checkpoint import CheckpointError
from magenta_midi.settings import check_bounds, check_length, check_numbers
from magenta_midi.train.codec.clips import Clips
from magenta_midi.train.codec.losses import CodecLosses, reconstruction
from magenta_midi.train.run import RunProgress, TrainingRun
from magenta_midi.train.run_clock import RunSchedule
from magenta_midi.train.run_settings import STATE
from magenta_midi.train.run_store import RunStore, State, restore_state
from magenta_midi.train.sharding import path_name
from magenta_midi.typing import Float

__all__ = ["CodecTrainConfig", "CodecTrainer", "train_codec"]

# Folder of a run's result.
OUT = "codec"
_LOG_STEPS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecTrainConfig:
  """Settings of one run. Of `steps` and `minutes`, one is given."""

  steps: int | None = None
  minutes: float | None = None
  # Of the network; None: the embedded codec's.
  shapes: PianoCodecConfig | None = None
  # Crops of a batch, and frames of each.
  batch: int = 6
  frames: int = 80
  learning_rate: float = 1e-3
  warmup_steps: int = 100
  # Share of the run before the rate begins to fall, to 1 % at the end.
  hold: float = 0.3
  adam_b2: float = 0.98
  clip: float = 1.0
  # Weights of the losses: `CodecLosses`.
  mel_weight: float = 1.0
  bins_weight: float = 0.5
  phase_weight: float = 2.0
  commitment_weight: float = 0.25
  # Share of the crops that use fewer levels than there are.
  dropped_levels: float = 0.4
  # Of the moving averages that the codes are.
  codes_decay: float = 0.99
  seed: int = 0
  save_every_min: float = 4.0

  def __post_init__(self) -> None:
    """Refuses numbers that no run can have."""
    check_length(self.steps, self.minutes)
    check_numbers(self)
    check_bounds(self, STEPS, "steps")
    check_bounds(self, MINUTES, "minutes", "save_every_min")
    check_bounds(self, COUNT, "batch", "frames")
    check_bounds(self, LEARNING_RATE, "learning_rate")
    check_bounds(self, POSITIVE, "clip")
    check_bounds(self, FRACTION, "hold", "adam_b2", "codes_decay")
    check_bounds(self, SHARE, "dropped_levels")
    check_bounds(self, SEED, "seed")
    check_bounds(
      self,
      AMOUNT,
      "warmup_steps",
      "mel_weight",
      "bins_weight",
      "phase_weight",
      "commitment_weight",
    )


class Averages(NamedTuple):
  """Moving averages of what chose each code.

  Attributes:
    counts: `[l, v]`, choices a step.
    sums: `[l, v, k]`, the sum of what chose it, a step.
  """

  counts: jax.Array
  sums: jax.Array


class Codes(NamedTuple):
  """The arrays of a quantizer that have no gradient; see there."""

  books: jax.Array
  centers: jax.Array
  spreads: jax.Array


class _Learned(NamedTuple):
  """All that a step changes."""

  params: Any
  codes: Codes
  averages: Averages
  optimizer: Any


class CodecTrainer:
  """Network, optimizer and data of a run.

  Args:
    config: Settings.
    clips: What is learned from.

  Attributes:
    step: Optimizer steps done.
    notes: 0: notes are not counted.
  """

  def __init__(self, config: CodecTrainConfig, clips: Clips):
    self.config = config
    self.step = self.notes = 0
    self._clips = clips
    self.shapes = config.shapes or PianoCodecConfig()
    network = PianoNetwork(self.shapes, rngs=nnx.Rngs(config.seed))
    graph, params, books = nnx.split(network, nnx.Param, Codebook)
    self._graph = graph
    optimizer = optax.chain(
      optax.clip_by_global_norm(config.clip),
      optax.scale_by_adam(b1=0.9, b2=config.adam_b2),
    )
    leaves, self._codes_tree = jax.tree.flatten(books)
    codes = Codes(*leaves)  # by name
    averages = Averages(
      jnp.zeros(codes.books.shape[:2]), jnp.zeros_like(codes.books)
    )
    self._learned = _Learned(params, codes, averages, optimizer.init(params))

    def loss(
      params: Any, codes: Codes, sound: jax.Array, used: jax.Array
    ) -> tuple:
      network = self._network_of(params, codes)
      latents, _ = network.encoder(sound, network.encoder_state(len(sound)))
      found = network.quantizer(latents, used)
      decoded, _ = network.decoder(
        found.latents, network.decoder_state(len(sound))
      )
      late = self.shapes.overlap
      parts = reconstruction(
        sound[:, :-late], decoded[:, late:], self.shapes.sample_rate
      )
      parts = CodecLosses(*parts, found.commitment / self.shapes.levels)
      weights = (
        config.mel_weight,
        config.bins_weight,
        config.phase_weight,
        config.commitment_weight,
      )
      total = sum(w * x for w, x in zip(weights, parts, strict=True))
      return total, (jnp.stack(parts), found)

    def update(
      learned: _Learned,
      sound: jax.Array,
      used: jax.Array,
      key: jax.Array,
      rate: jax.Array,
      decay: jax.Array,
    ) -> tuple[_Learned, jax.Array]:
      params, codes, averages, state = learned
      grads, (parts, found) = jax.grad(loss, has_aux=True)(
        params, codes, sound, used
      )
      updates, state = optimizer.update(grads, state, params)
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      codes, averages = moved_codes(codes, averages, found, key, decay=decay)
      return _Learned(params, codes, averages, state), parts

    self._update = jax.jit(update, donate_argnums=(0,))
    self._loss = jax.jit(lambda *args: loss(*args)[1])

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step: a warm-up, a plateau, a line down."""
    config = self.config
    warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
    left = min(1.0, (1 - min(1.0, fraction)) / (1 - config.hold))
    return config.learning_rate * warm * max(0.01, left)

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns the loss's parts, not yet awaited."""
    config = self.config
    # Of the step alone, so that a continued run sees the same.
    rng = np.random.default_rng((config.seed, self.step))
    samples = config.frames * self.shapes.hop
    sound = self._clips.crops(config.batch, samples, rng)
    used = np.full(config.batch, self.shapes.levels, np.int32)
    fewer = rng.random(config.batch) < config.dropped_levels
    used[fewer] = rng.integers(1, self.shapes.levels + 1, fewer.sum())
    self._learned, parts = self._update(
      self._learned,
      sound,
      used,
      jax.random.key(rng.integers(2**31)),
      jnp.float32(self.rate(fraction)),
      # At first what is looked up moves fast: slow codes would stay behind.
      jnp.float32(min(config.codes_decay, 1 - 10 / (self.step + 50))),
    )
    self.step += 1
    return parts

  def losses(self, sound: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " l"]:
    """The loss's parts of sounds, with all levels."""
    used = np.full(len(sound), self.shapes.levels, np.int32)
    learned = self._learned
    parts, _ = self._loss(learned.params, learned.codes, sound, used)
    return np.asarray(parts)

  def codes_in_use(self) -> Float[np.ndarray, " l"]:
    """Perplexity of each level's codes over the last hundred steps."""
    counts = np.asarray(self._learned.averages.counts, float) + 1e-9
    share = counts / counts.sum(axis=1, keepdims=True)
    return np.exp(-(share * np.log(share)).sum(axis=1))

  def network(self) -> PianoNetwork:
    """The network of this moment."""
    return self._network_of(self._learned.params, self._learned.codes)

  def _network_of(self, params: Any, codes: Codes) -> PianoNetwork:
    books = jax.tree.unflatten(self._codes_tree, codes)
    return nnx.merge(self._graph, params, books)

  def state(self) -> State:
    """State for a resumed run."""
    return State(self.step, self._named(), {})

  def load(self, state: State) -> None:
    """Continues from a state.

    Raises:
      CheckpointError: It is of another network.
    """
    named = self._named()
    for name, array in named.items():
      found = state.arrays.get(name)
      if found is None or found.shape != array.shape:
        raise CheckpointError(f"the run's state has no {name} of this shape.")
    tree = jax.tree.structure(self._learned)
    self._learned = jax.tree.unflatten(tree, [state.arrays[n] for n in named])
    self.step = state.step

  def _named(self) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(self._learned)
    return {path_name(path): leaf for path, leaf in leaves}


def moved_codes(
  codes: Codes,
  averages: Averages,
  found: Quantized,
  key: jax.Array,
  *,
  decay: jax.Array | float,
) -> tuple[Codes, Averages]:
  """Moves each code towards what chose it; dead ones begin anew.

  Args:
    codes: Before the step.
    averages: Before the step.
    found: What the step looked up.
    key: Draws the points where dead codes begin.
    decay: Of the averages.
  """
  count, size = averages.counts.shape
  chosen = found.codes.reshape(-1, count).T
  expected = chosen.shape[1] / size

  def level(
    counts: jax.Array,
    sums: jax.Array,
    chosen: jax.Array,
    points: jax.Array,
    key: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    new = jnp.zeros_like(counts).at[chosen].add(1.0)
    moved = jnp.zeros_like(sums).at[chosen].add(points)
    counts = decay * counts + (1 - decay) * new
    sums = decay * sums + (1 - decay) * moved
    # Begins with half of the count that all would have if all were alike.
    dead = counts < 0.1 * expected
    drawn = points[jax.random.randint(key, (size,), 0, len(points))]
    counts = jnp.where(dead, 0.5 * expected, counts)
    sums = jnp.where(dead[:, None], 0.5 * expected * drawn, sums)
    return counts, sums

  keys = jax.random.split(key, count)
  counts, sums = jax.vmap(level)(*averages, chosen, found.points, keys)
  centers = found.projected.mean(axis=1)
  spreads = found.projected.std(axis=1) + 1e-4
  codes = Codes(
    unit(sums),
    decay * codes.centers + (1 - decay) * centers,
    decay * codes.spreads + (1 - decay) * spreads,
  )
  return codes, Averages(counts, sums)


class CodecTask:
  """The task of training the codec.

  Args:
    trainer: Network, optimizer and data.
    held_out: Sounds by which it is evaluated; may be none.
    out: The run's folder.
    on_progress: Told the figures of each line of the log.
  """

  def __init__(
    self,
    trainer: CodecTrainer,
    held_out: Float[np.ndarray, "b n"],
    out: Path,
    on_progress: Callable[[dict[str, Any]], None],
  ):
    self.trainer = trainer
    self.held_out = held_out
    self.out = out
    self.on_progress = on_progress
    self._run: TrainingRun | None = None

  @property
  def exported(self) -> bool:
    """Whether the codec is there."""
    return (self.out / OUT / "config.json").is_file()

  def begin(self, run: TrainingRun) -> None:
    """Keeps the run, for its minutes."""
    self._run = run

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Losses of held-out sounds, and how many codes are in use."""
    if not len(self.held_out):
      return {}
    parts = self.trainer.losses(self.held_out)
    named = zip(CodecLosses._fields, parts, strict=True)
    found = {name: round(float(x), 4) for name, x in named}
    uses = [round(float(x), 1) for x in self.trainer.codes_in_use()]
    self.on_progress(dict(step=self.trainer.step, held_out=found, uses=uses))
    return dict(codec=found)

  def report(self, progress: RunProgress) -> None:
    """Hands the figures of a log line on."""
    if progress.logged and progress.levels is not None:
      losses = [round(float(x), 4) for x in progress.levels]
      minutes = round(progress.minutes, 2)
      self.on_progress(dict(step=progress.step, minutes=minutes, losses=losses))

  def export(self, *, finished: bool) -> None:
    """Writes the codec of this moment."""
    del finished
    facts: dict[str, Any] = dict(steps=self.trainer.step)
    if self._run is not None:
      facts["minutes"] = round(self._run.total_minutes, 1)
    write_codec(self.out / OUT, self.trainer.network(), facts)


def train_codec(
  config: CodecTrainConfig,
  clips: Clips,
  held_out: Float[np.ndarray, "b n"],
  out: Path,
  *,
  start: Path | None = None,
  on_progress: Callable[[dict[str, Any]], None] = lambda facts: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Trains, or continues the run in `out`; the codec stands in `out/codec`.

  Args:
    config: Settings.
    clips: What is learned from.
    held_out: Sounds by which it is evaluated, all of one length.
    out: The run's folder.
    start: Folder of an ended run whose network and optimizer a new run starts
      from, at its step.
    on_progress: Told the figures of each line of the log.
    should_stop: Asked before every step; True saves and stops.

  Returns:
    Whether the run has ended.

  Raises:
    ValueError: The run in `out` or `start` is of other sizes, or in use, or
      `start` is none.
    OSError: Something cannot be written.
  """
  trainer = CodecTrainer(config, clips)
  if start is not None:
    with RunStore(start / STATE, read_only=True) as store:
      if store.newest is None:
        raise ValueError(f"{start}: holds no state of a run.")
      restore_state(store, trainer)
  run = TrainingRun(
    CodecTask(trainer, held_out, out, on_progress),
    RunSchedule(
      steps=config.steps,
      minutes=config.minutes,
      log_every_steps=_LOG_STEPS,
      evaluate_every_min=config.save_every_min,
      skip_compiling=True,
    ),
    out,
    CodecLosses._fields,
  )
  return run.go(should_stop=should_stop)
