r"""Comparison of origins of an onset, at equal training time.

  python -m tools.training.onset_origin --data DIR:0.6 --data OTHER:0.4 \
    --minutes 8 --out runs/onset_origin

The `note` codec counts a step from the model's previous frame. Here a model
reads and predicts other codes for the same steps: counted from *now* (`start`),
or from the previous frame of any part (`any`). Its predictions are translated
back into the codec's codes, so that the package trains and scores it like any
other.

A step before the model's previous frame is impossible. Counted from *now* it
has a code, and play would mask it: so do training and the score, except for
"unmasked", which is trained over all codes and scored both ways. Contexts keep
the codec's codes. No checkpoint is written: nothing could play it.

Each choice trains from random weights in a process of its own; all its shapes
are compiled before the minutes begin. Minutes are of processor time (give it a
core of its own: `taskset -c 0`). Finished choices are not trained again.
"""

import contextlib
import dataclasses
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal

import click
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.cli.terminal.options import weighted_folder
from magenta_midi.data.corpus import Corpus, join_corpora, read_corpus
from magenta_midi.data.examples.batches import BatchStream
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.evaluate import (
  SOLO,
  Evaluation,
  Players,
  evaluate,
  protocol_windows,
  window_batches,
)
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.limits import AMOUNT, COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.tokens.codec import get_codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.machine import keep_memory
from magenta_midi.train.run import RunProgress, TrainingRun
from magenta_midi.train.run_clock import RunSchedule
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.sources import make_source
from magenta_midi.train.trainer import Trainer
from tools.help_text import help_of

Origin = Literal["previous", "start", "any"]
# As search_choices has it.
_PARTNERS = {"solo": 0.3, "tracks": 0.25, "hands": 0.25, "turns": 0.2}
# Held-out windows of each way of playing.
_WINDOWS = 384
# Steps between two waits for the device, as the package's loop.
_WAIT_STEPS = 20
# A logit of what cannot come. Finite: gradients of log-sum-exp stay so too.
_NEVER = -1e30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting:
  """Origin from which the onset level of a decoder's frames is counted."""

  # previous: the model's previous frame; start: now; any: previous frame.
  origin: Origin = "previous"
  # Whether the decoder's inputs are counted so too, or the targets only.
  inputs: bool = True
  # Whether training leaves out what cannot come; scores always do.
  masked: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """One row of the table."""

  counting: Counting
  duet: bool = False


CHOICES = {
  "previous": Choice(counting=Counting()),
  "start": Choice(counting=Counting(origin="start")),
  "start, unmasked": Choice(counting=Counting(origin="start", masked=False)),
  "start, targets only": Choice(
    counting=Counting(origin="start", inputs=False)
  ),
  "duet, previous": Choice(counting=Counting(), duet=True),
  "duet, any": Choice(counting=Counting(origin="any"), duet=True),
  "duet, start": Choice(counting=Counting(origin="start"), duet=True),
}
_DEFAULTS = ("previous", "start", "duet, previous", "duet, any")


# Codes --------------------------------------------------------------------


def previous_own(frames: Frames) -> jax.Array:
  """`[b, t]` step of the newest own frame up to each position; 0 without."""
  own_time = jnp.where(frames.part > 0, 0, jnp.asarray(frames.time))
  return jax.lax.cummax(own_time, axis=1)


def shift_of(frames: Frames, origin: Origin) -> jax.Array:
  """Shift of the codec's code of the model's next onset, `[b, t]`."""
  if origin == "previous":
    return jnp.zeros_like(frames.time)
  if origin == "start":
    return previous_own(frames)
  return previous_own(frames) - frames.time


def recounted(
  ids: Any, shift: Any, first: int, end: int, *, back: bool = False
) -> jax.Array:
  """Ids of frames whose onsets are counted from elsewhere.

  Args:
    ids: `[b, t, l]` global.
    shift: `[b, t]` of `shift_of`, for targets; for inputs of the position
      before.
    first: Global id of the onset level's code 0.
    end: Code of END; it stays, as padding does.
    back: From there to the codec's codes.
  """
  onset = jnp.asarray(ids)[..., 0]
  is_step = (onset >= first) & (onset < first + end)
  moved = onset - shift if back else onset + shift
  return jnp.asarray(ids).at[..., 0].set(jnp.where(is_step, moved, onset))


def input_shift(frames: Frames, origin: Origin) -> jax.Array:
  """Shift of the codec's code of each input's onset, `[b, t]`.

  An own frame is counted as it was when it was the target. A partner's,
  which is no target, is counted from now for `start`, and from the partner's
  previous one for the others: it may be known after what came later.
  """
  shift = jnp.pad(shift_of(frames, origin)[:, :-1], ((0, 0), (1, 0)))
  if origin != "start":
    return jnp.where(frames.part > 0, 0, shift)
  # The partner's previous frame up to the one before.
  theirs = jnp.where(frames.part > 0, jnp.asarray(frames.time), 0)
  before = jax.lax.cummax(theirs, axis=1)[:, :-1]
  return jnp.where(frames.part > 0, jnp.pad(before, ((0, 0), (1, 0))), shift)


