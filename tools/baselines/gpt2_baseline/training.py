"""Trains GPT-2 as our own model is trained: the same optimizer, schedule,
clock, crops and augmentation.

A run is a folder: `run.json` (settings), `state/` (what it goes on from, and
what is scored), `log.jsonl`, `tensorboard/` and `loss.png`.
"""

import concurrent.futures
import dataclasses
import json
import math
import time
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
from magenta_midi.train.run_settings import (
  RUN,
  STATE,
  TrainConfig,
  has_state,
)
from magenta_midi.train.run_store import RunStore
from magenta_midi.train.sharding import path_name
from magenta_midi.train.watch import RunLog
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
  # What it is trained on, and the shares.
  data: tuple[str, ...] = ()

  def settings(self) -> dict[str, Any]:
    """What a run is continued with only if it is the same; JSON values."""
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
  """Where a run stands."""

  step: int
  fraction: float
  nats: float  # a token, lately
  held_out: float | None  # nats a note
  tokens_per_s: float


class _Learned(NamedTuple):
  """The arrays that a step changes."""

  params: Any
  optimizer: Any


def _named(learned: _Learned) -> dict[str, jax.Array]:
  leaves = jax.tree_util.tree_leaves_with_path(learned)
  return {path_name(path): leaf for path, leaf in leaves}


def _restored(
  store: RunStore, like: _Learned
) -> tuple[_Learned, dict[str, Any]]:
  """The arrays of the newest state, and its facts."""
  _, arrays, facts = store.restore(_named(like))
  leaves = [arrays[name] for name in _named(like)]
  return jax.tree.unflatten(jax.tree.structure(like), leaves), facts


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
  model = Gpt2(config.network, nnx.Rngs(0))
  _, like = _step_function(config, model, tokens.name_of)
  with RunStore(folder / STATE, keep_best=False, read_only=True) as store:
    learned, facts = _restored(store, like)
  nnx.update(model, learned.params)
  return model, tokens, settings | facts


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


