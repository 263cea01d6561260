"""Output of commands: results and JSON on stdout, remarks on stderr.

Everything a command shows goes through here, so that text from outside (names
of files, tracks and ports, prompts, metadata) is shown and obeyed by nothing.
"""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.plain_text import printable

if TYPE_CHECKING:
  import rich.progress
  import rich.table

  from magenta_midi.cli.terminal.plain_console import PlainConsole

__all__ = [
  "console",
  "json_option",
  "print_json",
  "print_line",
  "print_table",
  "progress_bar",
  "remark",
  "table",
]

# Width of tables where there is no terminal; what is cut off is lost.
_WIDTH_OF_NOTHING = 120

json_option = click.option(
  "--json",
  "as_json",
  is_flag=True,
  help="Print one JSON object as the last line of stdout.",
)


def print_line(text: object) -> None:
  """Prints a result: one line on stdout, ends of lines in it are escapes."""
  _write(sys.stdout, text)


def remark(text: object) -> None:
  """Prints one line on stderr, above a progress bar if there is one."""
  _write(sys.stderr, text)


def _write(stream: Any, text: object) -> None:
  # None where the command was started without one.
  if stream is not None:
    stream.write(printable(text, keep="") + "\n")
    stream.flush()


def print_json(values: dict[str, Any]) -> None:
  """One JSON object on one line of stdout, in ASCII: every name is whole."""
  print_line(json.dumps(values))


def console() -> "PlainConsole":
  """The console for progress bars and spinners: stderr."""
  # Late: --help needs none of it.
  from magenta_midi.cli.terminal.plain_console import PlainConsole

  return PlainConsole(stderr=True)


def table() -> "rich.table.Table":
  """An empty table."""
  import rich.box
  import rich.table

  return rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)


def print_table(rows: "rich.table.Table") -> None:
  """Prints a table on stdout."""
  from magenta_midi.cli.terminal.plain_console import PlainConsole

  out = PlainConsole()
  if not out.is_terminal:
    out = PlainConsole(width=_WIDTH_OF_NOTHING)
  out.print(rows)


def progress_bar() -> "rich.progress.Progress":
  """A progress bar that vanishes when done; none outside a terminal."""
  import rich.progress

  from magenta_midi.cli.terminal.plain_console import PlainColumn

  log = console()
  return rich.progress.Progress(
    PlainColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.TaskProgressColumn(),
    rich.progress.TimeRemainingColumn(),
    PlainColumn("{task.fields[note]}"),
    console=log,
    transient=True,
    # In a pipe it would leave an empty line beside the one-line errors.
    disable=not log.is_terminal,
  )
