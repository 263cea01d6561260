r"""Charts as text: `| Em7 | A7 | Dmaj7 | % |`.

Bars stand between `|`; `||` and `|]` are bar lines too. In a bar: chords, with
spaces between; `%` for the bar before; `/` or `.` for a beat more of the chord
before; a meter such as `3/4`, from there on. `|:` and `:|` repeat, `:|x3` three
times; endings are `1.` and `2.` (or `1,2.`) at the beginning of their first
bars. A line `Title: ...`, `Tempo: 120` or `Meter: 3/4` says what it says; a
line that begins with `#` is a remark; letters in square brackets, as `[A]`,
name a part and are left out.
"""

from __future__ import annotations

import dataclasses
import re

from magenta_midi import plain_text
from magenta_midi.limits import TEMPO
from magenta_midi.midi.harmony.chart import (
  Bar,
  Chart,
  spread_chords,
)
from magenta_midi.midi.harmony.chord_symbols import ChordSymbol, parse_chord
from magenta_midi.midi.harmony.repeats import (
  MAX_TIMES,
  WrittenBar,
  written_out,
)
from magenta_midi.midi.meter import Meter

__all__ = ["MAX_LETTERS", "chart_text", "read_chart_text"]

# Far more than any tune has.
MAX_LETTERS = 2**18
_HEADER = re.compile(r"\s*(title|tempo|meter)\s*:\s*(.*?)\s*", re.IGNORECASE)
_PART = re.compile(r"(?<![^\s|:\]])\[\s*[A-Za-z][\w' ]*\]")
# The longest spelling first; `:|` may be followed by `x3`.
_LINE = re.compile(r"(:\|+:|:\|+(?:\s*[x×]\s*(\d{1,3})(?!\w))?|\|+:|\|+\]?)")
_ENDING = re.compile(r"\[?(\d(?:\s?[,.]\s?\d)*)\.(?=\s|$|[A-GN%])")
_METER = re.compile(r"\d{1,2}/\d{1,2}")
_MAX_IN_BAR = 16
# A chord or slash on each quarter of each beat of a long bar.
_MAX_WORDS = 128


def read_chart_text(text: str, *, meter: Meter | None = None) -> Chart:
  """Reads a chart.

  Args:
    text: As the module says.
    meter: Of the bars before any meter of their own; None: 4/4.

  Raises:
    ValueError: It has no bars, or a chord is not understood; one line names
      its bar.
  """
  if len(text) > MAX_LETTERS:
    raise ValueError(
      f"a chart must have at most {MAX_LETTERS} letters, got {len(text)}."
    )
  said: dict[str, str] = {}
  lines = []
  for row in text.splitlines():
    header = _HEADER.fullmatch(row)
    if header is not None:
      said.setdefault(header.group(1).lower(), header.group(2))
    elif not row.lstrip().startswith("#"):
      lines.append(row)
  body = _PART.sub(" ", "\n".join(lines))
  if "|" not in body:
    raise ValueError(
      "a chart must have bars between lines, such as"
      f' "| Em7 | A7 |", got {plain_text.line(body, longest=30)!r}.'
    )
  bpm = None
  if "tempo" in said:
    bpm = TEMPO.read("the chart's tempo", said["tempo"].split(" ")[0])
  if "meter" in said:
    meter = Meter.parse(said["meter"])
  return Chart(
    written_out(_written(body, meter or Meter())),
    title=said.get("title", ""),
    bpm=bpm,
  )


def chart_text(chart: Chart) -> str:
  """The chart as text that `read_chart_text` reads, repeats written out."""
  words: list[str] = []
  meter, before = None, None
  for bar in chart.bars:
    words.append("|")
    if bar == before:
      words.append("%")
      continue
    before = bar
    if bar.meter != meter:
      meter = bar.meter
      words.append(f"{meter.count}/{meter.unit}")
    words += _bar_text(bar)
  header = f"Title: {chart.title}\n" if chart.title else ""
  if chart.bpm is not None:
    header += f"Tempo: {chart.bpm:g}\n"
  return f"{header}{' '.join(words)} |"


