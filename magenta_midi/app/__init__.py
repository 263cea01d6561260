"""The old place of `magenta_midi.cli`: its modules say where they went."""

import sys
from typing import NoReturn

from magenta_midi.plain_text import line

__all__ = ["refuse"]


def refuse(old: str, new: str) -> NoReturn:
  """Ends the program with one line that names the new module."""
  text = (
    f"magenta_midi.app.{old} is now magenta_midi.cli.{new}:"
    f" python -m magenta_midi.cli.{new}"
  )
  print(line(text), file=sys.stderr)
  raise SystemExit(2)