class RecountedDepthformer(Depthformer):
  """A Depthformer that counts otherwise inside, and not to the outside."""

  def __init__(
    self, config: DepthformerConfig, *, rngs: nnx.Rngs, counting: Counting
  ):
    super().__init__(config, rngs=rngs)
    self.counting = counting
    # Set in training only.
    self.over_all = False

  def __call__(
    self,
    context: Frames,
    inputs: Frames,
    targets: Any,
    style: Any = None,
    outline: Any = None,
  ) -> tuple[jax.Array, ...]:
    """Logits by level, as a Depthformer's, over the codec's codes.

    The onset level has one more column, the last: all steps beyond the
    codec's reach, which it counts as later than any target. With `over_all`
    what cannot come is in it too.
    """
    counting = self.counting
    if counting.origin == "previous":
      return super().__call__(context, inputs, targets, style, outline)
    first, stop = self.config.columns[0]
    end = stop - first - 1
    shift = shift_of(inputs, counting.origin)
    if counting.inputs:
      moved = input_shift(inputs, counting.origin)
      inputs = inputs._replace(ids=recounted(inputs.ids, moved, first, end))
    logits = super().__call__(
      context, inputs, recounted(targets, shift, first, end), style, outline
    )
    onset = self._as_the_codec(logits[0], shift[..., None], end)
    return (onset, *logits[1:])

  def _as_the_codec(
    self, onset: jax.Array, shift: jax.Array, end: int
  ) -> jax.Array:
    codes = jnp.arange(end)[None, None]
    inside = codes + shift
    known = (inside >= 0) & (inside < end)
    steps = jnp.take_along_axis(onset, jnp.clip(inside, 0, end - 1), axis=-1)
    steps = jnp.where(known, steps, _NEVER)
    beyond = codes - shift >= end
    if self.over_all:
      beyond |= codes < shift
    rest = jnp.where(beyond, onset[..., :end], _NEVER)
    rest = jax.nn.logsumexp(rest, axis=-1, keepdims=True)
    return jnp.concatenate([steps, onset[..., end:], rest], axis=-1)


# Training -----------------------------------------------------------------


class RecountedTrainer(Trainer):
  """The package's trainer, of a model that counts otherwise inside."""

  def __init__(
    self,
    config: TrainConfig,
    codec: NoteCodec,
    corpora: list[Corpus],
    shares: list[float],
    counting: Counting,
  ):
    self._counting = counting
    super().__init__(config, codec, corpora, shares)

  def _compile(self) -> None:
    model = RecountedDepthformer(
      self.model.config, rngs=nnx.Rngs(0), counting=self._counting
    )
    nnx.update(model, nnx.state(self.model))
    model.train()
    model.over_all = not self._counting.masked
    self._graph, _, self._rest = nnx.split(model, nnx.Param, ...)
    super()._compile()
    model.over_all = False
    self.model = model

  def warm_up(self, shapes: list[tuple[int, int, int]]) -> None:
    """Compiles the step for batches of (rows, context, target) frames."""
    levels = self.codec.vocabulary.levels
    for rows, context, target in shapes:
      frames = dict(context=(rows, context), target=(rows, target))
      wide = {name: (*shape, levels) for name, shape in frames.items()}
      nothing = Batch(
        context_ids=np.zeros(wide["context"], np.int32),
        context_time=np.zeros(frames["context"], np.int32),
        input_ids=np.zeros(wide["target"], np.int32),
        input_time=np.zeros(frames["target"], np.int32),
        targets=np.zeros(wide["target"], np.int32),
        weights=np.zeros(wide["target"], bool),
        context_part=np.zeros(frames["context"], np.int32),
        input_part=np.zeros(frames["target"], np.int32),
      )
      # The step may reuse what it is given.
      learned = jax.tree.map(jnp.copy, self._learned)
      key = jax.random.fold_in(self._key, 0)
      moved = self._update(
        learned, nothing, key, jnp.int32(0), jnp.float32(0), self._taught_by
      )
      jax.block_until_ready(moved)