def _bar_text(bar: Bar) -> list[str]:
  names = [chord.name.replace(" ", "") for _, chord in bar.changes]
  chords = [chord for _, chord in bar.changes]
  if not names or spread_chords(chords, bar.meter.beats) == bar.changes:
    return names or ["/"]
  # A word a beat, or a finer part of it.
  for parts in (1, 2, 3, 4):
    exact = [beat * parts for beat, _ in bar.changes]
    at = {round(beat): number for number, beat in enumerate(exact)}
    if all(abs(beat - round(beat)) < 0.01 for beat in exact):
      cells = range(bar.meter.beats * parts)
      return [names[at[cell]] if cell in at else "/" for cell in cells]
  return names


def _written(body: str, meter: Meter) -> list[WrittenBar]:
  """The bars of a text with their signs."""
  bars: list[WrittenBar] = []
  begins, endings = False, frozenset()
  at, plain_line = 0, False
  while at <= len(body):
    line = _LINE.search(body, at)
    inside = body[at : line.start()] if line else body[at:]
    # Nothing between two lines of a row is a bar that goes on as before; at the
    # ends of rows it is only room.
    held = inside.isspace() and "\n" not in inside and plain_line
    held = held and bool(bars) and line is not None and line.group(1) == "|"
    if inside.strip() or held:
      ending = _ENDING.match(inside.strip())
      if ending is not None:
        endings = frozenset(int(x) for x in re.findall(r"\d", ending.group(1)))
        inside = inside.strip()[ending.end() :]
      bar = _bar(inside, meter, bars)
      meter = bar.meter
      bars.append(WrittenBar(bar, begins=begins, endings=endings))
      begins = False
    if line is None:
      break
    sign = line.group(1)
    if sign.startswith(":") and bars:
      times = int(line.group(2) or 2)
      if not 1 <= times <= MAX_TIMES:
        raise ValueError(
          f"bar {len(bars)}: a repeat must be played 1 to {MAX_TIMES} times,"
          f" got {times}."
        )
      bars[-1] = dataclasses.replace(bars[-1], times=times)
    if sign.endswith(":"):
      begins, endings = True, frozenset()
    at = line.end()
    plain_line = sign == "|"
  return bars


def _bar(inside: str, meter: Meter, before: list[WrittenBar]) -> Bar:
  """One bar, of what stands between two lines."""
  number = len(before) + 1
  words = inside.split()
  if words and _METER.fullmatch(words[0]):
    try:
      meter = Meter.parse(words.pop(0))
    except ValueError as error:
      raise ValueError(f"bar {number}: {error}") from None
  if words == ["%"]:
    if not before:
      raise ValueError("bar 1: there is no bar before it that % could repeat.")
    return before[-1].bar._replace(meter=meter)
  count = sum(word not in ("/", ".") for word in words)
  if count > _MAX_IN_BAR or len(words) > _MAX_WORDS:
    raise ValueError(
      f"bar {number}: at most {_MAX_IN_BAR} chords are read, got {count}"
      f" in {len(words)} words."
    )
  cells: list[ChordSymbol | None] = []
  for word in words:
    if word in ("/", "."):
      cells.append(None)
      continue
    try:
      cells.append(parse_chord(word))
    except ValueError as error:
      raise ValueError(f"bar {number}: {error}") from None
  chords = [cell for cell in cells if cell is not None]
  if len(chords) == len(cells):
    return Bar(meter, spread_chords(chords, meter.beats))
  # With slashes every word has the same part of the bar; missing beats at the
  # end are the last chord's.
  each = meter.beats / max(len(cells), meter.beats)
  return Bar(
    meter,
    tuple(
      (index * each, cell)
      for index, cell in enumerate(cells)
      if cell is not None
    ),
  )
