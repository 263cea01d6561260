"""The course of a fine-tuning run: scored, trained, scored again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.takes import Split
from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.finetune.forgetting import divergence
from magenta_midi.finetune.results import (
  Base,
  Finetuned,
  FinetuneProgress,
  Stage,
)
from magenta_midi.finetune.trainer import AdapterTrainer
from magenta_midi.model.lora.adapter_file import (
  SUFFIX,
  Adapter,
  PlayerStyle,
  write_adapter,
)
from magenta_midi.model.lora.lora import Factors, parameter_count
from magenta_midi.train.optimizers import learning_rate
from magenta_midi.train.plots import plot_finetune
from magenta_midi.train.run_clock import RunClock
from magenta_midi.train.run_store import RunStore
from magenta_midi.train.watch import RunLog

__all__ = ["FinetuneRun", "Marks"]

# Steps between two lines of the log.
REPORT_STEPS = 10
# A step's work on an example, in forward passes over a held-out window: the
# backward pass, and targets twice as long.
STEP_COST = 4.0
# What is compiled after scoring began, by what scoring compiles.
COMPILED = 3.0
# Share of a run's minutes that scoring on the way may take.
EVALUATED_SHARE = 0.2
# Before and after, no more is scored, evenly spread: an hour of music.
SCORED_WINDOWS = 1800


@dataclasses.dataclass
class Marks:
  """What a run knows of itself beside its arrays; saved with every state."""

  minutes: float = 0.0
  # Lowest held-out nats a note on the way, and its step.
  best: float | None = None
  best_step: int = 0
  # Those of the last evaluation, and how many in a row were no lower than the
  # one before.
  last: float | None = None
  rises: int = 0
  # Evaluations done, and to be done in all, of a run that follows the clock.
  evaluated: int = 0
  evaluations: int = 0
  # No more steps are to be done.
  ended: bool = False


class FinetuneRun:
  """One session of a run.

  Attributes:
    marks: What is saved with every state; `ended` once no step is left.
  """

  def __init__(
    self,
    trainer: AdapterTrainer,
    base: Base,
    split: Split,
    store: RunStore,
    log: RunLog,
    marks: Marks,
    out: Path,
    on_progress: Callable[[FinetuneProgress], None],
    *,
    sampling_min: float = 0.0,
    windows_after: float = 0.0,
  ):
    """Begins a session.

    Args:
      trainer: Steps.
      base: What is adapted.
      split: What is learned from, and what is held out.
      store: Where states go.
      log: Where figures on the way go.
      marks: Of the last state.
      out: The run's folder.
      on_progress: Told how it stands.
      sampling_min: What went before it, minutes.
      windows_after: Work after training beside scoring what is held out again,
        in windows of 2 s scored.
    """
    self.trainer = trainer
    self.config = trainer.config
    self.base = base
    self.split = split
    self.store = store
    self.log = log
    self.marks = marks
    self.out = out
    self.on_progress = on_progress
    self.before: Evaluation | None = None
    self.estimate_min: float | None = None
    self.windows_after = windows_after
    self.clock = RunClock(
      steps=self.config.steps,
      minutes=self.config.minutes,
      earlier_min=marks.minutes,
    )
    self.last_shown = self.last_report = self.clock.started_s
    # Before training began, in this session.
    self.before_min = sampling_min
    # When each batch of windows was scored, and how many then were.
    self.batches: list[tuple[float, int]] = []
    self.recent: list[jax.Array] = []
    self.nats: float | None = None

  @property
  def minutes(self) -> float:
    """Of training in all sessions, and of all else in this one."""
    return self.before_min + self.clock.minutes

  def fraction(self) -> float:
    """How much of the training is done, by steps or by the clock."""
    return self.clock.fraction(self.trainer.step)

  def show(
    self, stage: Stage, fraction: float, *, always: bool = False
  ) -> None:
    """Tells how it stands, twice a second at most."""
    now = self.clock.now_s
    if not always and now - self.last_shown < 0.5:
      return
    self.last_shown = now
    self.on_progress(
      FinetuneProgress(
        stage=stage,
        fraction=min(1.0, fraction),
        step=self.trainer.step,
        minutes=self.minutes,
        estimate_min=self.estimate_min,
        nats=self.nats,
        before=None if self.before is None else self.before.nats_per_note,
        held_out=self.marks.best,
      )
    )

  def show_style(self, fraction: float) -> None:
    """Tells how much of the player's style is learned, 0..1."""
    self.show("learning the style", fraction, always=True)

  def score(
    self,
    corpus: Corpus,
    factors: Factors | None,
    *,
    windows: int | None = None,
    stage: Stage = "training",
  ) -> Evaluation:
    """Scores factors on a corpus: an hour, or so many windows, at most."""
    self.batches.append((self.clock.now_s, 0))

    def tell(done: int, total: int) -> None:
      self.batches.append((self.clock.now_s, done))
      self.show(stage, self.fraction() if stage == "training" else done / total)

    return evaluate(
      self.trainer.adapted(factors),
      self.base.codec,
      corpus,
      windows=SCORED_WINDOWS if windows is None else windows,
      on_window=tell,
    )

  def window_min(self) -> tuple[float, float]:
    """Minutes to score a window, and minutes that compiling took beside it.

    Of batches, the median: some compile.
    """
    took_s, windows = np.diff(np.array(self.batches), axis=0).T
    took_s, windows = took_s[windows > 0], windows[windows > 0]
    window_s = float(np.median(took_s / windows))
    compiling_s = float(np.maximum(took_s - window_s * windows, 0).sum())
    return window_s / 60, compiling_s / 60

  def score_before(self, known: Evaluation | None) -> None:
    """Scores what the run starts from, and estimates its length."""
    self.show("scoring before", 0.0, always=True)
    held_out, marks = self.split.held_out, self.marks
    self.before = known or self.score(
      held_out, self.trainer.start, stage="scoring before"
    )
    if marks.best is None:
      some = self.score(
        held_out,
        self.trainer.start,
        windows=self.config.held_out_windows,
        stage="scoring before",
      )
      marks.best = marks.last = some.nats_per_note
      self.log.held_out(self.trainer.step, marks.minutes, some)
      window_min, compiling_min = self.window_min()
      marks.evaluations = self._evaluations(window_min)
      self.estimate_min = self._estimate(window_min, compiling_min)
    self.show("training", self.fraction(), always=True)

  def _some_windows(self) -> float:
    """Windows scored at each evaluation on the way."""
    assert self.before is not None
    # As many windows of 2 s as there are.
    windows = self.before.seconds.sum() / 2
    return float(min(self.config.held_out_windows, windows))

  def _evaluations(self, window_min: float) -> int:
    """How often to evaluate on the way: a short run less often."""
    if self.config.minutes is None:
      return self.config.evaluations
    fit = (
      EVALUATED_SHARE
      * self.config.minutes
      / (self._some_windows() * window_min)
    )
    return max(1, min(self.config.evaluations, int(fit)))

  def _estimate(self, window_min: float, compiling_min: float) -> float:
    """Minutes of the whole run, from those of scoring a held-out window."""
    assert self.before is not None
    # Windows of 2 s, as many as are scored.
    held_out = self.before.seconds.sum() / 2
    after_min = (held_out + self.windows_after) * window_min
    before_min = self.minutes + COMPILED * compiling_min
    if self.config.minutes is not None:
      return float(before_min + self.config.minutes + after_min)
    assert self.config.steps is not None
    examples = self.config.frames_per_batch / 150
    training_min = self.config.steps * examples * STEP_COST * window_min
    on_the_way_min = self.config.evaluations * self._some_windows() * window_min
    return float(before_min + training_min + on_the_way_min + after_min)

  def train(self, should_stop: Callable[[], bool]) -> None:
    """Trains to the end, or until it is to stop; then not `ended`.

    Minutes are of training: a schedule that follows the clock begins with the
    first step, once that is compiled.
    """
    trainer, marks = self.trainer, self.marks
    self._begin_minutes()
    compiled = False
    last_save = self.clock.now_s
    while not marks.ended:
      if self.fraction() >= 1.0:
        self.end()
        return
      if should_stop():
        self.save()
        self.store.wait()
        return
      self.recent.append(trainer.train_step(self.fraction()))
      if not compiled:
        compiled = True
        jax.block_until_ready(self.recent[-1])
        self._begin_minutes()
      if trainer.step % REPORT_STEPS == 0:
        self.report()
      if self.evaluation_is_due():
        self.evaluate()
        last_save = self.clock.now_s
        if 0 < self.config.early_stopping <= marks.rises:
          self.end()
          return
        self.save()
      elif self.clock.now_s - last_save > 60 * self.config.save_every_min:
        # A state may be of any step, so it changes nothing of the run.
        self.save()
        last_save = self.clock.now_s
      self.show("training", self.fraction())

  def _begin_minutes(self) -> None:
    self.before_min += self.clock.session_min
    self.clock.start_again()
    self.last_report = self.clock.now_s

  def evaluation_is_due(self) -> bool:
    """By steps or by the clock."""
    every = self.config.evaluate_every_steps
    if every is not None:
      return self.trainer.step % every == 0
    # The last is done at the end.
    done = self.fraction()
    return done < 1 and done * self.marks.evaluations > self.marks.evaluated + 1

  def evaluate(self) -> None:
    """Scores held-out windows; the best factors are kept."""
    marks, trainer = self.marks, self.trainer
    found = self.score(
      self.split.held_out,
      trainer.factors,
      windows=self.config.held_out_windows,
    )
    self.log.held_out(trainer.step, self.clock.minutes, found)
    # A clock may be past several.
    marks.evaluated = max(
      marks.evaluated + 1, int(self.fraction() * marks.evaluations)
    )
    nats = found.nats_per_note
    assert marks.best is not None and marks.last is not None
    # Early on a run may lose what it gains as its rate falls: it goes on as
    # long as it falls, be it from above the best.
    if nats < marks.last:
      marks.rises = 0
    elif self.fraction() > max(self.config.unfreeze.values(), default=0.0):
      # Before all parts learn, a rise says nothing.
      marks.rises += 1
    marks.last = nats
    if nats < marks.best:
      marks.best, marks.best_step = nats, trainer.step
      trainer.keep_as_best()

  def end(self) -> None:
    """Scores the last step, if it was not, and saves."""
    every = self.config.evaluate_every_steps
    scored = every is not None and self.trainer.step % every == 0
    if not scored and self.trainer.step:
      self.evaluate()
    self.marks.ended = True
    self.save()
    self.store.wait()

  def report(self) -> None:
    """Logs the last steps."""
    levels = np.mean([np.asarray(nats) for nats in self.recent], axis=0)
    self.recent.clear()
    self.nats = float(levels.sum())
    trainer, now = self.trainer, self.clock.now_s
    pace = trainer.notes / max(1e-9, now - self.last_report)
    trainer.notes, self.last_report = 0, now
    rate = learning_rate(
      trainer.settings, trainer.step, min(1.0, self.fraction())
    )
    self.log.training(trainer.step, self.clock.minutes, levels, rate, pace)

  def save(self) -> None:
    """Hands the state to the store, which writes on in the background."""
    assert self.before is not None
    marks = dataclasses.replace(self.marks, minutes=self.clock.minutes)
    self.trainer.save(
      self.store,
      marks=dataclasses.asdict(marks),
      before=dataclasses.asdict(self.before),
    )

  def finish(
    self,
    name: str,
    *,
    general: Corpus | None,
    own: Corpus | None,
    style: PlayerStyle | None,
    facts: dict[str, Any],
  ) -> Finetuned:
    """Scores the best factors and writes the adapter.

    Args:
      name: The adapter's.
      general: Other music; None: none.
      own: What the model that it starts from plays by itself; None: not known.
      style: The player's style; None: none.
      facts: What else its figures are to say.
    """
    trainer, before = self.trainer, self.before
    assert before is not None
    best = trainer.best
    self.show("scoring after", 0.0, always=True)
    after = self.score(self.split.held_out, best, stage="scoring after")
    general_before = general_after = drift = None
    if general is not None and len(general):
      general_before, general_after = (
        self.score(general, factors, stage="scoring after")
        for factors in (trainer.start, best)
      )
    if own is not None and len(own):
      drift = divergence(
        trainer.adapted(trainer.start),
        trainer.adapted(best),
        self.base.codec,
        own,
        on_window=lambda done, total: self.show("scoring after", done / total),
      )
    difference = Comparison(after, before)
    if self.config.quantize != "none":
      facts = facts | dict(
        quantize=self.config.quantize, base_bytes=trainer.base_bytes
      )
    figures = dict(
      nats_per_note_before=before.nats_per_note,
      nats_per_note_after=after.nats_per_note,
      difference=difference.nats_per_note,
      difference_ci95=list(difference.interval),
      general_before=general_before and general_before.nats_per_note,
      general_after=general_after and general_after.nats_per_note,
      kl_on_own_music=drift and drift.figures(),
      steps=trainer.step,
      best_step=self.marks.best_step,
      minutes=round(self.minutes, 2),
      train_notes=self.split.train.notes,
      train_titles=len(self.split.train_titles),
      held_out_titles=len(self.split.held_out_titles),
      held_out_by_time=self.split.by_time,
      **facts,
    )
    adapter = Adapter(
      name=name,
      factors=jax.tree.map(np.asarray, best),
      config=self.config.lora,
      base=self.base.name,
      base_sha256=self.base.sha256,
      codec=self.base.codec_entry,
      style=style,
      figures=figures,
    )
    path = self.out / (name + SUFFIX)
    write_adapter(path, adapter)
    plot_finetune(self.log.path, self.out / "loss.png")
    trainable = parameter_count(best)
    return Finetuned(
      adapter=adapter,
      path=path,
      before=before,
      after=after,
      general_before=general_before,
      general_after=general_after,
      drift=drift,
      trainable_parameters=trainable,
      total_parameters=trainable + trainer.base_parameters,
      quantize=self.config.quantize,
      base_bytes=trainer.base_bytes,
      steps=trainer.step,
      minutes=self.minutes,
    )
