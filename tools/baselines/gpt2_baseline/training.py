"""Training of the GPT-2 baseline: optimizer, schedule, crops and augmentation
of the package's own training.

A run is a folder: `run.json` (settings), `state/` (what it goes on from, and
what is scored), `log.jsonl`, `tensorboard/` and `loss.png`.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.train.optimizers import learning_rate, make_optimizer
from magenta_midi.train.run import (
  HELD_OUT,
  RunProgress,
  TrainingRun,
  held_folder,
)
from magenta_midi.train.run_clock import RunSchedule
from magenta_midi.train.run_settings import (
  RUN,
  STATE,
  TrainConfig,
  has_state,
)
from magenta_midi.train.run_store import RunStore, State, restore_state
from magenta_midi.train.sharding import path_name
from tools.baselines.gpt2_baseline.crops import CropSource, Rows
from tools.baselines.gpt2_baseline.music_tokens import NAMES, MusicTokens
from tools.baselines.gpt2_baseline.network import Gpt2, Gpt2Config
from tools.baselines.gpt2_baseline.scoring import score

__all__ = ["BaselineConfig", "Progress", "load_run", "train_baseline"]

REPORT_STEPS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineConfig:
  """Settings of one run."""

  # Of `music_tokens.KINDS`.
  tokens: str = "remi"
  duration_bins: int = 63
  network: Gpt2Config
  # Of its fields, those of `_READ` are what the run is, and how often it is
  # scored and saved; the rest is not read.
  run: TrainConfig
  # Of a batch, each of `network.context` tokens.
  rows: int = 2
  # Training corpora, and their shares.
  data: tuple[str, ...] = ()

  def settings(self) -> dict[str, Any]:
    """Settings that must be the same in a continued run; JSON values."""
    run = dataclasses.asdict(self.run)
    settings = dict(
      dataclasses.asdict(self), run={name: run[name] for name in _READ}
    )
    return json.loads(json.dumps(settings))


_READ = (
  "minutes",
  "steps",
  "optimizer",
  "learning_rate",
  "schedule",
  "warmup_steps",
  "weight_decay",
  "adam_b2",
  "clip",
  "augmentation",
  "seed",
)


def _stored_config(settings: dict[str, Any]) -> BaselineConfig:
  """The settings that `BaselineConfig.settings` gave."""
  run = settings["run"]
  ranges: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in run["augmentation"].items()
  }
  return BaselineConfig(
    **dict(
      settings,
      network=Gpt2Config(**settings["network"]),
      run=TrainConfig(**dict(run, augmentation=Augmentation(**ranges))),
      data=tuple(settings["data"]),
    )
  )


class Progress(NamedTuple):
  """Progress of a run."""

  step: int
  fraction: float
  nats: float  # a token, lately
  held_out: float | None  # nats a note
  tokens_per_s: float


class _Learned(NamedTuple):
  """The arrays that a step changes."""

  params: Any
  optimizer: Any


def load_run(folder: Path) -> tuple[Gpt2, MusicTokens, dict[str, Any]]:
  """The network of a run as it stands, its tokens, and facts of the run.

  Raises:
    ValueError: There is none, or its files do not belong together.
  """
  if not has_state(folder):
    raise ValueError(f"{folder}: holds no run ({RUN}, {STATE}).")
  settings = json.loads((folder / RUN).read_text("utf-8"))
  config = _stored_config(settings)
  tokens = MusicTokens(config.tokens, config.duration_bins)
  if config.network.vocab_size != tokens.size:
    raise ValueError(
      f"{folder}: was trained with {config.network.vocab_size} tokens, this"
      f" MidiTok gives {tokens.size}. Install the version it was trained with."
    )
  trainer = Gpt2Trainer(config, tokens, [], [])
  with RunStore(folder / STATE, keep_best=False, read_only=True) as store:
    marks = restore_state(store, trainer)
  facts = dict(step=trainer.step, minutes=marks.minutes) | trainer.facts
  return trainer.current_model(), tokens, settings | facts


def _check_settings(config: BaselineConfig, out: Path) -> None:
  if not (out / RUN).is_file():
    return
  found = json.loads((out / RUN).read_text("utf-8"))
  given = config.settings()
  differ = [
    name
    for name in sorted(found.keys() | given.keys())
    if found.get(name) != given.get(name)
  ]
  if differ:
    raise ValueError(
      f"{out}: holds a run with other settings ({', '.join(differ)}). Give"
      " --out another folder, or the same settings to continue."
    )


class Gpt2Trainer:
  """Network, optimizer and data of one run.

  Args:
    config: The run's.
    tokens: The run's.
    corpora: What to train on.
    shares: Share of crops from each corpus.

  Attributes:
    step: Optimizer steps done.
    notes: Notes predicted since the run counted last.
    totals: Tokens and notes predicted in this process.
    facts: What a state says of held-out figures and lossy tokens.
  """

  def __init__(
    self,
    config: BaselineConfig,
    tokens: MusicTokens,
    corpora: list[Corpus],
    shares: list[float],
  ):
    self.config = config
    self.step = self.notes = 0
    self.totals = np.zeros(2, np.int64)
    self.facts: dict[str, Any] = {}
    self._source = CropSource(
      tokens,
      corpora,
      shares,
      config.run.augmentation,
      config.rows,
      config.network.context,
      config.run.seed,
    )
    self._ahead = concurrent.futures.ThreadPoolExecutor(1)
    # The batch of the next step, which is cut during this one.
    self._coming: tuple[int, concurrent.futures.Future[Rows]] | None = None
    self._model = Gpt2(config.network, nnx.Rngs(config.run.seed))
    graph, params, rest = nnx.split(self._model, nnx.Param, ...)
    optimizer = make_optimizer(config.run)
    # The part of the loss that each id belongs to; BEGIN is never a target.
    one_hot = np.eye(len(NAMES), dtype=np.float32)[tokens.name_of]

    def loss(params: Any, rows: Rows) -> tuple[jax.Array, jax.Array]:
      network = nnx.merge(graph, params, rest)
      logits = network(rows.ids, rows.position, rows.segment)
      log_z = jax.nn.logsumexp(logits, axis=-1)
      picked = jnp.take_along_axis(logits, rows.targets[..., None], axis=-1)
      used = rows.segment > 0
      nats = jnp.where(used, log_z - picked[..., 0], 0.0) / jnp.sum(used)
      names = jnp.asarray(one_hot)[rows.targets]
      return jnp.sum(nats), jnp.einsum("bt,btn->n", nats, names)

    def update(
      learned: _Learned, rows: Rows, rate: jax.Array
    ) -> tuple[_Learned, jax.Array]:
      params, state = learned
      grads, nats = jax.grad(loss, has_aux=True)(params, rows)
      updates, state = optimizer.update(grads, state, params)
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      return _Learned(params, state), nats

    self._learned = _Learned(params, optimizer.init(params))
    self._update = jax.jit(update, donate_argnums=0)

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step, with that much of the run done."""
    return learning_rate(self.config.run, self.step, fraction)

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; returns nats a token by name, not yet awaited."""
    rate = jnp.float32(self.rate(fraction))
    rows = self._batch()
    self._learned, nats = self._update(self._learned, rows, rate)
    self.step += 1
    notes = self._source.notes(rows)
    self.notes += notes
    self.totals += np.array([np.count_nonzero(rows.segment), notes])
    return nats

  def _batch(self) -> Rows:
    if self._coming is None or self._coming[0] != self.step:
      rows = self._source.batch(self.step)
    else:
      rows = self._coming[1].result()
    following = self.step + 1
    self._coming = (
      following,
      self._ahead.submit(self._source.batch, following),
    )
    return rows

  def current_model(self) -> Gpt2:
    """The network with the weights of this moment."""
    nnx.update(self._model, self._learned.params)
    return self._model

  def state(self) -> State:
    """State for a resumed run; batches follow from the step's number."""
    return State(self.step, self._named(), self.facts)

  def load(self, state: State) -> None:
    """Continues from a state."""
    leaves = [state.arrays[name] for name in self._named()]
    treedef = jax.tree.structure(self._learned)
    self._learned = jax.tree.unflatten(treedef, leaves)
    self.step = state.step
    names = ("held_out", "token_losses")
    self.facts = {name: state.facts.get(name, {}) for name in names}

  def _named(self) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(self._learned)
    return {path_name(path): leaf for path, leaf in leaves}

  def close(self) -> None:
    """Ends the thread that cuts batches ahead."""
    self._ahead.shutdown(cancel_futures=True)


