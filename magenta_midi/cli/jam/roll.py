"""Moving piano roll of player and model, in half blocks of a terminal."""

import re
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style

__all__ = ["AHEAD_S", "MODEL_COLOR", "PAST_S", "PLAYER_COLOR", "draw_roll"]

PAST_S = 4.0  # on the screen below the keyboard
AHEAD_S = 2.0  # and above

# Sky blue and orange of Okabe and Ito's palette: apart for every kind of
# color-blind eye. The plan is the model's orange, faint.
PLAYER_COLOR = "#56b4e9"
MODEL_COLOR = "#e69f00"
_PLAN, _MODEL, _PLAYER = 1, 2, 3  # where bars meet, the higher is seen
# Color, and the character where there are no colors.
_INK = {
  _PLAN: ("#7a4a0f", "."),
  _MODEL: (MODEL_COLOR, "o"),
  _PLAYER: (PLAYER_COLOR, "#"),
}

_LOW, _KEYS = 21, 88
_BLACK = frozenset((1, 3, 6, 8, 10))
_PLAIN = Style()
_WHITE_KEY = Style(color="#3a3a3a", bgcolor="#b0b0b0")
_BLACK_KEY = Style(color="#b0b0b0", bgcolor="#3a3a3a")
_PRESSED = {ink: Style(bgcolor=_INK[ink][0]) for ink in (_MODEL, _PLAYER)}

Notes = Sequence[tuple[int, float, float]]


# Cells show two moments, one above the other, as 4 times the upper ink plus
# the lower: -> (block, style).
_CELLS = {
  4 * upper + lower: (
    "▀" if upper else "▄" if lower else " ",
    Style(
      color=_INK[upper or lower][0] if upper or lower else None,
      bgcolor=_INK[lower][0] if upper and lower else None,
    ),
  )
  for upper in range(4)
  for lower in range(4)
}
_RUN = re.compile(rb"(.)\1*", re.DOTALL)


def draw_roll(
  player: Notes,
  model: Notes,
  plan: Notes,
  *,
  now_s: float,
  width: int,
  rows: int,
  colored: bool,
) -> list[list[Segment]]:
  """The plan falls onto the keyboard, and what was played sinks below it.

  Args:
    player: Notes as (key, start, end) in seconds; keys of no piano are left
      out.
    model: The model's.
    plan: What it means to play.
    now_s: Time of the keyboard's row, s.
    width: Cells a line.
    rows: Lines, 3 or more.
    colored: Whether there are colors; else "#", "o" and "." are the marks.

  Returns:
    `rows` lines of `width` cells: keys from left to right, two moments a line.
  """
  wide = max(width // _KEYS, 1)  # cells a key
  used = min(_KEYS * wide, width)
  margin = (width - used) // 2
  ahead_rows = max(round((rows - 1) * AHEAD_S / (AHEAD_S + PAST_S)), 1)
  past_rows = rows - 1 - ahead_rows
  step_s = PAST_S / max(2 * past_rows, 1)
  column = [key * used // _KEYS for key in range(_KEYS + 1)]

  ahead = [bytearray(used) for _ in range(2 * ahead_rows)]
  past = [bytearray(used) for _ in range(2 * past_rows)]
  # Moments are whole steps of the clock, so that bars sink without trembling.
  tick = int(now_s // step_s)
  sounding: dict[int, int] = {}
  for notes, ink in (
    (plan, _PLAN),
    (model, _MODEL),
    (player, _PLAYER),
  ):
    for key, start_s, end_s in notes:
      place = key - _LOW
      if not 0 <= place < _KEYS:
        continue
      left, right = column[place], max(column[place + 1], column[place] + 1)
      dye = bytes((ink,)) * (right - left)
      first = int(start_s // step_s) - tick
      last = max(int(end_s // step_s) - tick, first)
      if ink == _PLAN:
        for at in range(max(first, 0), min(last + 1, len(ahead))):
          ahead[at][left:right] = dye
        continue
      if start_s <= now_s < end_s:
        sounding[place] = ink
      for at in range(max(-last, 0), min(-first + 1, len(past))):
        past[at][left:right] = dye
  draw = _colored_row if colored else _plain_row
  pad = Segment(" " * margin, _PLAIN)
  rest = Segment(" " * (width - margin - used), _PLAIN)
  lines = [
    [pad, *draw(ahead[2 * row + 1], ahead[2 * row]), rest]
    for row in reversed(range(ahead_rows))
  ]
  lines.append([pad, *_keyboard(column, sounding, used, colored), rest])
  lines += [
    [pad, *draw(past[2 * row], past[2 * row + 1]), rest]
    for row in range(past_rows)
  ]
  return [[cell for cell in line if cell.text] for line in lines]


def _colored_row(upper: bytearray, lower: bytearray) -> list[Segment]:
  """Two moments in one line: half blocks, joined where they are alike."""
  # Inks are below 4, so that as one long number they can be paired at once.
  pairs = 4 * int.from_bytes(upper) + int.from_bytes(lower)
  cells = []
  for run in _RUN.finditer(pairs.to_bytes(len(upper))):
    block, style = _CELLS[run.group()[0]]
    cells.append(Segment(block * (run.end() - run.start()), style))
  return cells


def _plain_row(upper: bytearray, lower: bytearray) -> list[Segment]:
  text = "".join(
    _INK[max(pair)][1] if max(pair) else " "
    for pair in zip(upper, lower, strict=True)
  )
  return [Segment(text, _PLAIN)]


def _keyboard(
  column: list[int], sounding: dict[int, int], used: int, colored: bool
) -> list[Segment]:
  """The keyboard, with the Cs marked and what sounds lit."""
  text = [" "] * used
  styles = [_PLAIN] * used
  for place in range(_KEYS):
    key = place + _LOW
    black = key % 12 in _BLACK
    for at in range(column[place], max(column[place + 1], column[place] + 1)):
      if at >= used:
        continue
      if place in sounding:
        text[at] = " " if colored else _INK[sounding[place]][1]
        styles[at] = _PRESSED[sounding[place]]
      elif at == column[place] or not black:
        text[at] = "'" if key % 12 == 0 else " "
        if not colored:
          text[at] = "|" if key % 12 == 0 else "-"
        styles[at] = _BLACK_KEY if black else _WHITE_KEY
      else:
        styles[at] = _BLACK_KEY
  cells, start = [], 0
  for at in range(1, used + 1):
    if at == used or styles[at] is not styles[start]:
      cells.append(Segment("".join(text[start:at]), styles[start]))
      start = at
  return cells
