"""Charts in lead sheets as MusicXML, plain (`.musicxml`) or packed (`.mxl`).

Only the chord symbols are read, with meters, repeats, endings and the tempo; of
several parts the one with the most chord symbols. What a file may do to its
reader is bounded: its size, how deep it is nested, and no entity is declared.

Source: MusicXML 4.0, https://www.w3.org/2021/06/musicxml40/
"""

from __future__ import annotations

import dataclasses
import io
import re
import zipfile
import zlib
from os import PathLike
from xml.etree import ElementTree
from xml.parsers import expat

from magenta_midi import plain_text
from magenta_midi.bounded_files import XML_BYTES, XML_DEPTH, read_bytes
from magenta_midi.limits import TEMPO
from magenta_midi.midi.harmony.chart import MAX_BARS, Bar, Chart
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

__all__ = ["parse_musicxml_chart", "read_musicxml_chart"]

# The values of `kind`, as parts of a symbol.
_KINDS = {
  "major": "",
  "minor": "m",
  "augmented": "+",
  "diminished": "dim",
  "dominant": "7",
  "major-seventh": "maj7",
  "minor-seventh": "m7",
  "diminished-seventh": "dim7",
  "augmented-seventh": "+7",
  "half-diminished": "m7b5",
  "major-minor": "m(maj7)",
  "major-sixth": "6",
  "minor-sixth": "m6",
  "dominant-ninth": "9",
  "major-ninth": "maj9",
  "minor-ninth": "m9",
  "dominant-11th": "11",
  "major-11th": "maj11",
  "minor-11th": "m11",
  "dominant-13th": "13",
  "major-13th": "maj13",
  "minor-13th": "m13",
  "suspended-second": "sus2",
  "suspended-fourth": "sus4",
  "power": "5",
}
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?")
_MAX_IN_BAR = 64
# Places in a beat: thirds and quarters.
_PARTS = 12


def read_musicxml_chart(path: str | PathLike[str]) -> Chart:
  """Reads the chart of a lead sheet.

  Raises:
    OSError: The file cannot be read, or is too large.
    ValueError: It is no MusicXML, has no chord symbols, or one of them is not
      understood; without the file's name.
  """
  data = read_bytes(path, XML_BYTES)
  if data[:4] == b"PK\x03\x04":
    data = _unpacked(data)
  return parse_musicxml_chart(data)


def parse_musicxml_chart(data: bytes) -> Chart:
  """Reads the chart of a score in MusicXML.

  Raises:
    ValueError: See `read_musicxml_chart`.
  """
  root = _parse(data)
  if root.tag != "score-partwise":
    raise ValueError(
      "is no MusicXML by parts: its outermost element must be score-partwise,"
      f" got {plain_text.line(root.tag, longest=30)!r}."
    )
  parts = root.findall("part")
  if not parts:
    raise ValueError("has no part, so no bars.")
  part = max(parts, key=lambda part: len(part.findall("measure/harmony")))
  bars, bpm = _Part().read(part)
  title = root.findtext("work/work-title") or root.findtext("movement-title")
  return Chart(
    written_out(bars), title=plain_text.line(title or "", longest=80), bpm=bpm
  )


def _unpacked(data: bytes) -> bytes:
  """The score in an `.mxl` archive."""
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      for name in archive.namelist():
        plain = name.lower().endswith((".xml", ".musicxml"))
        if plain and not name.startswith("META-INF/"):
          with archive.open(name) as file:
            score = file.read(XML_BYTES + 1)
          if len(score) > XML_BYTES:
            raise ValueError(
              f"its score has more than {XML_BYTES // 2**20} MiB unpacked."
            )
          return score
  except (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    zlib.error,
  ) as error:
    raise ValueError(f"is a damaged archive: {error}.") from None
  raise ValueError("is an archive without a score in MusicXML.")


def _parse(data: bytes) -> ElementTree.Element:
  """Elements of XML of bounded depth, without entities."""
  builder = ElementTree.TreeBuilder()
  parser = expat.ParserCreate()
  depth = 0

  def start(tag: str, attributes: dict[str, str]) -> None:
    nonlocal depth
    depth += 1
    if depth > XML_DEPTH:
      raise ValueError(f"is nested deeper than {XML_DEPTH} elements.")
    builder.start(tag, attributes)

  def end(tag: str) -> None:
    nonlocal depth
    depth -= 1
    builder.end(tag)

  def entity(*_: object) -> None:
    raise ValueError("declares entities, which no score needs.")

  parser.buffer_text = True
  parser.StartElementHandler = start
  parser.EndElementHandler = end
  parser.CharacterDataHandler = builder.data
  parser.EntityDeclHandler = entity
  try:
    parser.Parse(data, True)
  except expat.ExpatError as error:
    raise ValueError(f"is no XML: {error}.") from None
  except (LookupError, UnicodeError):
    raise ValueError("is no XML in an encoding that is known.") from None
  return builder.close()


