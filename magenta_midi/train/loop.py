"""The training loop: batches in, checkpoints and a loss curve out.

A run is a folder: `run.json` (settings), `state/` (what it continues from),
`log.jsonl`, `loss.png`, `tensorboard/`, `samples/`, and `checkpoint/`, which
`generate` and `evaluate` load. A killed run continues from its last whole
state; with `steps` given, it ends where an unbroken one would, to the bit.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  save_checkpoint,
  write_atomically,
)
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.optimizers import learning_rate
from magenta_midi.train.run_clock import CLOCKS, RunClock
from magenta_midi.train.run_settings import (
  RUN,
  STATE,
  TrainConfig,
  check_init_from,
  check_settings,
  has_state,
  model_config,
  settings_json,
  style_rows,
)
from magenta_midi.train.run_store import RunStore, restored_marks
from magenta_midi.train.samples import SampleMaker
from magenta_midi.train.sharding import HostRows
from magenta_midi.train.sources import BatchSource
from magenta_midi.train.trainer import Trainer
from magenta_midi.train.warm_start import WarmStart
from magenta_midi.train.watch import RunLog

__all__ = [
  "Progress",
  "TrainConfig",
  "Trainer",
  "check_init_from",
  "check_settings",
  "learning_rate",
  "model_config",
  "style_rows",
  "train",
]

# Steps between two lines of the log: one wait for so many keeps the queue to
# the device full.
REPORT_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands."""

  step: int
  fraction: float  # of the run, 0..1
  minutes: float
  nats: float  # training nats an event, lately
  held_out: float | None  # nats a note on held-out windows
  notes_per_s: float


