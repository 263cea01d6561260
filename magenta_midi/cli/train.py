"""`magenta-midi train`: a checkpoint from folders of MIDI files."""

from pathlib import Path
from typing import Any, NamedTuple

import click

from magenta_midi.cli.gin.options import (
  GinCommand,
  gin_source,
  given_options,
  run_as_module,
)
from magenta_midi.cli.terminal.bounded_number import (
  bounded,
  scaled,
  seed_option,
)
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.interrupts import stop_signals
from magenta_midi.cli.terminal.options import weighted_folder
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  progress_bar,
  remark,
)
from magenta_midi.limits import (
  AMOUNT,
  DATA_WEIGHT,
  LEARNING_RATE,
  MINUTES,
  STEPS,
  TARGET_S,
)

__all__ = ["command"]


def _setting(text: str) -> tuple[str, Any]:
  """Splits `FIELD=VALUE`; values are JSON where they parse as such."""
  import json

  name, equals, value = text.partition("=")
  if not equals or not name:
    raise UserError(f"--set {text}: expected FIELD=VALUE.")
  try:
    return name, json.loads(value)
  except ValueError:
    return name, value


def _run_settings(values: dict[str, Any]) -> dict[str, Any]:
  """Moves the fields of TrainConfig without an option out of `values`."""
  import typing

  from magenta_midi.settings import convert
  from magenta_midi.train.run_settings import TrainConfig

  hints = typing.get_type_hints(TrainConfig)
  found = {}
  for name in values.keys() & hints.keys():
    if name in _OPTIONS:
      raise UserError(f"--set {name}: give {_OPTIONS[name]} instead.")
    found[name] = convert(hints[name], values.pop(name), f"--set {name}")
  return found


def _shares(option: str, text: str) -> dict[str, float]:
  """Splits `NAME:SHARE,...`; a name alone has a share of 1."""
  shares = {}
  for item in text.split(","):
    mode, colon, share = item.strip().partition(":")
    try:
      shares[mode] = AMOUNT.read("SHARE", share) if colon else 1.0
    except ValueError as error:
      raise UserError(
        f"{option} {text}: expected NAME:SHARE, got {item!r}: {error}"
      ) from None
  return shares


# Prefix of the codec's fields in --set.
_CODEC = "codec."
# Field -> its option, which --set refuses; then field -> the parameter of the
# command, if the names differ.
_OPTIONS = dict(
  model="--set with a field of the model",
  preset="--preset",
  minutes="--minutes",
  steps="--steps",
  learning_rate="--learning-rate",
  target_s="--target-seconds",
  seed="--seed",
  init_from="--init-from",
  partners="--partners",
  outline="--outline",
  style="--style",
)
_PARAMETERS = dict(
  codec="codec_name",
  codec_settings="settings",
  mixture="data",
  model="settings",
  target_s="target_seconds",
)