class _Part:
  """Reads the measures of a part."""

  def __init__(self) -> None:
    self._divisions = 1.0
    self._meter = Meter()
    self._bpm: float | None = None
    self._endings: frozenset[int] = frozenset()
    self._transpose = 0  # semitones from what is written to what sounds
    self._last_beats = 0.0

  def read(
    self, part: ElementTree.Element
  ) -> tuple[list[WrittenBar], float | None]:
    """The bars with their signs, and the tempo in beats a minute."""
    measures = part.findall("measure")
    if not measures:
      raise ValueError("has no bars.")
    if len(measures) > MAX_BARS:
      raise ValueError(f"has more than {MAX_BARS} bars.")
    bars: list[WrittenBar] = []
    begins = False
    whole = True  # whether the last bar is as long as its meter
    for number, measure in enumerate(measures, 1):
      try:
        bar, beats = self._measure(measure)
      except ValueError as error:
        raise ValueError(f"bar {number}: {error}") from None
      short = measure.get("implicit") == "yes" and beats < bar.bar.meter.beats
      if short and not bars:
        # A pickup: the chart begins with the first whole bar.
        begins = begins or bar.begins
        continue
      if short and not whole:
        # The second part of a bar that a repeat or a line divides.
        bars[-1] = _joined(bars[-1], bar, self._last_beats)
        begins, whole = bar.begins, True
        continue
      bars.append(dataclasses.replace(bar, begins=bar.begins or begins))
      self._last_beats = beats
      begins, whole = False, beats >= bar.bar.meter.beats
    if not any(bar.bar.changes for bar in bars):
      raise ValueError("has no chord symbols.")
    return bars, self._bpm

  def _measure(self, measure: ElementTree.Element) -> tuple[WrittenBar, float]:
    """A bar, and how long its notes are, in its beats."""
    at = longest = 0.0  # quarter notes
    found: list[tuple[float, ChordSymbol]] = []
    bar = WrittenBar(Bar(self._meter, ()))
    stops = False
    for element in measure:
      if element.tag == "attributes":
        self._attributes(element)
      elif element.tag == "note":
        if element.find("chord") is None and element.find("grace") is None:
          at += self._duration(element)
      elif element.tag == "forward":
        at += self._duration(element)
      elif element.tag == "backup":
        longest = max(longest, at)
        at -= self._duration(element)
      elif element.tag == "harmony":
        offset = _number(element.findtext("offset"), 0.0) / self._divisions
        if len(found) >= _MAX_IN_BAR:
          raise ValueError(f"has more than {_MAX_IN_BAR} chords.")
        chord = _chord(element)
        if self._transpose:
          chord = chord.transposed(self._transpose)
        found.append((max(0.0, at + offset), chord))
      elif element.tag in ("direction", "sound"):
        bar = self._direction(element, bar)
      elif element.tag == "barline":
        bar, stopped = self._barline(element, bar)
        stops = stops or stopped
    bar = dataclasses.replace(
      bar, bar=Bar(self._meter, self._beats(found)), endings=self._endings
    )
    if stops:
      self._endings = frozenset()
    beats = max(longest, at) / self._meter.quarters
    # What has no notes at all is as long as its meter.
    return bar, beats + 0.01 if beats > 0 else float(self._meter.beats)

  def _beats(
    self, found: list[tuple[float, ChordSymbol]]
  ) -> tuple[tuple[float, ChordSymbol], ...]:
    """Chords by beat; of several at one place the last."""
    # Divisions are whole numbers, so that thirds of a beat come inexactly.
    at = {
      round(quarter / self._meter.quarters * _PARTS) / _PARTS: chord
      for quarter, chord in found
    }
    return tuple(
      (beat, at[beat]) for beat in sorted(at) if beat < self._meter.beats
    )

  def _attributes(self, element: ElementTree.Element) -> None:
    divisions = _number(element.findtext("divisions"), self._divisions)
    if divisions > 0:
      self._divisions = divisions
    moved = element.findtext("transpose/chromatic")
    if moved is not None:
      self._transpose = round(_number(moved, 0.0)) % 12
    beats = element.findtext("time/beats")
    if beats is not None:
      unit = element.findtext("time/beat-type") or "4"
      # `3+2` is five.
      parts = [p for p in beats.split("+") if p.strip().isdecimal()]
      count = sum(int(p) for p in parts if len(p) < 4) if parts else beats
      self._meter = Meter.parse(f"{count}/{unit.strip()}")

  def _duration(self, element: ElementTree.Element) -> float:
    return _number(element.findtext("duration"), 0.0) / self._divisions

  def _direction(
    self, element: ElementTree.Element, bar: WrittenBar
  ) -> WrittenBar:
    """Tempo, segno, coda and jumps of a direction or sound."""
    sound = element if element.tag == "sound" else element.find("sound")
    said = {} if sound is None else sound.attrib
    if self._bpm is None and "tempo" in said:
      quarters = _number(said["tempo"], 0.0)
      bpm = quarters / self._meter.quarters
      if TEMPO.low <= bpm <= TEMPO.high:
        self._bpm = float(bpm)
    signs = {child.tag for child in element.iterfind("direction-type/*")}
    jump = bar.jump
    if "dacapo" in said:
      jump = "D.C."
    elif "dalsegno" in said:
      jump = "D.S."
    return dataclasses.replace(
      bar,
      segno=bar.segno or "segno" in said or "segno" in signs,
      coda=bar.coda or "coda" in said or "tocoda" in said or "coda" in signs,
      fine=bar.fine or "fine" in said,
      jump=jump,
    )

  def _barline(
    self, element: ElementTree.Element, bar: WrittenBar
  ) -> tuple[WrittenBar, bool]:
    """Repeat and ending; also whether an ending ends here."""
    stops = False
    ending = element.find("ending")
    if ending is not None:
      if ending.get("type") == "start":
        numbers = re.findall(r"\d+", ending.get("number", ""))
        self._endings = frozenset(int(n) for n in numbers if len(n) < 3)
      else:
        stops = True
    repeat = element.find("repeat")
    if repeat is not None:
      if repeat.get("direction") == "forward":
        bar = dataclasses.replace(bar, begins=True)
      else:
        times = int(_number(repeat.get("times"), 2.0))
        if not 1 <= times <= MAX_TIMES:
          raise ValueError(
            f"a repeat must be played 1 to {MAX_TIMES} times, got {times}."
          )
        bar = dataclasses.replace(bar, times=times)
    return bar, stops


