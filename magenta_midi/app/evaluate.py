"""`magenta-midi evaluate`: nats a note on music the model has not seen."""

from pathlib import Path
from typing import Any

import click

from magenta_midi.app.errors import UserError
from magenta_midi.app.gin_options import GinDefaultsCommand, run_as_module
from magenta_midi.app.options import (
  checkpoint_option,
  load_model,
  refuse_adapters,
)
from magenta_midi.app.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

__all__ = ["command"]


@click.command("evaluate", cls=GinDefaultsCommand)
@click.argument(
  "paths",
  metavar="PATH...",
  nargs=-1,
  required=True,
  type=click.Path(path_type=Path),
)
@click.option(
  "--split",
  help="Only files of this split, by the list DIR.csv beside the folder DIR"
  " or as DIR was prepared [default: all files].",
)
@click.option(
  "--adapter", "adapters", multiple=True, metavar="NAME", help="An adapter."
)
@click.option(
  "--no-context",
  is_flag=True,
  help="Remove the context, to see what it is worth.",
)
@click.option(
  "--style-prompted",
  is_flag=True,
  help="Score again with style and controls of the music itself given.",
)
@checkpoint_option
@json_option
def command(
  paths: tuple[Path, ...],
  split: str | None,
  adapters: tuple[str, ...],
  no_context: bool,
  style_prompted: bool,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Score files or folders in nats a note; lower is more expected.

  Every 2 s of every piece once, with its true 10 s of context, nothing
  augmented; notes, pedal and the ends of chunks all count.
  """
  refuse_adapters(adapters)
  corpus = _read(paths, split)
  mm = load_model(checkpoint)
  from magenta_midi.train.evaluate import evaluate
  from magenta_midi.train.style_rows import stored_style

  told = stored_style(mm.config) if style_prompted else None

  def score(style: Any, name: str) -> dict[str, Any]:
    with progress_bar() as bar:
      task = bar.add_task(name, note="")
      return evaluate(
        mm.generator.model,
        mm.codec,
        corpus,
        context=not no_context,
        style=style,
        on_window=lambda done, total: bar.update(
          task, completed=done, total=total
        ),
      ).figures()

  figures = score(None, "scoring")
  low, high = figures["ci95"]
  click.echo(
    f"{figures['nats_per_note']:.3f} nats a note (95 % {low:.3f} to"
    f" {high:.3f}), {figures['nats_per_second']:.1f} a second, over"
    f" {figures['notes']} notes in {figures['pieces']} pieces"
  )
  parts = [*figures["levels"].items(), ("pedal", figures["pedal"])]
  parts.append(("end", figures["end"]))
  click.echo("  " + "  ".join(f"{name} {value:.3f}" for name, value in parts))
  if told is not None:
    prompted = score(told, "with style")
    figures["style_prompted"] = prompted
    click.echo(
      f"  {prompted['nats_per_note']:.3f} with style and controls of the music"
      " itself"
    )
  if as_json:
    print_json(figures)


def _read(paths: tuple[Path, ...], split: str | None) -> Any:
  """Reads and packs the files; bad ones are listed and left out."""
  from magenta_midi.midi.files import MidiFileError, read_score
  from magenta_midi.train.corpus import (
    join_corpora,
    midi_files,
    pack_scores,
    read_corpus,
  )
  from magenta_midi.train.prepared import is_prepared, prepared_splits

  corpora, bad = [], []
  for path in paths:
    if not path.exists():
      raise UserError(f"{path}: no such file or folder.")
    prepared = path.is_dir() and is_prepared(path)
    if split is not None or prepared:
      splits = (split,) if split is not None else prepared_splits(path)
      read, failed = read_corpus(path, splits)
      corpora += read.values()
      bad += [reason for _, reason in failed]
      continue
    files = midi_files(path)
    if not files and path.is_dir():
      raise UserError(f"{path}: holds no MIDI file (.mid, .midi, .kar, .rmi).")
    named = []
    for file in files:
      try:
        named.append((str(file), read_score(file)))
      except MidiFileError as error:
        bad.append(str(error))
    corpora.append(pack_scores(named))
  log = console()
  for reason in bad:
    log.print(f"left out: {reason}", soft_wrap=True)
  corpus = join_corpora([corpus for corpus in corpora if len(corpus)])
  if corpus is None:
    if len(bad) == 1 and len(paths) == 1 and paths[0].is_file():
      raise UserError(bad[0])
    raise UserError(
      f"{', '.join(map(str, paths))}: no music to score"
      + (f" in split {split!r}" if split else "")
      + "."
    )
  return corpus


if __name__ == "__main__":
  run_as_module("evaluate")
