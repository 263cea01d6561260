"""Base training: corpora in, a checkpoint and a loss curve out.

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

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.evaluation.model_sizes import model_sizes, watched_batch
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  save_checkpoint,
)
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.guard import WentBack
from magenta_midi.train.optimizers import learning_rate
from magenta_midi.train.run import (
  HELD_OUT,
  RunProgress,
  TrainingRun,
  held_folder,
)
from magenta_midi.train.run_clock import RunSchedule
from magenta_midi.train.run_settings import (
  RUN,
  TrainConfig,
  as_begun,
  check_init_from,
  check_settings,
  has_state,
  model_config,
  settings_json,
  style_rows,
)
from magenta_midi.train.samples import SampleMaker
from magenta_midi.train.sharding import HostRows
from magenta_midi.train.sources import BatchSource
from magenta_midi.train.trainer import Trainer
from magenta_midi.train.warm_start import WarmStart

__all__ = [
  "BaseTraining",
  "Progress",
  "TrainConfig",
  "Trainer",
  "as_begun",
  "check_init_from",
  "check_settings",
  "learning_rate",
  "model_config",
  "style_rows",
  "train",
]


@dataclasses.dataclass(frozen=True)
class Progress:
  """Progress of a run."""

  step: int
  fraction: float  # of the run, 0..1
  minutes: float
  nats: float  # training nats an event, over the last steps
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
  on_going_back: Callable[[WentBack], None] = lambda done: None,
  session_minutes: float | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
  """Trains, or continues the run in `out`.

  Args:
    config: Settings; those of a run that is continued must be the same, but
      for defaults that have changed since.
    codec: The codec to train for.
    corpora: What to train on.
    shares: Share of examples from each corpus.
    held_out: Pieces that are evaluated on the way; None: none.
    out: The run's folder.
    style: The run's `style_rows`; None: made here.
    open_source: Gives the batches in place of the corpora; see `Trainer`.
    on_progress: Called at least twice a second, once something is logged.
    on_warm_start: Called with what a new run took from `init_from`.
    on_going_back: Called when the guard went back to earlier weights.
    session_minutes: Saves and stops after this time; None: at the end.
    should_stop: Asked before every step; True saves and stops.

  Returns:
    The last held-out figures, or with early stopping the best; None: nothing
    was left to do, or nothing is held out.

  Raises:
    ValueError: `out` holds a run with other settings (names them), of an
      earlier version, or beyond `steps`; or another process is at work there.
    OSError: Something cannot be written; the state before is whole.
  """
  config = as_begun(config, out)
  check_settings(config, codec, out)
  _check_hosts(config)
  with held_folder(out):
    if not has_state(out):
      write_atomically(out / RUN, settings_json(config, codec) + "\n")
    trainer = Trainer(config, codec, corpora, shares, style, open_source)
    task = BaseTraining(trainer, held_out, out, on_progress, on_warm_start)
    schedule = RunSchedule(
      steps=config.steps,
      minutes=config.minutes,
      clock=config.clock,
      evaluate_every_steps=config.evaluate_every_steps,
      evaluate_every_min=config.evaluate_every_min,
      save_every_steps=config.save_every_steps,
      save_every_min=config.save_every_min,
      early_stopping=config.early_stopping,
      keep_best=config.keep_best,
      end_at_best=config.early_stopping > 0,
      guard=config.guard,
      guard_from_step=config.warmup_steps,
    )
    run = TrainingRun(
      task,
      schedule,
      out,
      codec.vocabulary.level_names,
      writes=jax.process_index() == 0,
      on_going_back=on_going_back,
    )
    with contextlib.closing(trainer):
      run.go(should_stop=should_stop, session_minutes=session_minutes)
    return task.evaluation


def _check_hosts(config: TrainConfig) -> None:
  """Refuses a run of several hosts that a clock would decide for.

  Raises:
    ValueError: It names the settings that are missing.
  """
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


class BaseTraining:
  """The task of a base model's run.

  Args:
    trainer: Model, optimizer and data.
    held_out: Pieces that are evaluated; None or empty: none.
    out: The run's folder.
    on_progress: See `train`.
    on_warm_start: See `train`.

  Attributes:
    evaluation: The last one, without style; None: none in this session.
  """

  def __init__(
    self,
    trainer: Trainer,
    held_out: Corpus | None,
    out: Path,
    on_progress: Callable[[Progress], None],
    on_warm_start: Callable[[WarmStart], None],
  ):
    self.trainer = trainer
    self.config = trainer.config
    self.held_out = held_out if held_out is not None and len(held_out) else None
    self.out = out
    self.on_progress = on_progress
    self.on_warm_start = on_warm_start
    self.evaluation: Evaluation | None = None
    # With style, of a run that has one.
    self._prompted: Evaluation | None = None
    # Music that attention is watched on; made when it is needed.
    self._watched: Batch | None = None
    self._samples: SampleMaker | None = None
    if self.held_out is not None and self.config.sample_s:
      self._samples = SampleMaker(
        trainer.codec, self.held_out, self.config.sample_s, out / "samples"
      )

  @property
  def exported(self) -> bool:
    """Whether there is a checkpoint."""
    return self._checkpoint.exists()

  @property
  def _checkpoint(self) -> Path:
    """Folder of the checkpoint that `generate` reads."""
    return self.out / "checkpoint"

  def begin(self, run: TrainingRun) -> None:
    """Copies the weights of `init_from` if the run is new."""
    self.run = run
    # The checkpoint's figures are not in a state.
    run.marks.evaluated_at = -1
    if not run.resumed and self.config.init_from is not None:
      start = self.trainer.start_from(
        StoredCheckpoint(Path(self.config.init_from))
      )
      self.on_warm_start(start)
      run.marks.facts["warm_start"] = start._asdict()

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Evaluates without style and, where the run has one, with it.

    It measures the model's sizes and plays a sample too.
    """
    if self.held_out is None:
      return {}
    trainer, step = self.trainer, self.trainer.step
    model = trainer.current_model()
    # The model has not learned longer contexts.
    context_s = min(10.0, self.config.context_s)
    score = functools.partial(
      evaluate,
      model,
      trainer.codec,
      self.held_out,
      windows=self.config.held_out_windows,
      context_s=context_s,
    )
    self.evaluation = score()
    rows = {HELD_OUT: self.evaluation.figures()}
    if trainer.style is not None:
      self._prompted = score(style=trainer.style)
      rows["held_out_prompted"] = self._prompted.figures()
    if self._watched is None:
      self._watched = watched_batch(trainer.codec, self.held_out, context_s)
    rows["sizes"] = model_sizes(model, self._watched)
    # The best state, which an ended run loads again, has its sample already.
    ended = self.run.marks.ended
    if self._samples is not None and jax.process_index() == 0 and not ended:
      self.run.log.sample(step, self._samples.render(model, step))
    return rows

  def report(self, progress: RunProgress) -> None:
    """Hands the figures on, once there are any."""
    if progress.levels is None:
      return
    self.on_progress(
      Progress(
        step=progress.step,
        fraction=progress.fraction,
        minutes=progress.minutes,
        nats=float(progress.levels.sum()),
        held_out=self.evaluation.nats_per_note if self.evaluation else None,
        notes_per_s=progress.notes_per_s,
      )
    )

  def export(self, *, finished: bool) -> None:
    """Writes the checkpoint and the loss curve."""
    trainer, codec = self.trainer, self.trainer.codec
    # All hosts gather the weights; one writes.
    model = trainer.current_model()
    if jax.process_index() != 0:
      return
    figures: dict[str, Any] = dict(
      held_out=self.evaluation.figures() if self.evaluation else {}
    )
    if self._prompted is not None:
      figures["held_out_prompted"] = self._prompted.figures()
    save_checkpoint(
      self._checkpoint,
      model,
      codec=dict(name=codec.name, settings=dataclasses.asdict(codec.config)),
      storage=self.config.storage,
      style=None if trainer.style is None else trainer.style.entry,
      notes=dict(
        step=trainer.step,
        minutes=round(self.run.clock.minutes, 2),
        finished=finished,
        target_s=self.config.target_s,
        capped_share=trainer.stream.capped / max(1, trainer.stream.cut),
        **figures,
        **self.run.marks.facts,
      ),
    )
    self.run.log.plot(self.out / "loss.png")
