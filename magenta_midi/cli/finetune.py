"""`magenta-midi finetune`: an adapter from a player's recordings."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.adapters import groove_line, style_line
from magenta_midi.cli.finetune_report import Display, facts, music_line, say
from magenta_midi.cli.gin.options import (
  GinDefaultsCommand,
  given_options,
  run_as_module,
)
from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.interrupts import stop_signals
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
  remark,
)
from magenta_midi.limits import (
  ALPHA,
  COUNT_FROM_0,
  FRACTION,
  INNER_SHARE,
  LEARNING_RATE,
  MINUTES,
  RANK,
  RATE_FACTOR,
  STEPS,
  TIME_S,
)

if TYPE_CHECKING:
  from magenta_midi.data.corpus import Corpus
  from magenta_midi.data.recordings import Split
  from magenta_midi.finetune.config import FinetuneConfig
  from magenta_midi.model.lora.adapter_file import Adapter

__all__ = ["command", "config_of"]

# Options that are settings under the same name.
_SETTINGS = (
  "rank",
  "alpha",
  "targets",
  "dropout",
  "minutes",
  "steps",
  "learning_rate",
  "stack_rates",
  "unfreeze",
  "early_stopping",
  "rehearsal_share",
  "continuations_s",
  "quantize",
  "seed",
)
_LENGTHS = ("steps", "minutes")
# Most recordings left out that are listed with a reason; more are counted.
_LISTED = 20


@click.command("finetune", cls=GinDefaultsCommand)
@click.argument(
  "takes",
  metavar="RECORDINGS...",
  nargs=-1,
  required=True,
  type=FilePath(),
)
@click.option(
  "--name",
  help="Name of the adapter: generate --adapter NAME plays with it [required;"
  " with --continue, that adapter's].",
)
@click.option(
  "--continue",
  "continued",
  metavar="NAME",
  help="Train this adapter further. Base, rank and targets must be the same. It"
  " is replaced unless --name gives another.",
)
@click.option(
  "--rank",
  type=bounded(RANK),
  help="Rank of the adapter; its size grows with the rank [default: 16, or the"
  " continued adapter's].",
)
@click.option(
  "--alpha",
  type=bounded(ALPHA),
  help="The adapter is scaled by alpha / rank [default: twice the rank, or the"
  " continued adapter's].",
)
@click.option(
  "--targets",
  metavar="TARGET,...",
  help="What is adapted: query, key, value, out (of self and cross attention;"
  " self_query or cross_query for one), mlp, embeddings, head; of one stack as"
  " temporal.query, encoder.mlp, depth.out [default: all of"
  " these, or the continued adapter's].",
)
@click.option(
  "--dropout",
  type=bounded(FRACTION),
  default=0.0,
  show_default=True,
  help="Share of the adapter's inputs that each step drops, 0-1.",
)
@click.option(
  "--minutes",
  type=bounded(MINUTES),
  help="Length of the run, minutes of training with its evaluations"
  " [default: 20].",
)
@click.option(
  "--steps",
  type=bounded(STEPS),
  help="Length of the run, optimizer steps: the same seed then gives the same"
  " adapter.",
)
@click.option(
  "--learning-rate",
  type=bounded(LEARNING_RATE),
  default=1e-3,
  show_default=True,
  help="Peak of AdamW's rate.",
)
@click.option(
  "--stack-rates",
  metavar="PART:FACTOR,...",
  help="Factors on the learning rate of encoder, temporal, depth, embeddings or"
  " head; with 0 a part does not change [default: 1 each].",
)
@click.option(
  "--unfreeze",
  metavar="PART:FRACTION,...",
  help="Part of the run, 0-1, after which a part begins to learn, as"
  " temporal:0.05,encoder:0.2 [default: 0 each].",
)
@click.option(
  "--early-stopping",
  type=bounded(COUNT_FROM_0),
  default=4,
  show_default=True,
  help="End the run after so many evaluations in a row that are no better than"
  " the one before; there are at most 12; 0: never.",
)
@click.option(
  "--rehearsal",
  metavar="DIR|itself|none",
  help="Other music to train on beside RECORDINGS, so that it is not forgotten:"
  " a folder of older recordings or a corpus; itself: what the model plays by"
  " itself before training [default: none; with --continue, itself].",
)
@click.option(
  "--rehearsal-share",
  type=bounded(INNER_SHARE),
  default=0.3,
  show_default=True,
  help="Share of the examples that are rehearsal, 0-1.",
)
@click.option(
  "--continuations",
  "continuations_s",
  type=bounded(TIME_S),
  default=480.0,
  show_default=True,
  help="Music sampled once from the model before training, seconds: for"
  " --rehearsal itself, and to measure forgetting without --general; 0: none.",
)
@click.option(
  "--quantize",
  metavar="none|int8|nf4",
  default="none",
  show_default=True,
  help="Format of the base during training: unchanged, or 8 or about 4 bits a"
  " number, for a large base on a small accelerator; slower. The adapter and"
  " its figures are for the unchanged base.",
)
@seed_option("Seed of all random draws.")
@click.option(
  "--held-out",
  type=FilePath(),
  help="Folder of recordings to evaluate on, which are not trained on [default:"
  " one title in five of RECORDINGS, at least one].",
)
@click.option(
  "--general",
  type=FilePath(),
  help="Folder of other music, to measure forgetting [default: a part of the"
  " --rehearsal folder, else what the model plays by itself].",
)
@click.option(
  "--base",
  type=FilePath(),
  help="Checkpoint to adapt [default: the embedded one].",
)
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  help="The run's folder; a run found there is continued [default:"
  " runs/adapters/NAME; with --continue, one beside it].",
)
@click.option(
  "--replace",
  is_flag=True,
  help="Overwrite an installed adapter of that name.",
)
@json_option
def command(
  takes: tuple[Path, ...],
  name: str | None,
  continued: str | None,
  rehearsal: str | None,
  held_out: Path | None,
  general: Path | None,
  base: Path | None,
  out: Path | None,
  replace: bool,
  as_json: bool,
  **settings: Any,
) -> None:
  """Train an adapter on RECORDINGS: MIDI files or folders, of one player.

  Audio files are transcribed first (see transcribe); in a folder, those without
  a MIDI file of the same name beside.

  Saved sessions are recordings too (their folder: magenta-midi sessions path).
  Only the player's part is used. A session with a higher rating is used more
  often; one with rating 1 is left out.

  Prints the loss on held-out recordings before and after training, and installs
  the adapter. OUT receives loss.png, log.jsonl, tensorboard/ and the state from
  which the same command continues.
  """
  from magenta_midi.cli.terminal.options import load_model
  from magenta_midi.finetune.finetune import finetune, finetune_folder
  from magenta_midi.finetune.mixture import choose_rehearsal
  from magenta_midi.model.lora.adapter_library import (
    check_free,
    find_adapter,
    install_adapter,
  )
  from magenta_midi.train.machine import keep_memory
  from magenta_midi.train.run import held_folder

  # Wrong options are refused before anything slow.
  start = None if continued is None else find_adapter(continued)
  name = name or (None if start is None else start.name)
  if name is None:
    raise UserError("Missing option '--name'. Give the adapter a name.")
  replace = replace or name == continued
  out = finetune_folder(name, start) if out is None else out
  if not replace:
    check_free(name)
  config = config_of(start, settings)
  # A second run into the folder is refused before it reads its files.
  with held_folder(out):
    split, left_out = _read(takes, held_out)
    other = _general(general)
    rehearsed = choose_rehearsal(rehearsal, going_on=start is not None)

    keep_memory()
    mm = load_model(base)
    with progress_bar() as bar, stop_signals() as stopped:
      found = finetune(
        config,
        mm.finetune_base(),
        split,
        name,
        out,
        general=rehearsed.judged if other is None else other,
        rehearsal=rehearsed.learned,
        start=start,
        learn_style=functools.partial(mm.learn_style, split, on_remark=remark),
        on_progress=Display(bar, [*left_out, music_line(split)]),
        should_stop=lambda: bool(stopped),
      )
  if found is None:
    remark(f"stopped and saved; the same command continues {out}")
    raise click.Abort
  say(found)
  try:
    installed = install_adapter(found.adapter, replace=replace)
  except OSError as error:
    raise UserError(
      f"{error.filename}: the adapter cannot be installed ({error.strerror});"
      f" it is whole in {found.path}. Make room, then: magenta-midi adapters"
      f" import {found.path}"
    ) from None
  print_line(style_line(found.adapter))
  print_line(groove_line(found.adapter))
  print_line(f"installed as {name}; curve: {out / 'loss.png'}")
  if as_json:
    print_json(facts(found, split, installed, out))


def config_of(
  start: "Adapter | None", options: Mapping[str, Any]
) -> "FinetuneConfig":
  """The settings that options give.

  Args:
    start: The adapter to continue; it gives the settings that they leave out.
    options: Of the command; None: not given.

  Raises:
    UserError: An option cannot be read; ValueError: a setting is refused.
  """
  from magenta_midi.finetune.config import finetune_config

  given = {
    name: options[name] for name in _SETTINGS if options[name] is not None
  }
  for name in ("stack_rates", "unfreeze"):
    if name in given:
      given[name] = _by_part(name, given[name])
  if "targets" in given:
    parts = map(str.strip, given["targets"].split(","))
    given["targets"] = tuple(part for part in parts if part)
  # One of both is given: the other may come from a gin file.
  lengths = given_options({name: name for name in _LENGTHS})
  if len(lengths) == 1:
    given = {
      k: v for k, v in given.items() if k not in _LENGTHS or k in lengths
    }
  return finetune_config(start=None if start is None else start.config, **given)


def _by_part(name: str, text: str) -> dict[str, float]:
  """Splits `PART:NUMBER,...`."""
  bounds = RATE_FACTOR if name == "stack_rates" else FRACTION
  found = {}
  for item in text.split(","):
    part, _, number = item.strip().partition(":")
    try:
      found[part] = bounds.read("NUMBER", number)
    except ValueError as error:
      raise UserError(
        f"--{name.replace('_', '-')} {text}: expected PART:NUMBER, got"
        f" {item.strip()!r}: {error}"
      ) from None
  return found


def _read(
  recordings: tuple[Path, ...], held_out: Path | None
) -> "tuple[Split, list[str]]":
  """Reads and splits the recordings; one line for each that is not fully used.

  Raises:
    UserError: None is left, with the reason of the first that was not.
  """
  from magenta_midi.cli.terminal.audio_input import hear
  from magenta_midi.data.recordings import (
    join_split,
    read_recordings,
    split_recordings,
  )

  found, refused = read_recordings(recordings, hear)
  judged = []
  if held_out is not None:
    judged, more = read_recordings([held_out], hear)
    refused = refused + more
  try:
    if held_out is not None:
      split = join_split(found, judged)
    else:
      split = split_recordings(found)
  except ValueError as error:
    reasons = "; ".join(f"{name}: {why}" for name, why in refused[:3])
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    left = f" Left out: {reasons}{more}." if refused else ""
    raise UserError(f"{error}{left}") from None
  partly = [
    (recording.name, recording.damage)
    for recording in found + judged
    if recording.damage
  ]
  return split, [*_listed("left out", refused), *_listed("in part", partly)]


def _listed(what: str, files: list[tuple[str, str]]) -> list[str]:
  """A line for each of the first files, and one for the rest."""
  lines = [f"{what}: {name}: {why}" for name, why in files[:_LISTED]]
  if len(files) > _LISTED:
    lines.append(f"{what}: {len(files) - _LISTED} more")
  return lines


def _general(folder: Path | None) -> "Corpus | None":
  """Other music, without bad files."""
  if folder is None:
    return None
  from magenta_midi.data.recordings import read_recordings, recordings_corpus

  recordings, _ = read_recordings([folder])
  if not recordings:
    raise UserError(f"{folder}: no music to score. Give --general a folder.")
  return recordings_corpus(recordings)


if __name__ == "__main__":
  run_as_module("finetune")
