"""Comparison of a checkpoint's continuations with real ones.

  python -m tools.music.compare --data DIR [--data DIR] [--checkpoint DIR]

Contexts of 10 s are cut from held-out pieces and continued. The table compares
the continuations with the real ones: mean (10th..90th percentile), the overlap
area of the two densities, and, as a reference, that of two halves of the real
music. `likeness.py` and `two_sample.py` beside it define the quantities.
"""

import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import rich.box
import rich.console
import rich.table

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.cli.terminal.options import (
  checkpoint_option,
  load_model,
  parse_sampling,
  sampling_options,
)
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)
from magenta_midi.generate.generator import CONTEXT_S, Generator
from magenta_midi.generate.sampling import Sampling
from magenta_midi.limits import COUNT_FROM_0, SEED, Bounds
from magenta_midi.midi.continuation import context_then_music
from tools.help_text import help_of
from tools.music.continuations import (
  Passage,
  Piece,
  Take,
  choose_passages,
  play,
  read_pieces,
)
from tools.music.likeness import CHUNK_S, compare
from tools.music.two_sample import two_sample_figures

# The two-sample control halves the pieces, and each half is cross-validated.
FEWEST = 4


def read_all(
  folders: Sequence[Path], split: str, generator: Generator
) -> list[Piece]:
  """Reads a split of every folder; tells what cannot be read."""
  pieces: list[Piece] = []
  log = console()
  with progress_bar() as bar:
    for folder in folders:
      task = bar.add_task(f"reading {folder.name}", note="")

      def show(done: int, total: int, task: Any = task) -> None:
        bar.update(task, completed=done, total=total)

      found, bad = read_pieces(folder, split, generator.codec, on_file=show)
      pieces.extend(found)
      for _, reason in bad:
        log.print(f"left out: {reason}", soft_wrap=True)
  return pieces


