"""Bars as written, with repeats, endings and jumps, and as they are played."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from magenta_midi.midi.harmony.chart import MAX_BARS, Bar

__all__ = ["MAX_TIMES", "WrittenBar", "written_out"]

# Nobody writes more.
MAX_TIMES = 64


@dataclasses.dataclass(frozen=True)
class WrittenBar:
  """A bar of a chart with the signs around it.

  Attributes:
    bar: Its meter and chords.
    begins: Whether a repeat begins before it.
    times: How often what ends with it is played; 1: no repeat ends here. With
      endings their greatest number counts if it is more.
    endings: It is played only in these rounds, counted from 1; empty: always.
    segno: Whether a jump `D.S.` goes here.
    coda: Whether the sign of the coda stands here: the first says where the
      last round leaves, the next where the coda begins.
    fine: Whether the last round ends after it.
    jump: `D.C.` or `D.S.` after it; empty: none.
    al_ending: The last round ends with this ending; 0: none is named.
  """

  bar: Bar
  begins: bool = False
  times: int = 1
  endings: frozenset[int] = frozenset()
  segno: bool = False
  coda: bool = False
  fine: bool = False
  jump: str = ""
  al_ending: int = 0


def written_out(bars: Sequence[WrittenBar]) -> tuple[Bar, ...]:
  """The bars in the order in which they are played.

  After a jump repeats are not played again, and of endings only the last.

  Raises:
    ValueError: They are more than `MAX_BARS`.
  """
  jump = next((i for i, bar in enumerate(bars) if bar.jump), None)
  if jump is None:
    return tuple(_with_repeats(bars))
  codas = [i for i, bar in enumerate(bars) if bar.coda]
  start = 0
  if bars[jump].jump == "D.S.":
    start = next((i for i, bar in enumerate(bars) if bar.segno), 0)
  played = _with_repeats(bars[: jump + 1])
  # The last round: up to the coda's sign, the end or where it came from.
  leave = codas[0] if len(codas) > 1 and codas[0] <= jump else jump
  last = bars[jump].al_ending
  for index in range(start, leave + 1):
    bar = bars[index]
    if _in_last_round(bars, index) if not last else _is_in(bar, last):
      played.append(bar.bar)
    following = bars[index + 1].endings if index + 1 < len(bars) else ()
    ends = last in bar.endings and last not in following
    if bar.fine or ends:
      return tuple(_checked(played))
  rest = codas[1] if len(codas) > 1 else jump + 1
  played += _with_repeats(_without_endings(bars[max(rest, jump + 1) :]))
  return tuple(_checked(played))


def _is_in(bar: WrittenBar, turn: int) -> bool:
  """Whether a bar is played in a round."""
  return not bar.endings or turn in bar.endings


def _without_endings(bars: Sequence[WrittenBar]) -> list[WrittenBar]:
  """Bars after a jump: no ending of a repeat before it reaches into them."""
  found, free = [], True
  for bar in bars:
    free = free and not bar.begins
    found.append(dataclasses.replace(bar, endings=frozenset()) if free else bar)
  return found


def _with_repeats(bars: Sequence[WrittenBar]) -> list[Bar]:
  played: list[Bar] = []
  index, start, turn = 0, 0, 1
  while index < len(bars):
    bar = bars[index]
    if bar.begins and index != start:
      start, turn = index, 1
    if _is_in(bar, turn):
      played.append(bar.bar)
      _checked(played)
      if bar.times > 1:
        if turn < max(bar.times, _last_ending(bars, start)):
          index, turn = start, turn + 1
          continue
        start, turn = index + 1, 1
    index += 1
  return played


def _last_ending(bars: Sequence[WrittenBar], start: int) -> int:
  """Greatest number of an ending of the repeat that begins at a bar."""
  last = 1
  for bar in bars[start:]:
    if bar.begins and bar is not bars[start]:
      break
    last = max([last, *bar.endings])
  return last


def _in_last_round(bars: Sequence[WrittenBar], index: int) -> bool:
  """Whether a bar is none of the endings before the last."""
  endings = bars[index].endings
  if not endings:
    return True
  start = index
  while start > 0 and not bars[start].begins:
    start -= 1
  return _last_ending(bars, start) in endings


def _checked(played: list[Bar]) -> list[Bar]:
  if len(played) > MAX_BARS:
    raise ValueError(
      f"a chart must have at most {MAX_BARS} bars with its repeats."
    )
  return played
