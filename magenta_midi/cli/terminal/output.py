"""Output of commands: JSON on stdout, progress on stderr."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
  import rich.console
  import rich.progress

__all__ = ["console", "json_option", "print_json", "progress_bar"]

json_option = click.option(
  "--json",
  "as_json",
  is_flag=True,
  help="Print one JSON object as the last line of stdout.",
)


def console() -> "rich.console.Console":
  """The console for progress bars and remarks: stderr."""
  # Late: --help needs none of it.
  import rich.console

  return rich.console.Console(stderr=True, highlight=False)


def progress_bar() -> "rich.progress.Progress":
  """A progress bar that vanishes when done; none outside a terminal."""
  import rich.progress

  log = console()
  return rich.progress.Progress(
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.TaskProgressColumn(),
    rich.progress.TimeRemainingColumn(),
    rich.progress.TextColumn("{task.fields[note]}"),
    console=log,
    transient=True,
    # In a pipe it would leave an empty line beside the one-line errors.
    disable=not log.is_terminal,
  )


def print_json(values: dict[str, Any]) -> None:
  """One JSON object on one line of stdout."""
  click.echo(json.dumps(values))
