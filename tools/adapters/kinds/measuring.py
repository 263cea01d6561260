"""Training and scoring of one variant, in this process."""

import dataclasses
import hashlib
import json
import resource
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.data.recordings import (
  join_split,
  read_recordings,
  recordings_corpus,
)
from magenta_midi.evaluation.evaluate import evaluate
from magenta_midi.finetune.config import finetune_config
from magenta_midi.finetune.mixture import mix
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.train.machine import keep_memory
from tools.adapters.kinds.course import Course, file_bytes, named_arrays
from tools.adapters.kinds.variants import POSITIONS, begin_variant

__all__ = ["BASE", "Job", "measure"]

# The kind of the base itself, which is scored and not trained.
BASE = "base"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """One variant to be measured, or the base."""

  player: str
  general: str | None
  checkpoint: str | None
  kind: str
  # None where the kind has none.
  rank: int | None = None
  alpha: float | None = None
  targets: tuple[str, ...] | None = None
  dropout: float | None = None
  slots: int | None = None
  # None: all recordings.
  pieces: int | None = None
  learning_rate: float | None = None
  steps: int = 0
  frames_per_batch: int = 0
  # Times at which it is scored on the way; the last is the end.
  evaluations: int = 1
  windows: int | None = None
  seed: int = 0

  @property
  def name(self) -> str:
    """Of its files."""
    parts = [self.kind]
    for letter, value in (
      ("r", self.rank),
      ("m", self.slots),
      ("n", self.pieces),
      ("rate", self.learning_rate),
    ):
      if value is not None:
        parts.append(f"{letter}{value:g}")
    text = json.dumps(dataclasses.asdict(self), sort_keys=True)
    return "-".join([*parts, hashlib.sha256(text.encode()).hexdigest()[:8]])

  @property
  def setting(self) -> str:
    """Setting that differs within its kind."""
    if self.rank is not None:
      return f"rank {self.rank}"
    return "" if self.slots is None else f"{self.slots} positions"


def measure(job: Job, keep: Path | None = None) -> dict[str, Any]:
  """Trains and scores one variant in this process.

  Args:
    job: The variant.
    keep: Where a plain checkpoint is to be written; None: nowhere.

  Raises:
    ValueError: There is too little music, or settings do not fit the base.
  """
  keep_memory()
  mm = MagentaMidi.load(job.checkpoint)
  base = mm.finetune_base()
  train, held = (
    read_recordings([Path(job.player) / part])[0] for part in ("train", "held")
  )
  order = np.random.default_rng(job.seed).permutation(len(train))
  chosen = [train[index] for index in order[: job.pieces].tolist()]
  split = join_split(chosen, held)
  general = None
  if job.general is not None:
    general = recordings_corpus(read_recordings([Path(job.general)])[0])

  def scored(model: Any, music: Any) -> dict[str, Any]:
    found = evaluate(model, base.codec, music, windows=job.windows)
    fields = dataclasses.asdict(found)
    return {
      name: value.tolist() if isinstance(value, np.ndarray) else list(value)
      for name, value in fields.items()
    }

  report: dict[str, Any] = dict(
    job=dataclasses.asdict(job),
    base_sha256=base.sha256,
    takes=len(chosen),
    notes=split.train.notes,
  )
  model = base.model
  if job.kind != BASE:
    model, found = _trained(job, base, split, scored)
    report |= found
  report["held"] = scored(model, split.held_out)
  if general is not None:
    report["general"] = scored(model, general)
  if keep is not None and job.kind not in POSITIONS:
    save_checkpoint(
      keep,
      model,
      codec=mm.config["codec"],
      storage="float32",
      style=mm.config.get("style"),
      notes=dict(base=mm.checkpoint, variant=dataclasses.asdict(job)),
    )
  return report


def _trained(
  job: Job, base: Any, split: Any, scored: Any
) -> tuple[Any, dict[str, Any]]:
  """The model at the end, and what it took."""
  given: dict[str, Any] = dict(
    rank=job.rank, alpha=job.alpha, targets=job.targets, dropout=job.dropout
  )
  config = finetune_config(
    steps=job.steps,
    learning_rate=job.learning_rate,
    seed=job.seed,
    frames_per_batch=job.frames_per_batch,
    **{name: value for name, value in given.items() if value is not None},
  )
  variant = begin_variant(
    job.kind,
    base.model,
    lora=config.lora,
    positions=job.slots or 0,
    codec=base.codec,
    music=split.train,
    seed=job.seed,
  )
  course = Course(config, variant, base.codec, mix(split, config.tempos))
  marks = np.linspace(0, job.steps, job.evaluations + 1).round()[1:-1]
  curve, losses = [], []
  processor_s = wall_s = 0.0
  while course.step < job.steps:
    begun = time.process_time(), time.perf_counter()
    losses.append(course.train_step())
    processor_s += time.process_time() - begun[0]
    wall_s += time.perf_counter() - begun[1]
    if course.step in marks:
      found = scored(course.adapted(), split.held_out)
      nats = np.sum(found["nats"]) / np.sum(found["notes"])
      curve.append([course.step, float(nats)])
  # Of the process until now, KiB on Linux.
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  arrays = named_arrays(course.learned)
  tenth = max(1, job.steps // 10)
  return course.adapted(), dict(
    parameters=sum(x.size for x in arrays.values()),
    bytes_float32=file_bytes(arrays, np.float32),
    bytes_bfloat16=file_bytes(arrays, ml_dtypes.bfloat16),
    # Of steps that compiled nothing.
    step_s=float(np.mean(course.step_s)) if course.step_s else None,
    processor_min=processor_s / 60,
    wall_min=wall_s / 60,
    peak_bytes=peak,
    train_nats=[
      float(np.mean(part)) for part in (losses[:tenth], losses[-tenth:])
    ],
    curve=curve,
  )