def train_baseline(
  config: BaselineConfig,
  tokens: MusicTokens,
  corpora: list[Corpus],
  shares: list[float],
  held_out: Corpus | None,
  out: Path,
  *,
  on_progress: Callable[[Progress], None] = lambda progress: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
  """Trains, or continues the run in `out`.

  Args:
    config: Its network is made for `tokens`.
    tokens: The run's.
    corpora: What to train on.
    shares: Share of crops from each corpus.
    held_out: Pieces scored on the way and at the end; None: none.
    out: The run's folder.
    on_progress: Called every 20 steps.
    should_stop: Asked before every step; True saves and stops.

  Returns:
    The last held-out figures; None: none were taken.

  Raises:
    ValueError: `out` holds a run with other settings, or the loss is not
      finite.
    OSError: Something cannot be written; the state before is whole.
  """
  _check_settings(config, out)
  with held_folder(out):
    if not has_state(out):
      settings = json.dumps(config.settings(), indent=2) + "\n"
      write_atomically(out / RUN, settings.encode())
    trainer = Gpt2Trainer(config, tokens, corpora, shares)
    task = BaselineTask(trainer, tokens, held_out, out, on_progress)
    schedule = RunSchedule(
      steps=config.run.steps,
      minutes=config.run.minutes,
      evaluate_every_min=config.run.evaluate_every_min,
      save_every_min=config.run.save_every_min,
    )
    with contextlib.closing(trainer):
      TrainingRun(task, schedule, out, NAMES).go(should_stop=should_stop)
    return task.evaluation


class BaselineTask:
  """The task of a baseline's run: its held-out figures, and a loss curve.

  Args:
    trainer: Network, optimizer and data.
    tokens: The run's.
    held_out: Pieces that are evaluated; None or empty: none.
    out: The run's folder.
    on_progress: See `train_baseline`.

  Attributes:
    evaluation: The last one; None: none in this session.
  """

  def __init__(
    self,
    trainer: Gpt2Trainer,
    tokens: MusicTokens,
    held_out: Corpus | None,
    out: Path,
    on_progress: Callable[[Progress], None],
  ):
    self.trainer = trainer
    self.tokens = tokens
    self.held_out = held_out if held_out is not None and len(held_out) else None
    self.out = out
    self.on_progress = on_progress
    self.evaluation: Evaluation | None = None

  @property
  def exported(self) -> bool:
    """Whether there is a state, which `load_run` reads."""
    return has_state(self.out)

  def begin(self, run: TrainingRun) -> None:
    """Keeps the run, for its log."""
    self.run = run

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Scores held-out windows."""
    if self.held_out is None:
      return {}
    self.evaluation = score(
      self.trainer.current_model(),
      self.tokens,
      self.held_out,
      windows=self.trainer.config.run.held_out_windows,
    )
    self.trainer.facts["held_out"] = self.evaluation.figures()
    return {HELD_OUT: self.evaluation.figures()}

  def report(self, progress: RunProgress) -> None:
    """Hands the figures on.

    Raises:
      ValueError: The loss is not finite.
    """
    self.trainer.facts["token_losses"] = self.tokens.losses.shares()
    if not progress.logged or progress.levels is None:
      return
    nats = float(progress.levels.sum())
    if not math.isfinite(nats):
      raise ValueError(
        f"the loss is {nats} at step {progress.step}: give a lower"
        " --learning-rate."
      )
    tokens, notes = self.trainer.totals
    self.on_progress(
      Progress(
        progress.step,
        progress.fraction,
        nats,
        self.evaluation.nats_per_note if self.evaluation else None,
        progress.notes_per_s * tokens / max(1, notes),
      )
    )

  def export(self, *, finished: bool) -> None:
    """Draws the loss curve."""
    del finished
    self.run.log.plot(self.out / "loss.png")
