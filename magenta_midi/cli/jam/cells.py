"""Lines of a terminal, cut to its cells whatever letters they hold."""

import unicodedata

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from magenta_midi.plain_text import nfc, printable

__all__ = ["encodable", "fitted", "has_blocks"]


def fitted(line: list[tuple[str, Style]], width: int) -> list[Segment]:
  """Cuts or pads a line to a width.

  Args:
    line: Texts and their styles; the texts may hold anything.
    width: In cells.

  Returns:
    Texts of `width` cells in all. A letter that terminals draw differently
    wide is a "?": it would shift all that follows.
  """
  cut, left = [], width
  for text, style in line:
    shown = ""
    full = False
    for letter in printable(nfc(text), keep=""):
      cells = _cells(letter)
      full = max(cells, 1) > left
      if full:
        break
      shown += letter if cells else "?"
      left -= max(cells, 1)
    if shown:
      cut.append(Segment(shown, style))
    if full:
      break
  if left:
    cut.append(Segment(" " * left, Style()))
  return cut


def _cells(letter: str) -> int:
  """The cells a letter takes in every terminal; 0 where they do not agree.

  They do not on emoji, marks above others and letters that run to the left.
  """
  if " " <= letter <= "~" or "\u00a1" <= letter <= "\u02ff":
    return 1
  # Greek, Cyrillic, Armenian, and the blocks of the meters.
  if "\u0370" <= letter <= "\u058f" or "\u2580" <= letter <= "\u259f":
    # Unassigned places are drawn in many ways.
    return int(unicodedata.category(letter) not in ("Mn", "Me", "Cn"))
  wide = unicodedata.east_asian_width(letter) in ("W", "F")
  return 2 if wide and unicodedata.category(letter)[0] in "LNP" else 0


def has_blocks(console: Console) -> bool:
  """Whether a terminal shows colours and half blocks."""
  return console.color_system is not None and _holds_all(console.encoding)


def encodable(lines: list[list[Segment]], encoding: str) -> list[list[Segment]]:
  """The lines with a "?" a cell for each letter that the encoding lacks."""
  if _holds_all(encoding):
    return lines
  return [
    [
      Segment("".join(_encoded(c, encoding) for c in text), style)
      for text, style, _ in line
    ]
    for line in lines
  ]


def _holds_all(encoding: str) -> bool:
  return encoding.startswith("utf")


def _encoded(letter: str, encoding: str) -> str:
  try:
    letter.encode(encoding)
  except UnicodeEncodeError:
    return "?" * cell_len(letter)
  return letter