def _step_function(config: BaselineConfig, model: Gpt2, name_of: np.ndarray):
  """One compiled step, and the optimizer's state before the first."""
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  optimizer = make_optimizer(config.run)
  # Of each id, which share of the loss it is; BEGIN is never a target.
  one_hot = np.eye(len(NAMES), dtype=np.float32)[name_of]

  def loss(params: Any, rows: Rows) -> tuple[jax.Array, jax.Array]:
    network = nnx.merge(graph, params, rest)
    logits = network(rows.ids, rows.position, rows.segment)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, rows.targets[..., None], axis=-1)
    used = rows.segment > 0
    nats = jnp.where(used, log_z - picked[..., 0], 0.0) / jnp.sum(used)
    by_name = jnp.einsum("bt,btn->n", nats, jnp.asarray(one_hot)[rows.targets])
    return jnp.sum(nats), by_name

  def update(
    learned: _Learned, rows: Rows, rate: jax.Array
  ) -> tuple[_Learned, jax.Array]:
    params, state = learned
    grads, nats = jax.grad(loss, has_aux=True)(params, rows)
    updates, state = optimizer.update(grads, state, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return _Learned(params, state), nats

  begun = _Learned(params, optimizer.init(params))
  return jax.jit(update, donate_argnums=0), begun


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
    should_stop: Asked after every step; True saves and stops.

  Returns:
    The last held-out figures; None: none were taken.

  Raises:
    ValueError: `out` holds a run with other settings.
    OSError: Something cannot be written; what is there stays whole.
  """
  _check_settings(config, out)
  out.mkdir(parents=True, exist_ok=True)
  if not has_state(out):
    settings = json.dumps(config.settings(), indent=2) + "\n"
    write_atomically(out / RUN, settings.encode())
  model = Gpt2(config.network, nnx.Rngs(config.run.seed))
  update, learned = _step_function(config, model, tokens.name_of)
  step, earlier = 0, 0.0
  source = CropSource(
    tokens,
    corpora,
    shares,
    config.run.augmentation,
    config.rows,
    config.network.context,
    config.run.seed,
  )
  with (
    RunStore(out / STATE, keep_best=False) as store,
    concurrent.futures.ThreadPoolExecutor(1) as ahead,
  ):
    if store.newest is not None:
      learned, facts = _restored(store, learned)
      step, earlier = facts["step"], facts["minutes"]
    with RunLog(out, step, NAMES) as log:
      loop = _Loop(
        config, model, tokens, held_out, out, store, log, on_progress
      )
      loop.learned, loop.step, loop.earlier = learned, step, earlier
      return loop.go(update, source, ahead, should_stop)


class _Loop:
  """One session of a run."""

  learned: Any
  step: int
  earlier: float

  def __init__(
    self,
    config: BaselineConfig,
    model: Gpt2,
    tokens: MusicTokens,
    held_out: Corpus | None,
    out: Path,
    store: RunStore,
    log: RunLog,
    on_progress: Callable[[Progress], None],
  ):
    self.run = config.run
    self.model = model
    self.tokens = tokens
    self.held_out = held_out if held_out is not None and len(held_out) else None
    self.out = out
    self.store = store
    self.log = log
    self.on_progress = on_progress
    self.evaluation: Evaluation | None = None
    self.scored_at = -1
    self.started = time.monotonic()

  def minutes(self) -> float:
    """Of training, over all sessions."""
    return self.earlier + (time.monotonic() - self.started) / 60

  def fraction(self) -> float:
    """How much of the run is done."""
    if self.run.steps is not None:
      return self.step / self.run.steps
    assert self.run.minutes is not None
    return self.minutes() / self.run.minutes

  def go(
    self,
    update: Callable,
    source: CropSource,
    ahead: concurrent.futures.Executor,
    should_stop: Callable[[], bool],
  ) -> Evaluation | None:
    """Trains to the end, or until it is to stop."""
    begun = self.step
    last_save = last_score = reported = self.started
    recent: list[jax.Array] = []
    trained, notes = 0, 0
    coming = ahead.submit(source.batch, self.step)
    while self.fraction() < 1.0:
      if should_stop():
        self.save()
        return self.evaluation
      rate = jnp.float32(learning_rate(self.run, self.step, self.fraction()))
      rows = coming.result()
      coming = ahead.submit(source.batch, self.step + 1)
      self.learned, nats = update(self.learned, rows, rate)
      recent.append(nats)
      self.step += 1
      trained += int(np.count_nonzero(rows.segment))
      notes += source.notes(rows)
      if self.step % REPORT_STEPS:
        continue
      names = np.mean([np.asarray(nats) for nats in recent], axis=0)
      now = time.monotonic()
      passed = max(1e-9, now - reported)
      self.report(names, float(rate), trained / passed, notes / passed)
      recent.clear()
      trained, notes, reported = 0, 0, now
      if now - last_score > 60 * self.run.evaluate_every_min:
        self.score()
        last_score = reported = time.monotonic()
      if now - last_save > 60 * self.run.save_every_min:
        self.save()
        last_save = reported = time.monotonic()
    coming.cancel()
    if self.step > begun or self.store.newest is None:
      self.score()
      self.save()
    return self.evaluation

  def report(
    self,
    nats: np.ndarray,
    rate: float,
    tokens_per_s: float,
    notes_per_s: float,
  ) -> None:
    """Logs the last steps and tells of them."""
    if not math.isfinite(float(nats.sum())):
      raise ValueError(
        f"the loss is {nats.sum()} at step {self.step}: give a lower"
        " --learning-rate."
      )
    self.log.training(self.step, self.minutes(), nats, rate, notes_per_s)
    self.on_progress(
      Progress(
        self.step,
        min(1.0, self.fraction()),
        float(nats.sum()),
        self.evaluation.nats_per_note if self.evaluation else None,
        tokens_per_s,
      )
    )

  def score(self) -> None:
    """Scores and logs."""
    if self.held_out is None or self.scored_at == self.step:
      return
    nnx.update(self.model, self.learned.params)
    self.evaluation = score(
      self.model,
      self.tokens,
      self.held_out,
      windows=self.run.held_out_windows,
    )
    self.scored_at = self.step
    self.log.held_out(self.step, self.minutes(), self.evaluation)

  def save(self) -> None:
    """Hands the state to the store; writes the loss curve."""
    held_out = self.evaluation.figures() if self.evaluation else {}
    self.store.save(
      self.step,
      _named(self.learned),
      dict(
        step=self.step,
        minutes=self.minutes(),
        held_out=held_out,
        token_losses=self.tokens.losses.shares(),
      ),
    )
    self.log.plot(self.out / "loss.png")
