"""Charts in the links that iReal Pro exports.

`irealb://` links hold the title, composer, style, key, the chart in scrambled
letters, and the tempo; `irealbook://` links the chart as it is. Several songs
are joined by `===`. A chart is a row of cells: a chord is one, so is a space;
the cells of a bar share its beats.

Sources: the format as iReal Pro publishes it for `irealbook://`
(https://www.irealpro.com/ireal-pro-custom-chord-chart-protocol), and what
readers of exported links found of the other.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from magenta_midi import plain_text
from magenta_midi.limits import TEMPO
from magenta_midi.midi.harmony.chart import (
  Bar,
  Chart,
  spread_chords,
)
from magenta_midi.midi.harmony.chord_symbols import (
  NO_CHORD,
  ChordSymbol,
  parse_chord,
)
from magenta_midi.midi.harmony.repeats import (
  MAX_TIMES,
  WrittenBar,
  written_out,
)
from magenta_midi.midi.meter import Meter

__all__ = ["MAX_LETTERS", "is_ireal_link", "read_ireal_link", "scrambled"]

# A playlist of 1,500 songs has 700,000.
MAX_LETTERS = 2**21
_LINK = re.compile(r"irealb(ook)?://", re.IGNORECASE)
_MAGIC = "1r34LbKcu7"
# Chunks of so many letters are scrambled, each for itself.
_CHUNK = 50
# What stands in a link for what is often in a chart.
_SHORT = (("XyQ", "   "), ("LZ", " |"), ("Kcl", "| x"))
# The longer first.
_TOKEN = re.compile(
  r"""
    (?P<remark><[^>]*>)
  | (?P<part>\*[A-Za-z])
  | T(?P<meter>\d\d)
  | N(?P<ending>\d)
  | (?P<over>\([^()]*\))
  | (?P<line>[|\[\]{}Z])
  | (?P<none>n)
  | (?P<chord>(?:[A-G][b\#]?|W)
      (?:sus|alt|add|[-+^\dhob\#])*(?:\*[^*]*\*)?(?:/[A-G][b\#]?)?)
  | (?P<again>[xr])
  | (?P<slash>p)
  | (?P<segno>S)
  | (?P<coda>Q)
  | (?P<space>\s)
  | (?P<other>[,slfYU])
  """,
  re.VERBOSE,
)
_TIMES = re.compile(r"(\d{1,3})\s?x", re.IGNORECASE)
_AL_ENDING = re.compile(r"al\s+(\d)\s?(?:st|nd|rd|th)", re.IGNORECASE)
# What ends a link in a page; a remark such as `<3x>` is a part of it.
_TAG = re.compile(
  r"[\"\r\n]|</|<(?:a|br|p|li|ol|ul|div|span|h\d)[\s/>]",
  re.IGNORECASE,
)
_JUMP = re.compile(r"D\.?\s?([CS])\.?", re.IGNORECASE)


def is_ireal_link(text: str) -> bool:
  """Whether a text is such a link, or has one, as exported files do."""
  return _LINK.search(text) is not None


def read_ireal_link(text: str) -> Chart:
  """Reads the first song of a link, or of a text that has one.

  Raises:
    ValueError: The link is broken, or a chord is not understood; one line
      names its bar.
  """
  found = _LINK.search(text[:MAX_LETTERS])
  if found is None:
    raise ValueError("an iReal Pro link must begin with irealb://.")
  rest = _TAG.split(text[found.end() : MAX_LETTERS], maxsplit=1)[0]
  link = urllib.parse.unquote(_within_tag(rest))
  fields = [field.strip() for field in link.split("=")]
  if found.group(1) is None:
    at = next((i for i, x in enumerate(fields) if x.startswith(_MAGIC)), None)
    if at is None:
      raise _broken()
    music = _unscrambled(fields[at][len(_MAGIC) :])
    tempo = fields[at + 2] if at + 2 < len(fields) else ""
  elif len(fields) < 6:
    raise _broken()
  else:
    music, tempo = fields[5], ""
  # 0 means whatever the style has.
  bpm = None
  if tempo.isdecimal() and len(tempo) <= 3:
    bpm = float(tempo) if TEMPO.low <= int(tempo) <= TEMPO.high else None
  return Chart(
    written_out(_Reader().read(music)),
    title=plain_text.line(fields[0], longest=80),
    bpm=bpm,
  )


def _within_tag(text: str) -> str:
  """What stands before the end of a tag that has the link without quotes."""
  remarks = 0
  for at, letter in enumerate(text):
    if letter == "<":
      remarks += 1
    elif letter == ">":
      remarks -= 1
      if remarks < 0:
        return text[:at]
  return text


def scrambled(music: str) -> str:
  """The letters of a chart in the order of a link; its own inverse."""
  done = []
  while len(music) > _CHUNK:
    chunk, music = music[:_CHUNK], music[_CHUNK:]
    done.append(_turned(chunk) if len(music) >= 2 else chunk)
  return "".join([*done, music])


def _turned(chunk: str) -> str:
  """A chunk with letters of its first half and its second exchanged."""
  letters = list(chunk)
  for index in (*range(5), *range(10, 24)):
    letters[index] = chunk[_CHUNK - 1 - index]
    letters[_CHUNK - 1 - index] = chunk[index]
  return "".join(letters)


def _unscrambled(music: str) -> str:
  music = scrambled(music)
  for short, long in _SHORT:
    music = music.replace(short, long)
  return music


def _broken() -> ValueError:
  return ValueError(
    "this iReal Pro link is broken: it has no chart. Export it again, and keep"
    " the link whole, in quotes."
  )


class _Reader:
  """Reads the cells of a chart into bars."""

  def __init__(self) -> None:
    self._bars: list[WrittenBar] = []
    self._meter = Meter()
    self._endings: frozenset[int] = frozenset()
    self._chord: ChordSymbol | None = None
    self._begins = False
    # Number of the last bar with the sign that repeats two bars.
    self._pair = -1
    self._clear()

  def _clear(self) -> None:
    self._cells: list[ChordSymbol | None] = []
    self._again = ""
    self._segno = self._coda = self._fine = False
    self._jump = ""
    self._al_ending = 0
    self._times = 0

  def read(self, music: str) -> list[WrittenBar]:
    """The bars with their signs."""
    at = 0
    while at < len(music):
      token = _TOKEN.match(music, at)
      if token is None:
        raise ValueError(
          f"bar {self._number}: {plain_text.line(music[at : at + 12])!r} is not"
          " understood in this iReal Pro link."
        )
      self._take(token)
      at = token.end()
    self._end_bar("")
    if not self._bars:
      raise _broken()
    return self._bars

  @property
  def _number(self) -> int:
    return len(self._bars) + 1

  def _take(self, token: re.Match[str]) -> None:
    found = token.groupdict()
    if found["line"]:
      self._end_bar(found["line"])
    elif found["chord"]:
      self._cells.append(self._parsed(found["chord"].replace("*", "")))
    elif found["none"]:
      self._chord = NO_CHORD
      self._cells.append(NO_CHORD)
    elif found["space"] or found["slash"]:
      self._cells.append(None)
    elif found["again"]:
      self._again = found["again"]
    elif found["meter"]:
      digits = found["meter"]
      text = "12/8" if digits == "12" else f"{digits[0]}/{digits[1]}"
      try:
        self._meter = Meter.parse(text)
      except ValueError as error:
        raise ValueError(f"bar {self._number}: {error}") from None
    elif found["ending"]:
      # N0 is an ending without number.
      number = int(found["ending"])
      self._endings = frozenset({number} if number else ())
    elif found["segno"]:
      self._segno = True
    elif found["coda"]:
      self._coda = True
    elif found["remark"]:
      self._remark(found["remark"])

  def _remark(self, text: str) -> None:
    times, jump = _TIMES.search(text), _JUMP.search(text)
    if jump is not None:
      self._jump = f"D.{jump.group(1).upper()}."
      ending = _AL_ENDING.search(text)
      self._al_ending = int(ending.group(1)) if ending is not None else 0
    elif "fine" in text.casefold():
      self._fine = True
    elif times is not None and 1 <= int(times.group(1)) <= MAX_TIMES:
      self._times = int(times.group(1))

  def _parsed(self, name: str) -> ChordSymbol:
    """A chord; `W` is the one before, over another bass."""
    try:
      if name.startswith("W"):
        before = self._chord or NO_CHORD
        below = name.partition("/")[2]
        chord = before
        if below and before.root is not None:
          bass = parse_chord(below).root
          chord = dataclasses.replace(before, bass=bass)
      else:
        chord = parse_chord(name)
    except ValueError as error:
      raise ValueError(f"bar {self._number}: {error}") from None
    self._chord = chord
    return chord

  def _end_bar(self, line: str) -> None:
    """Ends a bar, if there is one, at a line."""
    # Between `]` and `[` there are cells for the eye only.
    empty = not self._again and not any(cell for cell in self._cells)
    drawn = bool(self._cells) and line == "|" and bool(self._bars)
    if not empty or (drawn and self._twice()):
      self._bars.append(
        WrittenBar(
          self._bar(),
          begins=self._begins,
          endings=self._endings,
          segno=self._segno,
          coda=self._coda,
          fine=self._fine,
          jump=self._jump,
          al_ending=self._al_ending,
        )
      )
      self._begins = False
      times = self._times
      self._clear()
      self._times = times
    elif self._bars and (self._jump or self._fine):
      # Written after the bar it belongs to.
      self._bars[-1] = dataclasses.replace(
        self._bars[-1],
        jump=self._jump or self._bars[-1].jump,
        al_ending=self._al_ending or self._bars[-1].al_ending,
        fine=self._fine or self._bars[-1].fine,
      )
      self._jump, self._al_ending = "", 0
      self._fine, self._cells = False, []
    else:
      self._cells = []
    if line == "}" and self._bars:
      times = self._times or 2
      self._bars[-1] = dataclasses.replace(self._bars[-1], times=times)
      self._times = 0
    elif line == "{":
      self._begins, self._endings = True, frozenset()
    elif line in ("[", "]"):
      self._endings = frozenset()

  def _twice(self) -> bool:
    """Whether the bar before is the first of two that are repeated."""
    return self._pair == len(self._bars)

  def _bar(self) -> Bar:
    if self._again or self._twice():
      back = 1 if self._again == "x" else 2
      if len(self._bars) < back:
        raise ValueError(
          f"bar {self._number}: there is nothing before it to repeat."
        )
      if self._again == "r":
        self._pair = self._number
      return self._bars[-back].bar._replace(meter=self._meter)
    beats = self._meter.beats
    chords = [cell for cell in self._cells if cell is not None]
    at = [
      round(index * beats / len(self._cells))
      for index, cell in enumerate(self._cells)
      if cell is not None
    ]
    if len(set(at)) < len(at) or max(at) >= beats:
      return Bar(self._meter, spread_chords(chords, beats))
    return Bar(
      self._meter,
      tuple((float(a), chord) for a, chord in zip(at, chords, strict=True)),
    )
