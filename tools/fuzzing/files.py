"""Fuzzing of all readers of files: nothing a stranger sends may hurt.

  python -m tools.fuzzing.files [--kind midi]... [--inputs 10000] [--report R]

Each kind of file is made once, then changed at random, in its bytes and in its
structure, and read as the commands read it. An input may be read or refused
with the reader's documented error, in one line. Anything else is counted:
another error (crash), more time than --seconds (hang), or more memory than
--memory. Each input depends on --seed and its number alone:

  python -m tools.fuzzing.files --kind midi --only 4711 --keep /tmp/inputs

makes and reads one again and keeps it.
"""

import sys
from pathlib import Path

import click

from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  progress_bar,
)
from magenta_midi.limits import COUNT, COUNT_FROM_0, JOBS, SECONDS
from tools.fuzzing.kinds import KINDS
from tools.fuzzing.runs import Limits, Tally, run_kind
from tools.help_text import help_of

COLUMNS = (
  "kind",
  "inputs",
  "read",
  "refused",
  "crashes",
  "hangs",
  "over memory",
  "seconds",
  "slowest, s",
  "peak memory, MB",
)


def table(tallies: list[Tally]) -> str:
  """The figures as a table of Markdown; the peak is beyond the reader's own."""
  rows = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
  rows += [
    (
      tally.kind,
      f"{tally.inputs:,}",
      f"{tally.read:,}",
      f"{tally.refused:,}",
      str(tally.crashes),
      str(tally.hangs),
      str(tally.over_memory),
      f"{tally.seconds:.0f}",
      f"{tally.slowest_s:.2f} ({tally.slowest_input})",
      f"{tally.peak_mb:.0f} ({tally.peak_input})",
    )
    for tally in tallies
  ]
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@click.command(help=help_of(__doc__))
@click.option(
  "--kind",
  "kinds",
  multiple=True,
  type=click.Choice(list(KINDS)),
  help="Kind of file; repeatable [default: all].",
)
@click.option(
  "--inputs",
  type=bounded(COUNT),
  default=10_000,
  show_default=True,
  help="Inputs of each kind.",
)
@click.option(
  "--only", type=bounded(COUNT_FROM_0), help="Number of the one input to read."
)
@seed_option("Random seed.")
@click.option(
  "--seconds",
  type=bounded(SECONDS),
  default=5.0,
  show_default=True,
  help="Time that one input may take, seconds.",
)
@click.option(
  "--memory",
  "memory_mb",
  type=bounded(COUNT),
  default=300,
  show_default=True,
  help="Memory that one input may take, MB.",
)
@click.option(
  "--jobs",
  type=bounded(JOBS),
  default=2,
  show_default=True,
  help="Processes that read.",
)
@click.option(
  "--keep",
  type=click.Path(path_type=Path, file_okay=False),
  help="Folder for the inputs that fail; with --only for the one input.",
)
@click.option(
  "--report",
  type=click.Path(path_type=Path, dir_okay=False),
  help="File to write the table to.",
)
@json_option
def main(
  kinds: tuple[str, ...],
  inputs: int,
  only: int | None,
  seed: int,
  seconds: float,
  memory_mb: int,
  jobs: int,
  keep: Path | None,
  report: Path | None,
  as_json: bool,
) -> None:
  if only is not None and len(kinds) != 1:
    raise UserError("--only needs one --kind.")
  numbers = range(inputs) if only is None else range(only, only + 1)
  limits = Limits(seconds, memory_mb)
  keep_all = only is not None
  tallies = []
  with progress_bar() as bar:
    for kind in kinds or KINDS:
      task = bar.add_task(kind, total=len(numbers), note="")

      def show(done: int, task: int = task) -> None:
        bar.update(task, completed=done)  # pyright: ignore

      found = run_kind(
        kind,
        numbers,
        seed=seed,
        limits=limits,
        jobs=min(jobs, len(numbers)),
        keep=keep,
        keep_all=keep_all,
        on_progress=show,
      )
      tallies.append(found)
      for line in found.failures:
        click.echo(f"{kind}: {line}", err=True)
  click.echo(table(tallies))
  if report is not None:
    report.write_text(table(tallies) + "\n", encoding="utf-8")
  if as_json:
    print_json({"kinds": [tally._asdict() for tally in tallies]})
  if any(t.crashes or t.hangs or t.over_memory for t in tallies):
    sys.exit(1)


if __name__ == "__main__":
  with one_line_errors():
    main()