def train(
  config: TrainConfig,
  codec: Codec,
  corpora: list[Corpus],
  shares: list[float],
  held_out: Corpus | None,
  out: Path,
  *,
  style: StyleRows | None = None,
  open_source: Callable[[HostRows], BatchSource] | None = None,
  on_progress: Callable[[Progress], None] = lambda progress: None,
  on_warm_start: Callable[[WarmStart], None] = lambda taken: None,
  session_minutes: float | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
  """Trains, or continues the run in `out`.

  Args:
    config: Settings; those of a run that is continued must be the same.
    codec: The codec to train for.
    corpora: What to train on.
    shares: Share of examples from each corpus.
    held_out: Pieces scored on the way; None: none.
    out: The run's folder.
    style: The run's `style_rows`; None: made here.
    open_source: Gives the batches in place of the corpora; see `Trainer`.
    on_progress: Called about twice a second.
    on_warm_start: Called with what a new run took from `init_from`.
    session_minutes: Stop (resumably) after this time; None: at the end.
    should_stop: Asked after every step; True saves and stops, resumably.

  Returns:
    The last held-out figures, or with early stopping the best; None: nothing
    was left to do, or nothing is held out.

  Raises:
    ValueError: `out` holds a run with other settings (names them), of an
      earlier version, or beyond `steps`.
    OSError: Something cannot be written; the state before is whole.
  """
  check_settings(config, codec, out)
  _check_hosts(config)
  out.mkdir(parents=True, exist_ok=True)
  if not has_state(out):
    write_atomically(out / RUN, settings_json(config, codec) + "\n")
  trainer = Trainer(config, codec, corpora, shares, style, open_source)
  with (
    contextlib.closing(trainer),
    RunStore(out / STATE, keep_best=config.keep_best) as store,
  ):
    marks = _Marks()
    if store.newest is not None:
      marks = restored_marks(_Marks, trainer.restore(store), store.folder)
    elif config.init_from is not None:
      start = trainer.start_from(StoredCheckpoint(Path(config.init_from)))
      on_warm_start(start)
      marks.warm_start = start._asdict()
    with RunLog(
      out,
      trainer.step,
      codec.vocabulary.level_names,
      writes=jax.process_index() == 0,
    ) as log:
      run = _Run(trainer, held_out, out, store, log, marks, on_progress)
      return run.go(session_minutes, should_stop)


def _check_hosts(config: TrainConfig) -> None:
  """Many hosts must do the same at the same step: no clock decides."""
  if jax.process_count() == 1:
    return
  by_steps = (
    config.steps,
    config.evaluate_every_steps,
    config.save_every_steps,
  )
  if None in by_steps or not config.mesh:
    raise ValueError(
      "a run on several hosts needs mesh, steps, evaluate_every_steps and"
      " save_every_steps: their clocks differ."
    )


@dataclasses.dataclass
class _Marks:
  """What a run knows of itself beside its arrays; saved with every state."""

  minutes: float = 0.0
  warm_start: dict[str, Any] | None = None
  # Lowest held-out nats a note, and evaluations since then.
  best: float | None = None
  since_best: int = 0
  # Early stopping ended it.
  ended: bool = False


class _Run:
  """One session of a run."""

  def __init__(
    self,
    trainer: Trainer,
    held_out: Corpus | None,
    out: Path,
    store: RunStore,
    log: RunLog,
    marks: _Marks,
    on_progress: Callable[[Progress], None],
  ):
    self.trainer = trainer
    self.config = trainer.config
    self.held_out = held_out if held_out is not None and len(held_out) else None
    self.out = out
    self.store = store
    self.log = log
    self.marks = marks
    self.on_progress = on_progress
    self.evaluation: Evaluation | None = None
    self.prompted: Evaluation | None = None
    # Step of the last evaluation.
    self.scored_at = -1
    self.samples: SampleMaker | None = None
    if self.held_out is not None and self.config.sample_s:
      self.samples = SampleMaker(
        trainer.codec, self.held_out, self.config.sample_s, out / "samples"
      )
    self.clock = RunClock(
      steps=self.config.steps,
      minutes=self.config.minutes,
      earlier_min=marks.minutes,
      clock=CLOCKS[self.config.clock],
    )
    self.first_step = trainer.step
    self.recent: list[jax.Array] = []
    self.notes_at = self.clock.started_s
    self.last_report = self.clock.started_s

  def fraction(self) -> float:
    """How much of the run is done."""
    return self.clock.fraction(self.trainer.step)

  def go(
    self, session_minutes: float | None, should_stop: Callable[[], bool]
  ) -> Evaluation | None:
    """Trains to the end, or until it is to stop."""
    if self.marks.ended:
      return None
    config, trainer = self.config, self.trainer
    last_save = last_score = self.clock.started_s
    while self.fraction() < 1.0:
      if should_stop():
        self.save(finished=False)
        return self.evaluation
      self.recent.append(trainer.train_step(self.fraction()))
      step = trainer.step
      reported = step % REPORT_STEPS == 0
      if reported:
        self.report()
      now = self.clock.now_s
      gained = False
      if _due(
        step,
        config.evaluate_every_steps,
        reported and now - last_score > 60 * config.evaluate_every_min,
      ):
        gained = self.score()
        last_score = self.clock.now_s
        if 0 < config.early_stopping <= self.marks.since_best:
          return self.end_early()
      if (gained and config.keep_best) or _due(
        step,
        config.save_every_steps,
        reported and now - last_save > 60 * config.save_every_min,
      ):
        self.save(finished=False)
        last_save = self.clock.now_s
      if (
        reported
        and session_minutes is not None
        and self.clock.session_min >= session_minutes
      ):
        self.save(finished=False)
        return self.evaluation
    if trainer.step > self.first_step or not self.exported.exists():
      if self.scored_at != trainer.step:
        self.score()
      if self.config.early_stopping and self.marks.since_best:
        return self.end_early()
      self.save(finished=True)
    return self.evaluation

  @property
  def exported(self) -> Path:
    """The checkpoint that `generate` loads."""
    return self.out / "checkpoint"

  def report(self) -> None:
    """Logs the last steps, and tells of them twice a second."""
    levels = np.mean([np.asarray(nats) for nats in self.recent], axis=0)
    self.recent.clear()
    trainer, now = self.trainer, self.clock.now_s
    pace = trainer.notes / max(1e-9, now - self.notes_at)
    trainer.notes, self.notes_at = 0, now
    fraction = min(1.0, self.fraction())
    rate = learning_rate(self.config, trainer.step, fraction)
    self.log.training(trainer.step, self.clock.minutes, levels, rate, pace)
    if now - self.last_report <= 0.5:
      return
    self.last_report = now
    self.on_progress(
      Progress(
        step=trainer.step,
        fraction=fraction,
        minutes=self.clock.minutes,
        nats=float(levels.sum()),
        held_out=self.evaluation.nats_per_note if self.evaluation else None,
        notes_per_s=pace,
      )
    )

  def score(self) -> bool:
    """Scores and logs, plays a sample.

    Returns:
      Whether it is the best so far.
    """
    if self.held_out is None:
      return False
    evaluation = self.evaluate(self.held_out)
    step = self.trainer.step
    self.log.held_out(step, self.clock.minutes, evaluation, self.prompted)
    if self.samples is not None and jax.process_index() == 0:
      model = self.trainer.current_model()
      self.log.sample(step, self.samples.render(model, step))
    found, marks = evaluation.nats_per_note, self.marks
    gained = marks.best is None or found < marks.best
    marks.best = found if gained else marks.best
    marks.since_best = 0 if gained else marks.since_best + 1
    return gained

  def evaluate(self, held_out: Corpus) -> Evaluation:
    """Scores without style, and beside that with it."""
    trainer = self.trainer
    score = functools.partial(
      evaluate,
      trainer.current_model(),
      trainer.codec,
      held_out,
      windows=self.config.held_out_windows,
      # What is longer than it has learned to hear would be held against it.
      context_s=min(10.0, self.config.context_s),
    )
    scored = score()
    if trainer.style is not None:
      self.prompted = score(style=trainer.style)
    self.evaluation, self.scored_at = scored, trainer.step
    return scored

  def end_early(self) -> Evaluation | None:
    """Ends with the weights of the best evaluation as the checkpoint."""
    self.marks.ended = True
    self.keep_state()
    self.store.wait()
    best = self.store.best
    assert best is not None and self.held_out is not None
    self.trainer.restore(self.store, best)
    self.evaluate(self.held_out)
    self.export(finished=True)
    return self.evaluation

  def save(self, finished: bool) -> None:
    """Writes the state, the checkpoint and the loss curve."""
    self.keep_state()
    self.export(finished)

  def keep_state(self) -> None:
    """Hands the state to the store, which writes on in the background."""
    trainer = self.trainer
    scored = self.evaluation if self.scored_at == trainer.step else None
    marks = dataclasses.replace(self.marks, minutes=self.clock.minutes)
    trainer.save(
      self.store,
      marks=dataclasses.asdict(marks),
      held_out=scored.nats_per_note if scored else None,
    )

  def export(self, finished: bool) -> None:
    """Writes the checkpoint and the loss curve."""
    trainer, codec = self.trainer, self.trainer.codec
    # All hosts gather the weights; one writes.
    model = trainer.current_model()
    if jax.process_index() != 0:
      return
    figures: dict[str, Any] = dict(
      held_out=self.evaluation.figures() if self.evaluation else {}
    )
    if self.prompted is not None:
      figures["held_out_prompted"] = self.prompted.figures()
    if self.marks.warm_start is not None:
      figures["warm_start"] = self.marks.warm_start
    try:
      save_checkpoint(
        self.exported,
        model,
        codec=dict(name=codec.name, settings=dataclasses.asdict(codec.config)),
        storage=self.config.storage,
        style=None if trainer.style is None else trainer.style.entry,
        notes=dict(
          step=trainer.step,
          minutes=round(self.clock.minutes, 2),
          finished=finished,
          target_s=self.config.target_s,
          capped_share=trainer.stream.capped / max(1, trainer.stream.cut),
          **figures,
        ),
      )
      self.log.plot(self.out / "loss.png")
    except OSError as error:
      if error.filename is not None or error.errno is None:
        raise
      # A full disk says no more than that.
      raise OSError(error.errno, error.strerror, str(self.out)) from error


def _due(step: int, every: int | None, by_clock: bool) -> bool:
  """Whether a step is one of every so many; without, what the clock says."""
  return by_clock if every is None else step % every == 0
