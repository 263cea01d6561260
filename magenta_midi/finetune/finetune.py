"""Fine-tuning on a player's takes: a base and music in, an adapter out.

A run is a folder: `run.json` (settings), `state/` (what it continues from),
`continuations/` (what the model played by itself before), `log.jsonl`,
`loss.png`, `tensorboard/` and, at the end, `NAME.safetensors`. A killed run
continues from its last whole state; with `steps` given, it ends where an
unbroken one would, to the bit. The factors kept are those of the best held-out
evaluation, the first of which is of what the run starts from: if nothing was
gained, the adapter changes nothing, or no more than the one it continues.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.takes import Split, corpus_digest
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.finetune.config import FinetuneConfig, begin_run
from magenta_midi.finetune.mixture import mix
from magenta_midi.finetune.offload import on_device, on_host
from magenta_midi.finetune.player_style import LEARNING_WINDOWS
from magenta_midi.finetune.rehearsal import ITSELF, without_pieces
from magenta_midi.finetune.results import (
  Base,
  Finetuned,
  FinetuneProgress,
)
from magenta_midi.finetune.run import SCORED_WINDOWS, FinetuneRun, Marks
from magenta_midi.finetune.self_samples import (
  Numbers,
  number_pieces,
  read_own,
  sample_own,
)
from magenta_midi.finetune.trainer import AdapterTrainer, check_run
from magenta_midi.model.lora.adapter_file import (
  Adapter,
  PlayerStyle,
  check_base,
  check_name,
)
from magenta_midi.model.lora.lora import Factors, merge_factors
from magenta_midi.train.run_settings import STATE
from magenta_midi.train.run_store import RunStore, restored_marks
from magenta_midi.train.watch import RunLog

__all__ = [
  "Base",
  "FinetuneProgress",
  "Finetuned",
  "factors_digest",
  "finetune",
  "finetune_folder",
]

# Where what the model plays by itself lies in a run's folder.
CONTINUATIONS = "continuations"


@runtime_checkable
class LearnStyle(Protocol):
  """How a player's style is learned; see `finetune`."""

  def __call__(
    self, style: PlayerStyle | None, /, *, on_fraction: Callable[[float], None]
  ) -> PlayerStyle | None:
    """Gives the player's style."""
    ...


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
    base: What to adapt.
    split: What to learn from, and what to judge by.
    name: The adapter's.
    out: The run's folder.
    general: Other music, on which to say what was forgotten; None: it is said
      of what the model plays by itself.
    rehearsal: Other music to learn from beside the takes, so that it is not
      forgotten; nothing in it that is held out is. `ITSELF`: what the model
      plays by itself before it learns, as the base or as `start`.
    start: An adapter of the same base, rank and targets to go on from.
    learn_style: Called at the end with the style of `start`, or None, and
      with what is told how much is done, `on_fraction`; gives the player's, to
      be stored.
    on_progress: Called about twice a second.
    should_stop: Asked after every step; True saves and stops, resumably.

  Returns:
    None if it was stopped.

  Raises:
    ValueError: The name, the settings, `start` or the run in `out` do not fit.
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
  with _named_errors(out):
    begin_run(out, config, facts)
    if not _sample(config, base, start, out, numbers, on_progress, should_stop):
      return None
  own = read_own(out / CONTINUATIONS, numbers.judged)
  rehearsed = None
  if isinstance(rehearsal, Corpus):
    # Older takes may be among the new ones.
    rehearsed = without_pieces(rehearsal, split.held_out)
  elif rehearsal == ITSELF:
    rehearsed = read_own(out / CONTINUATIONS, numbers.learned)
  quantized = config.quantize != "none"
  with (
    on_host(base.model, wanted=quantized),
    RunStore(out / STATE, keep_best=False) as store,
  ):
    trainer = AdapterTrainer(
      config,
      base.model,
      base.codec,
      mix(split, config.tempos, rehearsed, config.rehearsal_share),
      from_factors,
    )
    marks, before = Marks(), None
    if store.newest is not None:
      found = trainer.restore(store)
      marks = restored_marks(Marks, found, store.folder)
      before = _evaluation(found["before"])
    levels = base.codec.vocabulary.level_names
    with _named_errors(out), RunLog(out, trainer.step, levels) as log:
      run = FinetuneRun(
        trainer,
        base,
        split,
        store,
        log,
        marks,
        out,
        on_progress,
        sampling_min=(time.monotonic() - began_s) / 60,
        windows_after=_windows_after(general, own, learn_style),
      )
      run.score_before(before)
      run.train(should_stop)
      if not run.marks.ended:
        return None
      with on_device(base.model, wanted=quantized):
        style = learn_style(
          None if start is None else start.style, on_fraction=run.show_style
        )
      return run.finish(
        name,
        general=general,
        own=own,
        style=style,
        facts=_figures(config, rehearsed, rehearsal, start),
      )


def _windows_after(
  general: Corpus | None, own: Corpus | None, learn_style: LearnStyle
) -> float:
  """Work after training beside what is held out, in windows of 2 s scored."""
  windows = 0.0 if learn_style is _keep else float(LEARNING_WINDOWS)
  for corpus in (general, own):
    if corpus is not None:
      # Before and after.
      windows += 2 * min(SCORED_WINDOWS, corpus.lengths_ms.sum() / 2000)
  return windows


def factors_digest(factors: Factors) -> str:
  """A name of an adapter's factors, in hexadecimal digits."""
  digest = hashlib.sha256()
  for name, pair in sorted(factors.items()):
    for array in pair:
      digest.update(f"{name} {array.shape}\n".encode())
      digest.update(np.ascontiguousarray(array, np.float32).tobytes())
  return digest.hexdigest()


def finetune_folder(name: str, start: Adapter | None = None) -> Path:
  """Where a fine-tuning run lies if nothing else is said.

  Args:
    name: The adapter's.
    start: What it goes on from. Once that is replaced, there is another to go
      on from, in another folder.

  Raises:
    AdapterError: The adapter cannot be called so.
  """
  folder = Path("runs", "adapters", check_name(name))
  if start is None:
    return folder
  return folder.with_name(f"{name}-from-{factors_digest(start.factors)[:8]}")


def _check_start(start: Adapter, base: Base, config: FinetuneConfig) -> None:
  """Refuses an adapter that cannot be gone on from.

  Raises:
    ValueError: Says what differs, and what to give.
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
  """Samples what the model plays by itself; whether all of it is there."""
  model = base.model
  if start is not None:
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    merged = merge_factors(params, [(start.factors, start.scale)])
    model = nnx.merge(graph, merged, rest)
  return sample_own(
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
  """What an adapter says of how it was made, beside its figures."""
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


@contextlib.contextmanager
def _named_errors(out: Path) -> Iterator[None]:
  """Says of a file that cannot be written where, and what stays."""
  try:
    yield
  except OSError as error:
    if error.filename is not None or error.errno is None:
      raise
    # A full disk says no more than that.
    raise OSError(error.errno, error.strerror, str(out)) from error


def _evaluation(stored: dict[str, Any]) -> Evaluation:
  """An evaluation as a state has it."""
  return Evaluation(
    stored["nats"],
    stored["notes"],
    stored["seconds"],
    tuple(stored["names"]),
    tuple(stored["titles"]),
  )
