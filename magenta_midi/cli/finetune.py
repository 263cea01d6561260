"""`magenta-midi finetune`: an adapter from a player's own takes."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.adapters import style_line
from magenta_midi.cli.finetune_report import Display, facts, music_line, say
from magenta_midi.cli.gin.options import (
  GinDefaultsCommand,
  given_options,
  run_as_module,
)
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.interrupts import stop_signals
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

if TYPE_CHECKING:
  from magenta_midi.data.corpus import Corpus
  from magenta_midi.data.takes import Split
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
# Reasons of takes left out that are listed; more are counted.
_LISTED = 20


@click.command("finetune", cls=GinDefaultsCommand)
@click.argument(
  "takes",
  metavar="TAKES...",
  nargs=-1,
  required=True,
  type=click.Path(path_type=Path),
)
@click.option(
  "--name",
  help="What the adapter is called: generate --adapter NAME plays with it"
  " [required, but for --continue: that adapter's].",
)
@click.option(
  "--continue",
  "continued",
  metavar="NAME",
  help="Go on from an adapter of the same base, rank and targets; it is"
  " replaced unless --name is another.",
)
@click.option(
  "--rank",
  type=int,
  help="Rank of what is learned; its size grows with it [default: 16, or the"
  " continued adapter's].",
)
@click.option(
  "--alpha",
  type=float,
  help="What is learned is scaled by alpha / rank [default: twice the rank, or"
  " the continued adapter's].",
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
  type=float,
  default=0.0,
  show_default=True,
  help="Share of what the factors hear that each step leaves out, 0-1.",
)
@click.option(
  "--minutes",
  type=float,
  help="Length of the run, minutes of training and of scoring on the way"
  " [default: 20].",
)
@click.option(
  "--steps",
  type=int,
  help="Length of the run, optimizer steps: the same seed then gives the same"
  " adapter.",
)
@click.option(
  "--learning-rate",
  type=float,
  default=1e-3,
  show_default=True,
  help="Peak of AdamW's rate.",
)
@click.option(
  "--stack-rates",
  metavar="PART:FACTOR,...",
  help="Factors on the rate of encoder, temporal, depth, embeddings or head; 0:"
  " it stays as it is [default: 1 each].",
)
@click.option(
  "--unfreeze",
  metavar="PART:FRACTION,...",
  help="How much of the run is done when a part begins to learn, 0-1, as"
  " temporal:0.05,encoder:0.2 [default: 0 each].",
)
@click.option(
  "--early-stopping",
  type=click.IntRange(min=0),
  default=4,
  show_default=True,
  help="Ends the run after so many evaluations in a row, of 12 at most, that"
  " are no better than the one before; 0: never.",
)
@click.option(
  "--rehearsal",
  metavar="DIR|itself|none",
  help="Other music to learn from beside TAKES, so that it is not forgotten:"
  " older takes or a corpus; itself: what the model plays by itself before it"
  " learns [default: none; with --continue, itself].",
)
@click.option(
  "--rehearsal-share",
  type=float,
  default=0.3,
  show_default=True,
  help="Of the examples, how many are rehearsal, 0-1.",
)
@click.option(
  "--continuations",
  "continuations_s",
  type=float,
  default=480.0,
  show_default=True,
  help="Music sampled once from the model before it learns, seconds: to"
  " rehearse, and to say what was forgotten without --general; 0: none.",
)
@click.option(
  "--quantize",
  metavar="none|int8|nf4",
  default="none",
  show_default=True,
  help="How the base is held while the adapter is trained: as it is, or in 8 or"
  " about 4 bits a number, one layer widened at a time, which a large base on a"
  " small accelerator needs; slower. The adapter and its figures are for the"
  " base as it is.",
)
@click.option(
  "--seed", type=int, default=0, show_default=True, help="Of all draws."
)
@click.option(
  "--held-out",
  type=click.Path(path_type=Path),
  help="Folder of takes to judge by, which are not learned from [default: one"
  " title in five of TAKES, at least one].",
)
@click.option(
  "--general",
  type=click.Path(path_type=Path),
  help="Folder of other music, to say what was forgotten [default: a part of"
  " the --rehearsal folder, else what the model plays by itself].",
)
@click.option(
  "--base",
  type=click.Path(path_type=Path),
  help="Checkpoint to adapt [default: the embedded one].",
)
@click.option(
  "--out",
  type=click.Path(path_type=Path, file_okay=False),
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
  """Learn to play like the player of TAKES: MIDI files, or folders of such.

  Saved sessions are takes too (their folder: magenta-midi sessions path): only
  the player's part is learned from, the more often the better it was rated;
  what was rated 1 is left out.

  Says what it is worth on held-out takes before and after, and installs the
  adapter. OUT receives loss.png, log.jsonl, tensorboard/ and the state from
  which the same command continues.
  """
  from magenta_midi.finetune.finetune import finetune_folder
  from magenta_midi.finetune.rehearsal import choose_rehearsal
  from magenta_midi.model.lora.adapter_library import (
    check_free,
    find_adapter,
    install_adapter,
  )

  # All that can be refused is, before anything slow.
  start = None if continued is None else find_adapter(continued)
  name = name or (None if start is None else start.name)
  if name is None:
    raise UserError("Missing option '--name'. Give the adapter a name.")
  replace = replace or name == continued
  out = finetune_folder(name, start) if out is None else out
  if not replace:
    check_free(name)
  config = config_of(start, settings)
  split, left_out = _read(takes, held_out)
  other = _general(general)
  rehearsed = choose_rehearsal(rehearsal, going_on=start is not None)

  from magenta_midi.cli.terminal.options import load_model
  from magenta_midi.finetune.finetune import finetune
  from magenta_midi.train.allocator import keep_memory

  keep_memory()
  log = console()
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
      learn_style=functools.partial(mm.learn_style, split, on_remark=log.print),
      on_progress=Display(bar, log, [*left_out, music_line(split)]),
      should_stop=lambda: bool(stopped),
    )
  if found is None:
    log.print(f"stopped and saved; the same command continues {out}")
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
  click.echo(style_line(found.adapter))
  click.echo(f"installed as {name}; curve: {out / 'loss.png'}")
  if as_json:
    print_json(facts(found, split, installed, out))


def config_of(
  start: "Adapter | None", options: Mapping[str, Any]
) -> "FinetuneConfig":
  """The settings that options give.

  Args:
    start: The adapter to go on from, which says what they do not.
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
  found = {}
  for item in text.split(","):
    part, _, number = item.strip().partition(":")
    try:
      found[part] = float(number)
    except ValueError:
      raise UserError(
        f"--{name.replace('_', '-')} {text}: expected PART:NUMBER, got"
        f" {item.strip()!r}."
      ) from None
  return found


def _read(
  takes: tuple[Path, ...], held_out: Path | None
) -> "tuple[Split, list[str]]":
  """Reads and splits the takes; a line for each that is not used whole.

  Raises:
    UserError: None is left, with the reason of the first that was not.
  """
  from magenta_midi.data.takes import join_split, read_takes, split_takes

  found, refused = read_takes(takes)
  judged = []
  if held_out is not None:
    judged, more = read_takes([held_out])
    refused = refused + more
  try:
    if held_out is not None:
      split = join_split(found, judged)
    else:
      split = split_takes(found)
  except ValueError as error:
    reasons = "; ".join(f"{name}: {why}" for name, why in refused[:3])
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    left = f" Left out: {reasons}{more}." if refused else ""
    raise UserError(f"{error}{left}") from None
  partly = [(take.name, take.damage) for take in found + judged if take.damage]
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
  from magenta_midi.data.takes import read_takes, takes_corpus

  takes, _ = read_takes([folder])
  if not takes:
    raise UserError(f"{folder}: no music to score. Give --general a folder.")
  return takes_corpus(takes)


if __name__ == "__main__":
  run_as_module("finetune")
