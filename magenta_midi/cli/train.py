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
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.interrupts import stop_signals
from magenta_midi.cli.terminal.options import weighted_folder
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
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


def _shares(text: str) -> dict[str, float]:
  """Splits `MODE:SHARE,...`; a mode alone has a share of 1."""
  shares = {}
  for item in text.split(","):
    mode, colon, share = item.strip().partition(":")
    try:
      shares[mode] = float(share) if colon else 1.0
    except ValueError:
      raise UserError(
        f"--partners {text}: expected MODE:SHARE, got {item!r}."
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
  type=float,
  help="Length of the run in minutes of training [default: 60, without"
  " --steps].",
)
@click.option(
  "--steps",
  type=int,
  help="Length of the run in optimizer steps. The same seed then gives the same"
  " checkpoint.",
)
@click.option(
  "--out",
  type=click.Path(path_type=Path, file_okay=False),
  default=Path("runs/train"),
  show_default=True,
  help="Folder of the run. If it holds a run, that run is continued.",
)
@click.option(
  "--session-minutes",
  type=float,
  help="Stop after this many minutes; the same command continues the run"
  " [default: no stop].",
)
@click.option(
  "--learning-rate",
  type=float,
  help="Peak learning rate [default: by optimizer; 0.015 for adam_relative,"
  " which is relative to the size of each array].",
)
@click.option(
  "--target-seconds",
  type=float,
  default=4.0,
  show_default=True,
  help="Music predicted for each context, seconds.",
)
@click.option(
  "--seed", type=int, default=0, show_default=True, help="Random seed."
)
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
  "--style",
  metavar="NAME",
  help="Train with style and controls: descriptors, midicoca, or the folder of"
  " a MidiCoCa [default: no style].",
)
@click.option(
  "--init-from",
  type=click.Path(path_type=Path),
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
  import magenta_midi.train.train as training
  from magenta_midi.model.checkpoint import read_config
  from magenta_midi.tokens.codec import get_codec
  from magenta_midi.train.allocator import keep_memory
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
    partners=_shares(partners),
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
  log = console()
  if task_module is None:
    music = _read([weighted_folder(text) for text in data], rows, log)
  else:
    music = _task(data, task_module, config, codec, rows, log)
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
      on_warm_start=lambda taken: log.print(taken.line(), soft_wrap=True),
      session_minutes=session_minutes,
      should_stop=lambda: bool(stopped),
    )
  if stopped:
    log.print(f"stopped and saved; the same command continues {out}")
    raise click.Abort
  figures = evaluation.figures() if evaluation else {}
  # A run of few steps has logged nothing to draw.
  curve = f"; curve: {out / 'loss.png'}" if (out / "loss.png").exists() else ""
  log.print(f"checkpoint: {out / 'checkpoint'}{curve}", soft_wrap=True)
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
  folders: list[tuple[Path, float | None]], rows: Any, log: Any
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

      read, failed = read_corpus(folder, ("train", "valid"), on_file=show)
      bad.extend(failed)
      if not len(read["train"]):
        raise UserError(
          f"{folder}: no piece to train on. Check the split column of"
          f" {folder.name}.csv, or give more files."
        )
      corpora.append(read["train"])
      if len(read["valid"]):
        held_out.append(read["valid"])
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
    log.print(f"left out: {reason}", soft_wrap=True)
  for corpus, (folder, _), share in zip(corpora, folders, shares, strict=True):
    log.print(
      f"{folder}: {len(corpus)} pieces, {corpus.notes:,} notes,"
      f" {share / sum(shares):.0%} of the examples"
    )
  if not held_out:
    log.print(
      "note: no piece is held out, so the run has no held-out figures and no"
      " samples. Give more files, or a list DIR.csv with the split valid.",
      soft_wrap=True,
    )
  return _Music(corpora, shares, join_corpora(held_out))


def _task(
  names: tuple[str, ...],
  module: str,
  config: Any,
  codec: Any,
  rows: Any,
  log: Any,
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
  log.print(
    f"{name}: a seqio task. Nothing is held out during the run: score the"
    " checkpoint with `magenta-midi evaluate`.",
    soft_wrap=True,
  )
  return _Music(
    [], [], None, lambda block: SeqioSource(name, config, codec, rows, block)
  )


if __name__ == "__main__":
  run_as_module("train")
