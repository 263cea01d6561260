"""Training of MidiCoCa: batches in, a folder with both towers out.

A run is a folder: `state/` (what it continues from), `log.jsonl`,
`tensorboard/` and `midicoca/`, which the style model loads. A killed run
continues from its last state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.model.depthformer import Depthformer
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.quantizer import Quantizer, level_cosines
from magenta_midi.style.text.captions import caption
from magenta_midi.train.run import RunProgress, TrainingRun, held_folder
from magenta_midi.train.run_clock import RunSchedule
from magenta_midi.train.run_settings import OLD_STATE, STATE
from magenta_midi.train.style.data import CocaStream, Window
from magenta_midi.train.style.losses import CocaLosses
from magenta_midi.train.style.recall import embed_windows, recall
from magenta_midi.train.style.trainers import (
  CocaConfig,
  CocaTrainer,
  TextTrainer,
)

__all__ = ["CocaConfig", "CocaTrainer", "train_coca"]

OUT = "midicoca"
# Steps between two lines of the log.
_LOG_STEPS = 10


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
  """Trains, or continues the run in `out`.

  Args:
    config: Settings.
    stream: Batches.
    held_out: Windows by which the model is evaluated.
    out: The run's folder.
    start: A Depthformer whose encoder the MIDI tower starts from.
    earlier: A MidiCoCa's folder, whose towers are trained further.
    on_progress: Called every ten steps.
    should_stop: Asked before every step of both towers; True saves and stops.

  Returns:
    The style model, which is written too; None: it was stopped.

  Raises:
    ValueError: An earlier version began the run, or another process is at work
      in `out`.
    OSError: Something cannot be written.
  """
  if (out / OLD_STATE).is_file() and not (out / STATE).is_dir():
    raise ValueError(
      f"{out}: its state ({OLD_STATE}) is of an earlier version. Give --out a"
      " new folder."
    )
  with held_folder(out):
    trainer = CocaTrainer(config, stream, start, earlier)
    minutes = 0.0
    steps = None if config.steps is None else config.steps[0]
    if config.minutes if steps is None else steps:
      run = TrainingRun(
        CocaTask(trainer, held_out, on_progress),
        RunSchedule(
          steps=steps,
          minutes=config.minutes,
          log_every_steps=_LOG_STEPS,
          evaluate_every_min=config.save_every_min,
        ),
        out,
        CocaLosses._fields,
      )
      if not run.go(should_stop=should_stop):
        return None
      minutes = run.marks.minutes
    quantizer = None
    if earlier is not None and not trainer.step:
      quantizer = MidiCoCa.load(earlier).quantizer
    return _finished(trainer, held_out, out, on_progress, minutes, quantizer)


class CocaTask:
  """The task of training both towers.

  Args:
    trainer: Towers, optimizer and data.
    held_out: Windows by which the model is evaluated.
    on_progress: See `train_coca`.
  """

  # The code after the run writes the style model.
  exported = True

  def __init__(
    self,
    trainer: CocaTrainer,
    held_out: Sequence[Window],
    on_progress: Callable[[dict[str, Any]], None],
  ):
    self.trainer = trainer
    self.held_out = held_out
    self.on_progress = on_progress
    self._recall: dict[str, Any] = {}

  def begin(self, run: TrainingRun) -> None:
    """Does nothing: the first step needs nothing."""

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """How often a caption finds its music, and back."""
    if not len(self.held_out):
      return {}
    found = recall(self.trainer.style_model(), self.held_out)
    self._recall = dict(recall=found)
    return self._recall

  def report(self, progress: RunProgress) -> None:
    """Hands the figures of a log line on."""
    if progress.logged and progress.levels is not None:
      losses = [round(float(x), 4) for x in progress.levels]
      minutes = round(progress.minutes, 3)
      facts = dict(step=progress.step, minutes=minutes, losses=losses)
      self.on_progress(facts | self._recall)
      self._recall = {}

  def export(self, *, finished: bool) -> None:
    """Does nothing: see `exported`."""


class TextTask:
  """The task of training the text tower alone.

  Args:
    trainer: Text tower, optimizer and data.
    on_progress: See `train_coca`.
  """

  exported = True

  def __init__(
    self,
    trainer: TextTrainer,
    on_progress: Callable[[dict[str, Any]], None],
  ):
    self.trainer = trainer
    self.on_progress = on_progress

  def begin(self, run: TrainingRun) -> None:
    """Does nothing: the first step needs nothing."""

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Nothing is held out."""
    return {}

  def report(self, progress: RunProgress) -> None:
    """Hands the figures of a log line on."""
    if progress.logged and progress.levels is not None:
      losses = [round(float(x), 4) for x in progress.levels]
      done = round(progress.fraction, 3)
      self.on_progress(dict(text_step=progress.step, done=done, losses=losses))

  def export(self, *, finished: bool) -> None:
    """Does nothing: the tower is put back into the model."""


def _train_text(
  trainer: CocaTrainer,
  windows: list[Window],
  music: np.ndarray,
  out: Path,
  on_progress: Callable[[dict[str, Any]], None],
) -> None:
  """Trains the text tower further; a killed run does this part again."""
  config = trainer.config
  steps = None if config.steps is None else config.steps[1]
  if config.text_minutes if steps is None else steps:
    text = TextTrainer(trainer, windows, music)
    TrainingRun(
      TextTask(text, on_progress),
      RunSchedule(
        steps=steps, minutes=config.text_minutes, log_every_steps=_LOG_STEPS
      ),
      out,
      # Parts of `losses.match`.
      ("contrastive", "neutral", "opposite", "hits"),
      stores=False,
      writes=False,
    ).go()
    text.finish()


def _finished(
  trainer: CocaTrainer,
  held_out: Sequence[Window],
  out: Path,
  on_progress: Callable[[dict[str, Any]], None],
  minutes: float,
  quantizer: Quantizer | None = None,
) -> MidiCoCa:
  """Trains the text tower alone, fits a quantizer, and writes the model."""
  windows = trainer.stream.bank()
  music = embed_windows(trainer.style_model(), windows)
  _train_text(trainer, windows, music, out, on_progress)
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
    minutes=round(minutes, 1),
    recall=recall(model, held_out),
    cosine_by_level=[round(x, 4) for x in level_cosines(quantizer, held)],
  )
  model.save(out / OUT)
  return model
