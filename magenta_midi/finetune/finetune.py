"""Fine-tuning on the recordings of a player: base and music in, adapter out.

A run is a folder: `run.json` (settings), `state/` (what it continues from),
`continuations/` (what the model played by itself before), `log.jsonl`,
`loss.png`, `tensorboard/` and, at the end, `NAME.safetensors`. A killed run
continues from its last whole state; with `steps` given, it ends where an
unbroken one would, to the bit.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.recordings import Split, corpus_digest
from magenta_midi.finetune.adapter_task import AdapterTask, Judged, LearnStyle
from magenta_midi.finetune.config import FinetuneConfig, begin_run
from magenta_midi.finetune.mixture import ITSELF, mix, without_pieces
from magenta_midi.finetune.offload import on_host
from magenta_midi.finetune.player_style import LEARNING_WINDOWS
from magenta_midi.finetune.results import (
  Base,
  Finetuned,
  FinetuneProgress,
)
from magenta_midi.finetune.self_samples import (
  Numbers,
  draw_self_samples,
  number_pieces,
  read_self_samples,
)
from magenta_midi.finetune.trainer import AdapterTrainer, check_run
from magenta_midi.model.lora.adapter_file import (
  Adapter,
  PlayerStyle,
  check_base,
  check_name,
)
from magenta_midi.model.lora.lora import Factors, merge_factors
from magenta_midi.train.run import TrainingRun, held_folder, named_errors
from magenta_midi.train.run_clock import RunSchedule

__all__ = [
  "Base",
  "FinetuneProgress",
  "Finetuned",
  "factors_digest",
  "finetune",
  "finetune_folder",
]

# Folder, in a run's, of what the model plays by itself.
CONTINUATIONS = "continuations"


def _keep(
  style: PlayerStyle | None, *, on_fraction: Callable[[float], None]
) -> PlayerStyle | None:
  return style


def finetune(
  config: FinetuneConfig,
  base: Base,
  split: Split,
  name: str,
  out: Path,
  *,
  general: Corpus | None = None,
  rehearsal: Corpus | Literal["itself"] | None = None,
  start: Adapter | None = None,
  learn_style: LearnStyle = _keep,
  on_progress: Callable[[FinetuneProgress], None] = lambda progress: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> Finetuned | None:
  """Fine-tunes, or continues the run in `out`.

  Args:
    config: Settings.
    base: The model to adapt.
    split: Music to train on, and music to evaluate on.
    name: The adapter's.
    out: The run's folder.
    general: Other music, by which forgetting is measured; None: it is measured
      by what the model plays by itself.
    rehearsal: Other music to train on beside the recordings, so that it is not
      forgotten; its pieces that are held out are left out. `ITSELF`: what the
      model plays by itself before training, as the base or as `start`.
    start: An adapter of the same base, rank and targets to train further.
    learn_style: Called at the end with the style of `start`, or None, and with
      `on_fraction`, which it calls with the part that is done, 0..1. It gives
      the player's style, which is stored in the adapter.
    on_progress: Called at least twice a second.
    should_stop: Asked before every step; True saves and stops.

  Returns:
    None if it was stopped.

  Raises:
    ValueError: The name, the settings, `start` or the run in `out` do not fit,
      or another process is at work there.
    OSError: Something cannot be written; the state before is whole.
  """
  check_name(name)
  if start is not None:
    _check_start(start, base, config)
  from_factors = None if start is None else start.factors
  check_run(config, base.model, base.codec, from_factors)
  numbers = number_pieces(
    config.continuations_s,
    judge=general is None,
    rehearse=rehearsal == ITSELF,
  )
  began_s = time.monotonic()
  facts = dict(
    name=name,
    base=base.sha256,
    takes=split.digest,
    rehearsal=corpus_digest(rehearsal)
    if isinstance(rehearsal, Corpus)
    else rehearsal,
    start=None if start is None else factors_digest(start.factors),
  )
  with held_folder(out):
    with named_errors(out):
      begin_run(out, config, facts)
      if not _sample(
        config, base, start, out, numbers, on_progress, should_stop
      ):
        return None
    judged = read_self_samples(out / CONTINUATIONS, numbers.judged)
    rehearsed = None
    if isinstance(rehearsal, Corpus):
      # Older recordings may be among the new ones.
      rehearsed = without_pieces(rehearsal, split.held_out)
    elif rehearsal == ITSELF:
      rehearsed = read_self_samples(out / CONTINUATIONS, numbers.learned)
    with on_host(base.model, wanted=config.quantize != "none"):
      trainer = AdapterTrainer(
        config,
        base.model,
        base.codec,
        mix(split, config.tempos, rehearsed, config.rehearsal_share),
        from_factors,
      )
      task = AdapterTask(
        trainer,
        base,
        split,
        name,
        out,
        on_progress,
        judged=Judged(general=general, self_samples=judged),
        learn_style=learn_style,
        start_style=None if start is None else start.style,
        style_windows=0.0 if learn_style is _keep else float(LEARNING_WINDOWS),
        facts=_figures(config, rehearsed, rehearsal, start),
      )
      run = TrainingRun(
        task,
        schedule(config),
        out,
        base.codec.vocabulary.level_names,
        earlier_min=(time.monotonic() - began_s) / 60,
      )
      run.go(should_stop=should_stop)
    return task.result


def schedule(config: FinetuneConfig) -> RunSchedule:
  """When a fine-tuning run evaluates, saves and ends."""
  return RunSchedule(
    steps=config.steps,
    minutes=config.minutes,
    log_every_steps=10,
    evaluate_every_steps=config.evaluate_every_steps,
    save_every_min=config.save_every_min,
    early_stopping=config.early_stopping,
    stall="no gain",
    # Before all parts learn, an evaluation says nothing of the end.
    no_stall_until=max(config.unfreeze.values(), default=0.0),
    skip_compiling=True,
  )


def factors_digest(factors: Factors) -> str:
  """SHA-256 of an adapter's factors, in hexadecimal digits."""
  digest = hashlib.sha256()
  for name, pair in sorted(factors.items()):
    for array in pair:
      digest.update(f"{name} {array.shape}\n".encode())
      digest.update(np.ascontiguousarray(array, np.float32).tobytes())
  return digest.hexdigest()