class _Task:
  """The task of a run that is only shown: no state, no log, no checkpoint."""

  exported = True

  def __init__(self, trainer: RecountedTrainer):
    self.trainer = trainer

  def begin(self, run: TrainingRun) -> None:
    """Does nothing."""

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Nothing: scores come after the run."""
    return {}

  def report(self, progress: RunProgress) -> None:
    """Prints the loss of each log line."""
    if progress.logged and progress.levels is not None:
      click.echo(
        f"  {progress.minutes:.2f} min, step {progress.step},"
        f" {progress.levels.sum():.2f} nats an event",
        err=True,
      )

  def export(self, *, finished: bool) -> None:
    """Does nothing."""


def trained(trainer: RecountedTrainer, minutes: float) -> Depthformer:
  """Trains for minutes of a core's work, those of compilation aside."""
  stream = make_source(
    dataclasses.replace(trainer.config, source="numpy"),
    trainer.codec,
    [],
    [],
  )
  assert isinstance(stream, BatchStream)
  trainer.warm_up(
    [
      (stream.batch_size(index), *shape)
      for index, shape in enumerate(stream.buckets)
    ]
  )
  TrainingRun(
    _Task(trainer),
    RunSchedule(
      minutes=minutes,
      clock=trainer.config.clock,
      log_every_steps=_WAIT_STEPS,
    ),
    Path(),
    trainer.codec.vocabulary.level_names,
    stores=False,
    writes=False,
  ).go()
  return trainer.current_model()


# Scores -------------------------------------------------------------------


def wasted_nats(
  model: RecountedDepthformer,
  codec: NoteCodec,
  corpus: Corpus,
  windows: int | None,
) -> float:
  """Nats that windows of one player cost for what cannot come.

  They are left out of `evaluate`'s figures; with them the score is over all
  codes. For onsets counted from now.
  """
  examples = protocol_windows(corpus, round(10_000 / codec.config.step_ms))
  examples = SOLO.split(examples, corpus)
  if windows is not None and windows < len(examples):
    examples = examples[
      np.linspace(0, len(examples) - 1, windows).astype(np.int64)
    ]

  @jax.jit
  def wasted(params: Any, batch: Batch) -> jax.Array:
    model = nnx.merge(graph, params, rest)
    model.over_all = True
    onset = level_logits(model, batch)[0]
    # Counted from now nothing lies beyond the codec's reach: the last column
    # is what cannot come.
    nats = jax.nn.logsumexp(onset, axis=-1)
    nats -= jax.nn.logsumexp(onset[..., :-1], axis=-1)
    return jnp.sum(jnp.where(batch.weights[..., 0], nats, 0.0), axis=1)

  graph, params, rest = nnx.split(model, nnx.Param, ...)
  total = 0.0
  for part, _, batch in window_batches(codec, corpus, examples):
    total += float(np.asarray(wasted(params, batch))[: len(part)].sum())
  return total


def duet_evaluation(
  model: Depthformer, codec: NoteCodec, corpus: Corpus, windows: int
) -> Evaluation:
  """Of one hand that hears the other, and of what hears a melody, 50 ms late.

  As search_choices scores its duets.
  """
  ways = [
    Players(mode="hands", swapped=swapped, delay_ms=50)
    for swapped in (False, True)
  ]
  if corpus.has_melody.any():
    ways.append(Players(mode="tracks", swapped=True, delay_ms=50))
  first, *others = (
    evaluate(model, codec, corpus, windows=windows, players=players)
    for players in ways
  )
  for other in others:
    first = first.joined(other)
  return first


def figures_of(
  model: Depthformer, codec: NoteCodec, held_out: Corpus, choice: Choice
) -> dict[str, Any]:
  """The held-out figures of one choice."""
  solo = evaluate(model, codec, held_out, windows=_WINDOWS)
  found: dict[str, Any] = dict(solo=solo.figures())
  if choice.counting.origin == "start":
    assert isinstance(model, RecountedDepthformer)
    wasted = wasted_nats(model, codec, held_out, _WINDOWS)
    found["wasted"] = wasted / max(1, int(solo.notes.sum()))
  if choice.duet:
    duet = duet_evaluation(model, codec, held_out, _WINDOWS)
    found["duet"] = duet.figures()
  return found


# The runs -----------------------------------------------------------------


def _run_apart(name: str, settings: dict[str, Any]) -> dict[str, Any]:
  """`run` in a process of its own."""
  keep_memory()
  enable_compilation_cache()
  return run(name, settings)


