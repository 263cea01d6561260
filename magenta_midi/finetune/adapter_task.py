"""Adapter task: held-out figures before, during and after fine-tuning.

The first evaluation is of what the run starts from. The factors kept are those
of the best one: if nothing was gained, the adapter changes nothing, or no more
than the one that it continues.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.data.recordings import Split
from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.finetune.estimate import (
  SCORED_WINDOWS,
  ScoringTimes,
  estimated_minutes,
  evaluations_that_fit,
)
from magenta_midi.finetune.forgetting import divergence
from magenta_midi.finetune.offload import on_device
from magenta_midi.finetune.results import (
  Base,
  Finetuned,
  FinetuneProgress,
  Stage,
)
from magenta_midi.finetune.trainer import AdapterTrainer
from magenta_midi.midi.analysis.played_groove import (
  PlayedGroove,
  measure_groove,
)
from magenta_midi.model.lora.adapter_file import (
  SUFFIX,
  Adapter,
  PlayerStyle,
  write_adapter,
)
from magenta_midi.model.lora.lora import Factors, parameter_count
from magenta_midi.train.plots import plot_finetune
from magenta_midi.train.run import HELD_OUT, RunProgress, TrainingRun

__all__ = ["AdapterTask", "Judged", "LearnStyle"]

# Most pieces that a groove is measured from.
_GROOVE_PIECES = 60


@runtime_checkable
class LearnStyle(Protocol):
  """The function that learns a player's style; see `finetune`."""

  def __call__(
    self, style: PlayerStyle | None, /, *, on_fraction: Callable[[float], None]
  ) -> PlayerStyle | None:
    """Gives the player's style."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
  """Music on which forgetting is measured."""

  # Other music; None: none.
  general: Corpus | None
  # Self-samples of the base; None or empty: none.
  self_samples: Corpus | None

  @property
  def windows(self) -> float:
    """Windows of 2 s that are scored after training."""
    corpora = (self.general, self.self_samples)
    # Before and after.
    return 2 * sum(
      min(SCORED_WINDOWS, corpus.lengths_ms.sum() / 2000)
      for corpus in corpora
      if corpus is not None
    )


class AdapterTask:
  """Trains an adapter's factors, and writes the adapter.

  Args:
    trainer: Base, factors, optimizer and data.
    base: The model that is adapted.
    split: Music to train on, and music to evaluate on.
    name: The adapter's.
    out: The run's folder.
    on_progress: Called at least twice a second.
    judged: Music on which forgetting is measured.
    learn_style: Learns the player's style after training; see `finetune`.
    start_style: The style of the adapter that is continued; None: none.
    style_windows: Work of `learn_style`, in windows of 2 s scored.
    facts: What else the adapter's figures say.

  Attributes:
    result: The adapter and its figures; None: the run has not ended.
  """

  run: TrainingRun

  def __init__(
    self,
    trainer: AdapterTrainer,
    base: Base,
    split: Split,
    name: str,
    out: Path,
    on_progress: Callable[[FinetuneProgress], None],
    *,
    judged: Judged,
    learn_style: LearnStyle,
    start_style: PlayerStyle | None = None,
    style_windows: float = 0.0,
    facts: dict[str, Any],
  ):
    self.trainer = trainer
    self.config = trainer.config
    self.base = base
    self.split = split
    self.name = name
    self.out = out
    self.on_progress = on_progress
    self.judged = judged
    self.learn_style = learn_style
    self.start_style = start_style
    self.style_windows = style_windows
    self.facts = facts
    self.result: Finetuned | None = None
    self.before: Evaluation | None = None
    self._estimate_min: float | None = None
    self._nats: float | None = None
    self._times = ScoringTimes()
    self._shown_s = -np.inf

  @property
  def exported(self) -> bool:
    """Never: an ended run gives its result each time it is asked for."""
    return False

  def begin(self, run: TrainingRun) -> None:
    """Scores what the run starts from, and estimates its length."""
    self.run, marks = run, run.marks
    config, step = self.config, self.trainer.step
    every = config.evaluate_every_steps
    if run.resumed and every is not None and step % every == 0:
      # States of earlier versions do not say it.
      marks.evaluated_at = step
    self._show("scoring before", 0.0, always=True)
    score = functools.partial(
      self._score, self.split.held_out, self.trainer.start
    )
    if "before" in marks.facts:
      self.before = _evaluation(marks.facts["before"])
    else:
      self.before = score(stage="scoring before")
      marks.facts["before"] = dataclasses.asdict(self.before)
    if marks.best is None:
      some = score(windows=config.held_out_windows, stage="scoring before")
      marks.best = marks.last = some.nats_per_note
      marks.evaluated_at = step
      run.log.evaluation(step, marks.minutes, {HELD_OUT: some.figures()})
      # Windows of 2 s.
      held_out = float(self.before.seconds.sum() / 2)
      marks.evaluations = evaluations_that_fit(config, self._times, held_out)
      self._estimate_min = estimated_minutes(
        config,
        self._times,
        held_out,
        windows_after=self.style_windows + self.judged.windows,
        earlier_min=run.total_minutes,
      )
    self._show("training", run.fraction, always=True)

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Scores held-out windows; keeps the factors if they are the best."""
    found = self._score(
      self.split.held_out,
      self.trainer.factors,
      windows=self.config.held_out_windows,
    )
    best = self.run.marks.best
    assert best is not None
    if found.nats_per_note < best:
      self.trainer.keep_as_best()
    return {HELD_OUT: found.figures()}

  def report(self, progress: RunProgress) -> None:
    """Shows how far training is."""
    if progress.levels is not None:
      self._nats = float(progress.levels.sum())
    self._show("training", progress.fraction)

  def export(self, *, finished: bool) -> None:
    """At the end: learns the style, scores the best factors, writes all."""
    if not finished:
      return
    with on_device(self.base.model, wanted=self.config.quantize != "none"):
      style = self.learn_style(
        self.start_style,
        on_fraction=lambda fraction: self._show(
          "learning the style", fraction, always=True
        ),
      )
    self.result = self._finish(style)

  def _show(
    self, stage: Stage, fraction: float, *, always: bool = False
  ) -> None:
    """Reports, twice a second at most."""
    now = self.run.clock.now_s
    if not always and now - self._shown_s < 0.5:
      return
    self._shown_s = now
    self.on_progress(
      FinetuneProgress(
        stage=stage,
        fraction=min(1.0, fraction),
        step=self.trainer.step,
        minutes=self.run.total_minutes,
        estimate_min=self._estimate_min,
        nats=self._nats,
        before=None if self.before is None else self.before.nats_per_note,
        held_out=self.run.marks.best,
      )
    )

  def _score(
    self,
    corpus: Corpus,
    factors: Factors | None,
    *,
    windows: int | None = None,
    stage: Stage = "training",
  ) -> Evaluation:
    """Scores factors on a corpus: at most an hour, or so many windows."""
    clock = self.run.clock
    self._times.add(clock.now_s, 0)

    def on_window(done: int, total: int) -> None:
      self._times.add(clock.now_s, done)
      training = stage == "training"
      self._show(stage, self.run.fraction if training else done / total)

    return evaluate(
      self.trainer.adapted(factors),
      self.base.codec,
      corpus,
      windows=SCORED_WINDOWS if windows is None else windows,
      on_window=on_window,
    )

  def _groove(self) -> PlayedGroove | None:
    """Of the recordings; of a large corpus, of its first pieces."""
    corpus = self.split.train
    pieces = (unpack_piece(corpus.piece(i)) for i in range(len(corpus)))
    return measure_groove(itertools.islice(pieces, _GROOVE_PIECES))

  def _finish(self, style: PlayerStyle | None) -> Finetuned:
    """Scores the best factors and writes the adapter."""
    trainer, before = self.trainer, self.before
    assert before is not None
    best = trainer.best
    self._show("scoring after", 0.0, always=True)
    after = self._score(self.split.held_out, best, stage="scoring after")
    general, samples = self.judged.general, self.judged.self_samples
    general_before = general_after = drift = None
    if general is not None and len(general):
      general_before, general_after = (
        self._score(general, factors, stage="scoring after")
        for factors in (trainer.start, best)
      )
    if samples is not None and len(samples):
      drift = divergence(
        trainer.adapted(trainer.start),
        trainer.adapted(best),
        self.base.codec,
        samples,
        on_window=lambda done, total: self._show("scoring after", done / total),
      )
    difference = Comparison(after, before)
    facts = self.facts
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
      best_step=self.run.marks.best_step,
      minutes=round(self.run.total_minutes, 2),
      train_notes=self.split.train.notes,
      train_titles=len(self.split.train_titles),
      held_out_titles=len(self.split.held_out_titles),
      held_out_by_time=self.split.by_time,
      **facts,
    )
    adapter = Adapter(
      name=self.name,
      factors=jax.tree.map(np.asarray, best),
      config=self.config.lora,
      base=self.base.name,
      base_sha256=self.base.sha256,
      codec=self.base.codec_entry,
      style=style,
      groove=self._groove(),
      figures=figures,
    )
    path = self.out / (self.name + SUFFIX)
    write_adapter(path, adapter)
    plot_finetune(self.run.log.path, self.out / "loss.png")
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
      minutes=self.run.total_minutes,
    )


def _evaluation(stored: dict[str, Any]) -> Evaluation:
  """An evaluation as a state has it."""
  return Evaluation(
    stored["nats"],
    stored["notes"],
    stored["seconds"],
    tuple(stored["names"]),
    tuple(stored["titles"]),
  )