def finetune_folder(name: str, start: Adapter | None = None) -> Path:
  """Default folder of a fine-tuning run.

  Args:
    name: The adapter's.
    start: The adapter that is trained further. Its factors are part of the
      name: once it is replaced, the next run has another folder.

  Raises:
    AdapterError: The name is not allowed.
  """
  folder = Path("runs", "adapters", check_name(name))
  if start is None:
    return folder
  return folder.with_name(f"{name}-from-{factors_digest(start.factors)[:8]}")


def _check_start(start: Adapter, base: Base, config: FinetuneConfig) -> None:
  """Refuses an adapter that cannot be trained further.

  Raises:
    ValueError: Names the setting that differs.
  """
  check_base(start, base.sha256, base.name)
  for field in ("rank", "alpha", "targets"):
    there, here = (getattr(lora, field) for lora in (start.config, config.lora))
    if there != here:
      there, here = (
        ",".join(value) if isinstance(value, tuple) else f"{value:g}"
        for value in (there, here)
      )
      raise ValueError(
        f"adapter {start.name} has {field} {there}, this run {here}. Leave"
        f" {field} out to go on from it, or begin a new adapter."
      )


def _sample(
  config: FinetuneConfig,
  base: Base,
  start: Adapter | None,
  out: Path,
  numbers: Numbers,
  on_progress: Callable[[FinetuneProgress], None],
  should_stop: Callable[[], bool],
) -> bool:
  """Samples what the model plays by itself; False: it was stopped."""
  model = base.model
  if start is not None:
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    merged = merge_factors(params, [(start.factors, start.scale)])
    model = nnx.merge(graph, merged, rest)
  return draw_self_samples(
    model,
    base.codec,
    out / CONTINUATIONS,
    [*numbers.judged, *numbers.learned],
    seed=config.seed,
    on_piece=lambda done, total: on_progress(
      FinetuneProgress(
        stage="sampling",
        fraction=done / total,
        step=0,
        minutes=0.0,
        estimate_min=None,
        nats=None,
        before=None,
        held_out=None,
      )
    ),
    should_stop=should_stop,
  )


def _figures(
  config: FinetuneConfig,
  rehearsed: Corpus | None,
  rehearsal: Corpus | Literal["itself"] | None,
  start: Adapter | None,
) -> dict[str, Any]:
  """Facts of the run that the adapter's figures add."""
  facts: dict[str, Any] = {}
  if rehearsed is not None:
    facts["rehearsal"] = dict(
      music=ITSELF if rehearsal == ITSELF else "other music",
      share=config.rehearsal_share,
      notes=rehearsed.notes,
    )
  if start is not None:
    facts["continued_from"] = dict(name=start.name, date=start.date)
  return facts
