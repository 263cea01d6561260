"""`magenta-midi finetune`: an adapter from a player's own takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.app.errors import UserError
from magenta_midi.app.gin_options import GinDefaultsCommand, run_as_module
from magenta_midi.app.interrupts import stop_signals
from magenta_midi.app.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

if TYPE_CHECKING:
  from magenta_midi.train.corpus import Corpus
  from magenta_midi.train.finetune import Finetuned, FinetuneProgress
  from magenta_midi.train.takes import Split

__all__ = ["command"]

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
  required=True,
  help="What the adapter is called: generate --adapter NAME plays with it.",
)
@click.option(
  "--rank",
  type=int,
  default=8,
  show_default=True,
  help="Rank of what is learned; its size grows with it.",
)
@click.option(
  "--alpha",
  type=float,
  help="What is learned is scaled by alpha / rank [default: twice the rank].",
)
@click.option(
  "--targets",
  metavar="TARGET,...",
  help="What is adapted: query, key, value, out (of self and cross attention;"
  " self_query or cross_query for one), mlp, embeddings, head; of one stack as"
  " temporal.query, encoder.mlp, depth.out [default: query,key,value,out,mlp].",
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
  help="Folder of other music, to say what was forgotten [default: not said].",
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
  " runs/adapters/NAME].",
)
@click.option(
  "--replace",
  is_flag=True,
  help="Overwrite an installed adapter of that name.",
)
@json_option
def command(
  takes: tuple[Path, ...],
  name: str,
  rank: int,
  alpha: float | None,
  targets: str | None,
  dropout: float,
  minutes: float | None,
  steps: int | None,
  learning_rate: float,
  seed: int,
  held_out: Path | None,
  general: Path | None,
  base: Path | None,
  out: Path | None,
  replace: bool,
  as_json: bool,
) -> None:
  """Learn to play like the player of TAKES: MIDI files, or folders of such.

  Says what it is worth on held-out takes before and after, and installs the
  adapter. OUT receives loss.png, log.jsonl, tensorboard/ and the state from
  which the same command continues.
  """
  from magenta_midi.api import finetune_folder
  from magenta_midi.model.adapter_library import check_free, install_adapter

  # All that can be refused is, before anything slow.
  out = finetune_folder(name) if out is None else out
  if not replace:
    check_free(name)
  config = _config(
    rank=rank,
    alpha=alpha,
    targets=targets,
    dropout=dropout,
    minutes=minutes,
    steps=steps,
    learning_rate=learning_rate,
    seed=seed,
  )
  split, left_out = _read(takes, held_out)
  other = _general(general)

  from magenta_midi.app.options import load_model
  from magenta_midi.train.allocator import keep_memory
  from magenta_midi.train.finetune import finetune

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
      general=other,
      on_progress=_Display(bar, log, [*left_out, _music_line(split)]),
      should_stop=lambda: bool(stopped),
    )
  if found is None:
    log.print(f"stopped and saved; the same command continues {out}")
    raise click.Abort
  _say(found)
  try:
    installed = install_adapter(found.adapter, replace=replace)
  except OSError as error:
    raise UserError(
      f"{error.filename}: the adapter cannot be installed ({error.strerror});"
      f" it is whole in {found.path}. Make room, then: magenta-midi adapters"
      f" import {found.path}"
    ) from None
  click.echo(f"installed as {name}; curve: {out / 'loss.png'}")
  if as_json:
    print_json(_facts(found, split, installed, out))


def _config(*, targets: str | None, **settings: Any) -> Any:
  """The settings, of which those that were not given are left out."""
  from magenta_midi.train.finetune_settings import finetune_config

  given = {name: v for name, v in settings.items() if v is not None}
  if targets is not None:
    names = tuple(part.strip() for part in targets.split(",") if part.strip())
    given["targets"] = names
  return finetune_config(**given)


def _read(
  takes: tuple[Path, ...], held_out: Path | None
) -> "tuple[Split, list[str]]":
  """Reads and splits the takes; a line for each bad one that is left out.

  Raises:
    UserError: None is left, with the reason of the first that was not.
  """
  from magenta_midi.train.takes import join_split, read_takes, split_takes

  found, refused = read_takes(takes)
  judged = None
  if held_out is not None:
    judged, more = read_takes([held_out])
    refused = refused + more
  try:
    if judged is not None:
      split = join_split(found, judged)
    else:
      split = split_takes(found)
  except ValueError as error:
    reasons = "; ".join(f"{name}: {why}" for name, why in refused[:3])
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    left = f" Left out: {reasons}{more}." if refused else ""
    raise UserError(f"{error}{left}") from None
  lines = [f"left out: {name}: {why}" for name, why in refused[:_LISTED]]
  if len(refused) > _LISTED:
    lines.append(f"left out: {len(refused) - _LISTED} more")
  return split, lines


def _general(folder: Path | None) -> "Corpus | None":
  """Other music, without bad files."""
  if folder is None:
    return None
  from magenta_midi.train.takes import read_takes, takes_corpus

  takes, _ = read_takes([folder])
  if not takes:
    raise UserError(f"{folder}: no music to score. Give --general a folder.")
  return takes_corpus(takes)


def _music_line(split: "Split") -> str:
  """How much there is, and what is held out."""
  minutes = [
    corpus.lengths_ms.sum() / 60_000 for corpus in (split.train, split.held_out)
  ]
  if split.by_time:
    how = "the end of each take, as there are fewer than three titles"
  else:
    shown = ", ".join(split.held_out_titles[:5])
    more = len(split.held_out_titles) - 5
    how = shown + (f" and {more} more" if more > 0 else "")
  return (
    f"learning from {minutes[0]:.1f} min, {split.train.notes:,} notes;"
    f" held out: {minutes[1]:.1f} min ({how})"
  )


class _Display:
  """Shows how a run stands: a bar, and the estimate in a line of its own."""

  def __init__(self, bar: Any, log: Any, first: list[str]):
    self.bar = bar
    self.log = log
    # Said once nothing can be refused any more.
    self.first = first
    self.task: Any = None
    self.stage = ""
    self.estimated = False

  def __call__(self, progress: "FinetuneProgress") -> None:
    """Called about twice a second."""
    while self.first:
      self.log.print(self.first.pop(0), soft_wrap=True)
    if not self.estimated and progress.estimate_min is not None:
      self.estimated = True
      self.log.print(
        f"about {max(1.0, progress.estimate_min):.0f} min in all, less if it"
        " stops improving"
      )
    if progress.stage != self.stage:
      if self.task is not None:
        self.bar.remove_task(self.task)
      self.stage = progress.stage
      self.task = self.bar.add_task(progress.stage, total=1.0, note="")
    note = ""
    if progress.stage == "training":
      note = f"step {progress.step}"
      if progress.nats is not None:
        note += f", {progress.nats:.2f} nats an event"
      if progress.held_out is not None:
        note += f", held out {progress.held_out:.3f} a note"
    self.bar.update(self.task, completed=progress.fraction, note=note)


def _say(found: "Finetuned") -> None:
  """Before and after, in words and figures."""
  before, after = found.before.nats_per_note, found.after.nats_per_note
  difference = found.difference
  low, high = difference.interval
  share = (after - before) / before
  click.echo(
    f"held-out takes: {before:.3f} nats a note before, {after:.3f} after"
    f" ({share:+.1%}; {difference.nats_per_note:+.3f}, 95 % {low:+.3f} to"
    f" {high:+.3f} over pieces)"
  )
  if after == before:
    verdict = (
      "nothing was gained, so the adapter changes nothing. Give more takes, or"
      " a lower --learning-rate."
    )
  elif difference.beyond is None:
    verdict = (
      "it expects this player better, but one piece cannot tell whether others"
      " would agree"
    )
  elif difference.beyond:
    verdict = "it expects this player better, beyond what the pieces explain"
  else:
    verdict = "the gain is no more than the choice of pieces explains"
  click.echo(f"  {verdict}")
  if found.general_before is not None and found.general_after is not None:
    click.echo(
      f"other music: {found.general_before.nats_per_note:.3f} nats a note"
      f" before, {found.general_after.nats_per_note:.3f} after"
    )
  click.echo(
    f"  {found.trainable_parameters:,} numbers trained beside"
    f" {found.total_parameters - found.trainable_parameters:,}, in"
    f" {found.steps} steps and {found.minutes:.1f} min"
  )


def _facts(
  found: "Finetuned", split: "Split", installed: Path, out: Path
) -> dict[str, Any]:
  """What `--json` prints."""
  general = [
    None if scored is None else scored.nats_per_note
    for scored in (found.general_before, found.general_after)
  ]
  return dict(
    adapter=str(installed),
    adapter_bytes=installed.stat().st_size,
    trainable_parameters=found.trainable_parameters,
    total_parameters=found.total_parameters,
    nats_per_note_before=found.before.nats_per_note,
    nats_per_note_after=found.after.nats_per_note,
    general_before=general[0],
    general_after=general[1],
    name=found.adapter.name,
    base=found.adapter.base,
    difference=found.difference.figures(),
    steps=found.steps,
    best_step=found.adapter.figures["best_step"],
    minutes=found.minutes,
    held_out=list(split.held_out_titles),
    out=str(out),
  )


if __name__ == "__main__":
  run_as_module("finetune")