@click.command("train", cls=GinCommand)
@click.option(
  "--data",
  "data",
  multiple=True,
  metavar="DIR[:WEIGHT]",
  callback=scaled(DATA_WEIGHT, "the weight"),
  help="Folder of MIDI files, or one that prepare wrote. Repeatable; WEIGHT is"
  " its share of the examples [default: its number of notes]. DIR.csv beside"
  " the folder (columns path, split) gives the splits; without it, 1 file in"
  " 20 is held out.",
)
@click.option(
  "--task-module",
  metavar="MODULE",
  help="Python module that registers seqio tasks; --data then names a task or a"
  " mixture. Needs the extra seqio.",
)
@click.option(
  "--codec",
  "codec_name",
  default="note",
  show_default=True,
  help="Codec that turns music into tokens: note or event.",
)
@click.option(
  "--preset",
  default="small",
  show_default=True,
  help="Size of the model: tiny, small, base, magenta_rt_base or"
  " magenta_rt_large.",
)
@click.option(
  "--minutes",
  type=bounded(MINUTES),
  help="Length of the run in minutes of training [default: 60, without"
  " --steps].",
)
@click.option(
  "--steps",
  type=bounded(STEPS),
  help="Length of the run in optimizer steps. The same seed then gives the same"
  " checkpoint.",
)
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  default=Path("runs/train"),
  show_default=True,
  help="Folder of the run. If it holds a run, that run is continued.",
)
@click.option(
  "--session-minutes",
  type=bounded(MINUTES),
  help="Stop after this many minutes; the same command continues the run"
  " [default: no stop].",
)
@click.option(
  "--learning-rate",
  type=bounded(LEARNING_RATE),
  help="Peak learning rate [default: by optimizer; 0.008 for muon_drawn,"
  " which is relative to the size of each array as drawn].",
)
@click.option(
  "--target-seconds",
  type=bounded(TARGET_S),
  default=4.0,
  show_default=True,
  help="Music predicted for each context, seconds.",
)
@seed_option("Random seed.")
@click.option(
  "--set",
  "settings",
  multiple=True,
  metavar="FIELD=VALUE",
  help="Set a field of the model (encoder_layers=6), of the run"
  " (optimizer=adamw, ema_decay=0.999) or of the codec (codec.releases=true)."
  " Repeatable; docs/guides/training.md lists the fields.",
)
@click.option(
  "--partners",
  default="solo:1",
  show_default=True,
  metavar="MODE:SHARE,...",
  help="How examples are split into two players, and the share of each way:"
  " solo (one player), tracks (the track named melody and the rest), hands,"
  " turns. For live play: solo:0.3,tracks:0.25,hands:0.25,turns:0.2.",
)
@click.option(
  "--outline",
  metavar="GIVEN:SHARE,...",
  help="Train with beats and chords given beside the context, and the share of"
  " examples by what is given: nothing, beats, chords, both. They are read from"
  " NAME.beats and NAME.lab beside NAME.mid. Usual:"
  " nothing:0.35,beats:0.2,chords:0.1,both:0.35 [default: no such input].",
)
@click.option(
  "--style",
  metavar="NAME",
  help="Train with style and controls: descriptors, midicoca, or the folder of"
  " a MidiCoCa [default: no style].",
)
@click.option(
  "--accelerator/--no-accelerator",
  "accelerator",
  default=None,
  help="Settings for a GPU or TPU: batches of about 94 examples, few shapes of"
  " them, processes that cut them. --set and gin files replace them"
  " [default: where JAX finds one].",
)
@click.option(
  "--init-from",
  type=FilePath(),
  help="Start from the blocks of this checkpoint, which must have the same"
  " widths. Embeddings and head are used too if the codec is the same"
  " [default: random weights].",
)
@json_option
def command(
  data: tuple[str, ...],
  task_module: str | None,
  codec_name: str,
  preset: str,
  minutes: float | None,
  steps: int | None,
  out: Path,
  session_minutes: float | None,
  learning_rate: float | None,
  target_seconds: float,
  seed: int,
  settings: tuple[str, ...],
  partners: str,
  accelerator: bool | None,
  outline: str | None,
  style: str | None,
  init_from: Path | None,
  as_json: bool,
) -> None:
  """Train a model on folders of MIDI files.

  OUT holds checkpoint/ (for generate and evaluate --checkpoint), loss.png,
  log.jsonl, samples/, tensorboard/ and the state from which the same command
  continues.
  """
  from magenta_midi.generate.compilation.compilation_cache import (
    enable_compilation_cache,
  )

  enable_compilation_cache()
  from magenta_midi.train.machine import (
    for_accelerator,
    keep_memory,
    quick_compiler,
    uses_accelerator,
  )

  quick_compiler()
  import magenta_midi.train.train as training
  from magenta_midi.model.checkpoint import read_config
  from magenta_midi.tokens.codec import get_codec
  from magenta_midi.train.run import held_folder
  from magenta_midi.train.sharding import join_hosts
  from magenta_midi.train.teacher import check_teacher

  keep_memory()
  join_hosts()
  model = dict(map(_setting, settings))
  codec_settings = {
    name.removeprefix(_CODEC): model.pop(name)
    for name in list(model)
    if name.startswith(_CODEC)
  }
  run_settings = _run_settings(model)
  fields: dict[str, Any] = dict(
    preset=preset,
    model=model,
    minutes=60.0 if minutes is None and steps is None else minutes,
    steps=steps,
    learning_rate=learning_rate or 0.0,
    target_s=target_seconds,
    seed=seed,
    init_from=str(init_from) if init_from is not None else None,
    partners=_shares("--partners", partners),
    outline=_shares("--outline", outline) if outline is not None else {},
    style=style,
    **run_settings,
  )
  run, source = None, gin_source()
  if source is None:
    if not data:
      raise click.MissingParameter(
        param_hint="'--data' (or '--gin_file')", param_type="option"
      )
    config = training.TrainConfig(**fields)
  else:
    from magenta_midi.cli.gin.train_run import gin_train_run

    fields |= dict(
      codec=codec_name,
      codec_settings=codec_settings,
      mixture=list(data),
      task_module=task_module,
      out=str(out),
    )
    by_set = dict.fromkeys(run_settings, "settings")
    given = given_options({f: (_PARAMETERS | by_set).get(f, f) for f in fields})
    for name, group in (("model", model), ("codec_settings", codec_settings)):
      if not group:
        given.pop(name, None)
    run = gin_train_run(
      source,
      {field: (option, fields[field]) for field, option in given.items()},
    )
    config, codec_name, data, out = run.config, run.codec, run.mixture, run.out
    task_module, codec_settings = run.task_module, run.codec_settings
  codec = get_codec(codec_name, **codec_settings)
  if uses_accelerator(out) if accelerator is None else accelerator:
    config = for_accelerator(config, run_settings)
  config = training.as_begun(config, out)
  # Before the files are read: a mistyped option should not wait for them.
  training.check_settings(config, codec, out)
  rows = training.style_rows(config)
  training.model_config(config, codec, rows)
  training.check_init_from(config, codec, out, rows)
  if config.teacher is not None:
    check_teacher(
      Path(config.teacher),
      codec,
      duet=config.duet,
      style=None if rows is None else rows.entry,
    )
  # A second run into the folder is refused before it reads its files.
  with held_folder(out):
    if task_module is None:
      folders = [weighted_folder(text) for text in data]
      music = _read(folders, rows, with_outlines=bool(config.outline))
    else:
      music = _task(data, task_module, config, codec, rows)
    if run is not None:
      from magenta_midi.cli.gin.train_run import save_gin_config

      save_gin_config(run)
    with progress_bar() as bar, stop_signals() as stopped:
      task = bar.add_task("training", total=1.0, note="compiling")

      def show(progress: training.Progress) -> None:
        held = (
          f", held out {progress.held_out:.2f} a note"
          if progress.held_out is not None
          else ""
        )
        bar.update(
          task,
          completed=progress.fraction,
          note=f"step {progress.step}, {progress.nats:.2f} nats an event{held},"
          f" {progress.notes_per_s:,.0f} notes/s",
        )

      evaluation = training.train(
        config,
        codec,
        music.corpora,
        music.shares,
        music.held_out,
        out,
        style=rows,
        open_source=music.open_source,
        on_progress=show,
        on_warm_start=lambda taken: remark(taken.line()),
        on_going_back=lambda done: remark(done.line()),
        session_minutes=session_minutes,
        should_stop=lambda: bool(stopped),
      )
  if stopped:
    remark(f"stopped and saved; the same command continues {out}")
    raise click.Abort
  figures = evaluation.figures() if evaluation else {}
  # A run of few steps has logged nothing to draw.
  curve = f"; curve: {out / 'loss.png'}" if (out / "loss.png").exists() else ""
  remark(f"checkpoint: {out / 'checkpoint'}{curve}")
  if as_json:
    facts = dict(checkpoint=str(out / "checkpoint"), held_out=figures)
    # A run that was continued has its start from an earlier session.
    notes = read_config(out / "checkpoint")["notes"]
    if "warm_start" in notes:
      facts["warm_start"] = notes["warm_start"]
    print_json(facts)