def run(name: str, settings: dict[str, Any]) -> dict[str, Any]:
  """Trains and scores one choice."""
  choice = CHOICES[name]
  corpora, shares, held_out = [], [], []
  for item in settings["data"]:
    folder, weight = weighted_folder(item)
    read, _ = read_corpus(folder, ("train", "valid"))
    if not len(read["train"]):
      raise ValueError(f"{folder}: no piece to train on.")
    corpora.append(read["train"])
    shares.append(float(read["train"].notes) if weight is None else weight)
    held_out += [read["valid"]] if len(read["valid"]) else []
  scored = join_corpora(held_out)
  if scored is None:
    raise ValueError("no folder has a piece in split 'valid' to score.")
  config = TrainConfig(
    preset=settings["preset"],
    minutes=settings["minutes"],
    seed=settings["seed"],
    warmup_steps=settings["warmup_steps"],
    clock="processor",
    partners=_PARTNERS if choice.duet else {"solo": 1.0},
  )
  codec = get_codec("note")
  assert isinstance(codec, NoteCodec)
  trainer = RecountedTrainer(config, codec, corpora, shares, choice.counting)
  with contextlib.closing(trainer):
    model = trained(trainer, settings["minutes"])
  figures = figures_of(model, codec, scored, choice)
  return dict(settings=settings, steps=trainer.step, **figures)


def _done(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
  """The figures of a run that is done; None: it is not."""
  if not path.exists():
    return None
  found = json.loads(path.read_text(encoding="utf-8"))
  if found["settings"] != settings:
    raise UserError(
      f"{path}: holds figures of other settings, {found['settings']}, not"
      f" {settings}. Give --out another folder."
    )
  return found


def _mean(runs: list[dict[str, Any]], players: str, *names: str) -> str:
  values = []
  for run in runs:
    value: Any = run.get(players)
    for name in names:
      value = value[name] if value is not None else None
    values += [] if value is None else [value]
  return f"{np.mean(values):.3f}" if values else ""


_COLUMNS = (
  *(("nats_per_note",), ("levels", "onset"), ("levels", "key")),
  *(("levels", "velocity"), ("levels", "duration"), ("pedal",), ("end",)),
)


def table(found: dict[str, list[dict[str, Any]]]) -> str:
  """Markdown: nats a note, and by level; of a duet, its own rows."""
  names = [column[-1].replace("_per_", " a ") for column in _COLUMNS]
  head = ["choice", "scored", *names, "over all codes", "steps"]
  lines = [head, ["---"] * len(head)]
  for name, runs in found.items():
    for players in ("solo", "duet"):
      if players not in runs[0]:
        continue
      over_all = ""
      if players == "solo":
        nats = [r["solo"]["nats_per_note"] + r.get("wasted", 0.0) for r in runs]
        over_all = f"{np.mean(nats):.3f}"
      cells = [_mean(runs, players, *column) for column in _COLUMNS]
      steps = f"{np.mean([run['steps'] for run in runs]):.0f}"
      lines.append([name, players, *cells, over_all, steps])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="DIR[:WEIGHT]",
  help="As for `magenta-midi train`; repeatable.",
)
@click.option(
  "--minutes",
  type=bounded(AMOUNT),
  default=8.0,
  show_default=True,
  help="Training minutes of each choice.",
)
@click.option(
  "--seeds",
  type=bounded(COUNT_FROM_0),
  default=1,
  show_default=True,
  help="Runs of each choice.",
)
@click.option(
  "--choice",
  "names",
  multiple=True,
  type=click.Choice(list(CHOICES)),
  help=f"Only these; repeatable [default: {'; '.join(_DEFAULTS)}].",
)
@click.option(
  "--warmup-steps",
  type=bounded(COUNT_FROM_0),
  default=50,
  show_default=True,
  help="Warm-up steps of the learning rate. The 200 of longer runs would be"
  " half of one of these.",
)
@click.option("--preset", default="small", show_default=True)
@click.option(
  "--out",
  type=click.Path(path_type=Path, file_okay=False),
  default=Path("runs/onset_origin"),
  show_default=True,
  help="Receives the figures of each run.",
)
def main(
  data: tuple[str, ...],
  minutes: float,
  seeds: int,
  names: tuple[str, ...],
  warmup_steps: int,
  preset: str,
  out: Path,
) -> None:
  """Train every choice, and print a table of nats a note."""
  found: dict[str, list[dict[str, Any]]] = {}
  with one_line_errors():
    out.mkdir(parents=True, exist_ok=True)
    # A seed of all first: what drifts on the machine falls on all alike.
    for seed in range(seeds):
      for name in names or _DEFAULTS:
        settings = dict(
          data=list(data),
          minutes=minutes,
          seed=seed,
          warmup_steps=warmup_steps,
          preset=preset,
        )
        file_name = name.replace(",", "").replace(" ", "_")
        path = out / f"{file_name}-{seed}.json"
        figures = _done(path, settings)
        if figures is None:
          click.echo(f"{name}, seed {seed}", err=True)
          spawn = multiprocessing.get_context("spawn")
          with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            figures = pool.submit(_run_apart, name, settings).result()
          write_atomically(path, (json.dumps(figures) + "\n").encode())
        found.setdefault(name, []).append(figures)
  click.echo(table(found))


if __name__ == "__main__":
  main()