def play_all(
  generator: Generator,
  passages: Sequence[Passage],
  *,
  seed: int,
  sampling: Sampling,
  title: str,
) -> list[Take]:
  """Continues passages with a progress bar."""
  chunks = sum(-(-passage.seconds // CHUNK_S) for passage in passages)
  with progress_bar() as bar:
    task = bar.add_task(title, total=chunks, note="compiling")
    return play(
      generator,
      passages,
      seed=seed,
      sampling=sampling,
      on_chunk=lambda: bar.update(task, advance=1, note=""),
    )


def save_takes(takes: Sequence[Take], folder: Path) -> None:
  """Writes each continuation behind its context, and the real one."""
  folder.mkdir(parents=True, exist_ok=True)
  for index, take in enumerate(takes):
    passage = take.passage
    name = re.sub(r"\W+", "-", Path(passage.title).stem).strip("-")[:60]
    stem = f"{passage.seconds:g}s-{index:02d}-{name}"
    for kind, music in (("played", take.music), ("real", passage.real)):
      score = context_then_music(passage.context, music, CONTEXT_S, kind)
      score.to_file(folder / f"{stem}-{kind}.mid")


def number(value: float, digits: int = 3) -> str:
  """Three digits, or all of a large whole number."""
  return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def table_of(figures: dict[str, Any]) -> rich.table.Table:
  """The figures of continuations of one length as a table."""
  table = rich.table.Table(
    title=f"{figures['continuations']} continuations of"
    f" {figures['seconds']:g} s from {figures['pieces']} pieces",
    box=rich.box.SIMPLE,
  )
  table.add_column("", no_wrap=True)
  for column in ("played", "real", "overlap", "real/real"):
    table.add_column(column, justify="right")
  for name, found in figures["quantities"].items():
    sides = (found["generated"], found["real"])
    control = found["control"]
    table.add_row(
      name.replace("_", " "),
      *(
        f"{number(side['mean'])}"
        f" ({number(side['p10'], 2)}..{number(side['p90'], 2)})"
        for side in sides
      ),
      f"{found['overlap']:.3f}",
      "" if control is None else f"{control:.3f}",
    )
  for name in figures["generated"]:
    table.add_row(
      name.replace("_", " "),
      *(number(figures[side][name]) for side in ("generated", "real")),
    )
  return table


def two_sample_line(found: dict[str, Any]) -> str:
  """The two-sample test in words."""
  tells = ", ".join(f"{k} {v:+.2f}" for k, v in found["tells"].items())
  return (
    f"two-sample test, {found['windows']} windows of 10 s: AUC"
    f" {found['auc']:.3f} ({found['ci95'][0]:.3f}..{found['ci95'][1]:.3f});"
    f" real against real {found['control_auc']:.3f}"
    f" ({found['control_ci95'][0]:.3f}..{found['control_ci95'][1]:.3f})\n"
    f"differs most (standard deviations): {tells}"
  )


@click.command(
  help=help_of(__doc__),
  context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
  "--data",
  "folders",
  multiple=True,
  required=True,
  type=click.Path(path_type=Path),
  help="Folder of MIDI files; repeatable. DIR.csv beside it gives the splits.",
)
@click.option(
  "--split", default="test", show_default=True, help="Which pieces."
)
@checkpoint_option
@click.option(
  "--continuations",
  type=bounded(COUNT_FROM_0),
  default=50,
  show_default=True,
  help="How many short continuations; 0 for none.",
)
@click.option(
  "--seconds",
  type=bounded(Bounds(10, 24 * 3600, "seconds")),
  default=20.0,
  show_default=True,
  help="Their length, s.",
)
@click.option(
  "--long",
  "long_count",
  type=bounded(COUNT_FROM_0),
  default=10,
  show_default=True,
  help="How many long continuations; 0 for none.",
)
@click.option(
  "--long-seconds",
  type=bounded(Bounds(10, 24 * 3600, "seconds")),
  default=60.0,
  show_default=True,
  help="Their length, s.",
)
@sampling_options
@click.option(
  "--seed",
  type=bounded(SEED),
  default=0,
  show_default=True,
  help="Of all draws.",
)
@click.option(
  "--save-midi",
  type=click.Path(path_type=Path, file_okay=False),
  help="Folder for the continuations and the real ones, behind their context.",
)
@json_option
def command(
  folders: tuple[Path, ...],
  split: str,
  checkpoint: Path | None,
  continuations: int,
  seconds: float,
  long_count: int,
  long_seconds: float,
  seed: int,
  save_midi: Path | None,
  as_json: bool,
  **limits: Any,
) -> None:
  """Measure what a checkpoint plays, beside held-out music."""
  limited = parse_sampling(**limits)
  model = load_model(checkpoint)
  sampling = dataclasses.replace(model.default_sampling, **limited)
  generator = model.generator
  pieces = read_all(folders, split, generator)
  figures: dict[str, Any] = dict(
    checkpoint=model.checkpoint,
    sha256=model.config.get("sha256"),
    split=split,
    seed=seed,
    sampling=dataclasses.asdict(sampling),
  )
  output = rich.console.Console(highlight=False)
  takes: list[Take] = []
  begun = time.perf_counter()
  for name, count, length in (
    ("short", continuations, seconds),
    ("long", long_count, long_seconds),
  ):
    if not count:
      continue
    passages = choose_passages(
      pieces, count, length, codec=generator.codec, seed=seed
    )
    played = play_all(
      generator,
      passages,
      seed=seed,
      sampling=sampling,
      title=f"continuing for {length:g} s",
    )
    takes.extend(played)
    figures[name] = compare(played, seed=seed)
    output.print(table_of(figures[name]))
  if not takes:
    raise UserError("nothing to play. Give --continuations or --long.")
  chunks = sum(take.chunks for take in takes)
  figures.update(
    seconds_played=chunks * CHUNK_S,
    wall_s=time.perf_counter() - begun,
    redrawn=sum(take.redraws for take in takes) / chunks,
    capped=sum(take.capped for take in takes) / chunks,
  )
  if len({take.passage.piece for take in takes}) >= FEWEST:
    figures["two_sample"] = two_sample_figures(takes, seed=seed)
    output.print(two_sample_line(figures["two_sample"]), soft_wrap=True)
  else:
    output.print(f"no two-sample test: it needs {FEWEST} pieces or more.")
  output.print(
    f"{chunks} chunks in {figures['wall_s']:.0f} s; drawn again"
    f" {figures['redrawn']:.1%}, full {figures['capped']:.1%}",
    soft_wrap=True,
  )
  if save_midi is not None:
    save_takes(takes, save_midi)
  if as_json:
    print_json(figures)


def run(tool: click.Command) -> None:
  """Runs a tool; a user's mistake is one line and exit 2."""
  try:
    with one_line_errors():
      tool.main(standalone_mode=False)
  except click.ClickException as error:
    click.echo(f"{Path(sys.argv[0]).name}: {error.format_message()}", err=True)
    sys.exit(2)
  except (click.Abort, KeyboardInterrupt):
    sys.exit(130)


if __name__ == "__main__":
  run(command)