class _Music(NamedTuple):
  """Music for training and for evaluation during the run."""

  corpora: list[Any]
  shares: list[float]
  held_out: Any
  # Makes the batches in place of the corpora; None: the corpora do.
  open_source: Any = None


def _read(
  folders: list[tuple[Path, float | None]], rows: Any, with_outlines: bool
) -> _Music:
  """Reads the train and valid splits of every folder and reports them."""
  from magenta_midi.data.corpus import join_corpora, read_corpus

  corpora, held_out, bad = [], [], []
  with progress_bar() as bar:
    for folder, _ in folders:
      if not folder.exists():
        raise UserError(
          f"{folder}: no such folder. Give one with MIDI files; a seqio task"
          " needs --task-module too."
        )
      task = bar.add_task(f"reading {folder.name}", note="")

      def show(done: int, total: int, task: Any = task) -> None:
        bar.update(task, completed=done, total=total)

      read, failed = read_corpus(
        folder,
        ("train", "valid"),
        with_outlines=with_outlines,
        on_file=show,
      )
      bad.extend(failed)
      if not len(read["train"]):
        raise UserError(
          f"{folder}: no piece to train on. Check the split column of"
          f" {folder.name}.csv, or give more files."
        )
      corpora.append(read["train"])
      if len(read["valid"]):
        held_out.append(read["valid"])
  if with_outlines and not any(corpus.outlines for corpus in corpora):
    raise UserError(
      "--outline: no piece has beats or chords. Put NAME.beats or NAME.lab"
      " beside NAME.mid, or leave --outline out."
    )
  shares = [
    weight if weight is not None else float(corpus.notes)
    for corpus, (_, weight) in zip(corpora, folders, strict=True)
  ]
  if rows is not None:
    from magenta_midi.style.text.facts import read_facts

    rows.facts = [
      read_facts(folder, corpus.names)
      for corpus, (folder, _) in zip(corpora, folders, strict=True)
    ]
  for _, reason in bad:
    remark(f"left out: {reason}")
  for corpus, (folder, _), share in zip(corpora, folders, shares, strict=True):
    remark(
      f"{folder}: {len(corpus)} pieces, {corpus.notes:,} notes,"
      f" {share / sum(shares):.0%} of the examples"
    )
  if not held_out:
    remark(
      "note: no piece is held out, so the run has no held-out figures and no"
      " samples. Give more files, or a list DIR.csv with the split valid."
    )
  return _Music(corpora, shares, join_corpora(held_out))


def _task(
  names: tuple[str, ...],
  module: str,
  config: Any,
  codec: Any,
  rows: Any,
) -> _Music:
  """Finds the seqio task or mixture of that name."""
  from magenta_midi.magenta_rt.seqio_source import SeqioSource, registered_task

  if len(names) != 1:
    raise UserError(
      f"--task-module {module}: expected one --data, the name of a task or"
      f" mixture, got {len(names)}. Register a mixture of them."
    )
  (name,) = names
  registered_task(name, module, codec)
  remark(
    f"{name}: a seqio task. Nothing is held out during the run: score the"
    " checkpoint with `magenta-midi evaluate`."
  )
  return _Music(
    [], [], None, lambda block: SeqioSource(name, config, codec, rows, block)
  )


if __name__ == "__main__":
  run_as_module("train")
