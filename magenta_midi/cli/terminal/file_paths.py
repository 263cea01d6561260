"""Type of the options and arguments that are paths."""

from pathlib import Path
from typing import Any

import click

__all__ = ["FilePath"]


class FilePath(click.Path):
  """A path, as the disk spells it; see `existing_path`.

  It need not exist. Each command says itself what is wrong with a path.
  """

  def __init__(self, *, file_okay: bool = True, dir_okay: bool = True):
    super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

  def convert(
    self, value: Any, param: click.Parameter | None, ctx: click.Context | None
  ) -> Any:
    """The path; parts of it may be in another Unicode form than typed."""
    from magenta_midi.plain_text import existing_path

    return super().convert(existing_path(value), param, ctx)