def _joined(bar: WrittenBar, rest: WrittenBar, beats: float) -> WrittenBar:
  """A bar and its second part, which begins after so many beats."""
  at = round(beats * _PARTS) / _PARTS
  moved = tuple(
    (beat + at, chord)
    for beat, chord in rest.bar.changes
    if beat + at < bar.bar.meter.beats
  )
  return dataclasses.replace(
    bar,
    bar=bar.bar._replace(changes=bar.bar.changes + moved),
    times=max(bar.times, rest.times),
    fine=bar.fine or rest.fine,
    jump=bar.jump or rest.jump,
  )


def _number(text: str | None, missing: float) -> float:
  """A number of a file; `missing` where there is none."""
  if text is None or not text.strip():
    return missing
  if not _NUMBER.fullmatch(text.strip()):
    raise ValueError(
      f"a number was expected, got {plain_text.line(text, longest=20)!r}."
    )
  return float(text)


def _chord(element: ElementTree.Element) -> ChordSymbol:
  """The chord of a `harmony` element."""
  kind = element.find("kind")
  name = "" if kind is None else (kind.text or "").strip()
  if name == "none":
    return NO_CHORD
  step = element.findtext("root/root-step")
  if step is None:
    raise ValueError("a chord symbol has no root, which must be a letter.")
  root = _letter(step, element.findtext("root/root-alter"))
  if name in _KINDS:
    quality = _KINDS[name]
  else:
    # Kinds without a spelling of their own are read as they are shown.
    quality = "" if kind is None else kind.get("text", "")
  for degree in element.findall("degree"):
    quality += _degree(degree)
  bass = ""
  low = element.findtext("bass/bass-step")
  if low is not None:
    bass = "/" + _letter(low, element.findtext("bass/bass-alter"))
  separate = "" if quality[:1] not in ("b", "#") else " "
  return parse_chord(f"{root}{separate}{quality}{bass}")


def _letter(step: str, alter: str | None) -> str:
  by = int(_number(alter, 0.0))
  if not -2 <= by <= 2:
    raise ValueError(f"a note must be altered by -2 to 2, got {by}.")
  return step.strip() + ("#" * by if by > 0 else "b" * -by)


def _degree(element: ElementTree.Element) -> str:
  """An added, altered or missing degree as part of a symbol."""
  number = int(_number(element.findtext("degree-value"), 0.0))
  by = int(_number(element.findtext("degree-alter"), 0.0))
  if not (1 <= number <= 13 and -2 <= by <= 2):
    raise ValueError(f"a degree must be 1 to 13, got {number}.")
  sign = "#" * by if by > 0 else "b" * -by
  match (element.findtext("degree-type") or "add").strip():
    case "subtract":
      return f"(no{number})"
    case "alter":
      return f"({sign}{number})" if sign else ""
  if sign:
    return f"({sign}{number})" if number != 5 else f"({sign}5)"
  return f"(add{number})"
