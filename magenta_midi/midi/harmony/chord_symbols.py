"""Chord symbols, as charts and annotations spell them, as pitch classes."""

from __future__ import annotations

import dataclasses
import re

from magenta_midi import plain_text

__all__ = ["NO_CHORD", "ChordSymbol", "parse_chord", "spell_pitch_class"]

# The longest real ones have about 20 letters.
_LONGEST = 48
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
# Semitones of degrees over the root, without accidental.
_DEGREES = {
  1: 0,
  2: 2,
  3: 4,
  4: 5,
  5: 7,
  6: 9,
  7: 11,
  9: 14,
  10: 16,
  11: 17,
  12: 19,
  13: 21,
}

# Letters of other keyboards, and of fonts, in the spelling that is read.
_SPELLINGS = str.maketrans(
  {
    "♭": "b",
    "♯": "#",
    "𝄫": "bb",
    "𝄪": "##",
    "♮": "",
    "Δ": "^",
    "△": "^",
    "∆": "^",
    "ø": "h",
    "Ø": "h",
    "°": "o",
    "º": "o",
    "˚": "o",
    "−": "-",
    "–": "-",
    "⁺": "+",
    "＋": "+",
    "(": " ",
    ")": " ",
    "[": " ",
    "]": " ",
    "{": " ",
    "}": " ",
    ",": " ",
    "|": " ",
  }
)
_ROOT = re.compile(r"([A-G])(bb|##|b|#|x)?")
_BASS = re.compile(r"/\s*([A-G](?:bb|##|b|#|x)?)\s*$")
_NONE = re.compile(r"n\.?\s*c\.?|n|no ?chord|tacet", re.IGNORECASE)
# What a quality is made of, the longer spelling first. Letters tell minor from
# major: `m` and `M`.
_TOKEN = re.compile(
  r"""\s*(?:
    (?P<half>h(?:alf)?-?\s?(?:dim(?:inished)?)?)
  | (?P<dim>dim(?:inished)?|o(?!mit))
  | (?P<aug>aug(?:mented)?)
  | (?P<add>add|/)(?=\s?[b\#+-]?\d)
  | (?P<no>no|omit)\s?(?=[b\#]?\d)
  | (?P<sus>sus)\s?(?P<which>2\s?4|4\s?2|[24])?(?:sus\s?(?P<also>[24]))?
  | (?P<alt>alt(?:ered)?)
  | (?P<major>major|maj|Maj|MAJ|ma(?!dd)|Ma|M|\^|j)
  | (?P<minor>minor|min|Min|MIN|mi|Mi|m|(?<![0-9\s])-(?!5))
  | (?P<dominant>dom(?:inant)?)
  | (?P<flat>b+|-)\s?(?P<flatted>1[0-3]|[1-79])
  | (?P<sharp>\#+|\+)\s?(?P<sharped>1[0-3]|[1-79])
  | (?P<plus>\+)
  | (?P<number>6\s?/?\s?9|1[0-3]|[1-79])
  )""",
  re.VERBOSE,
)
_HARTE = re.compile(r"([A-G](?:[b#]*)):?([^/]*)(?:/(.*))?")
_BASSES = ["1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7"]
_DEGREE = re.compile(r"(\*?)([b#]*)(1[0-3]|[1-79])")
# Qualities of C. Harte et al., "Symbolic representation of musical chords",
# ISMIR 2005, table 1, and the spellings that MIREX added.
_SHORTHANDS = {
  "": "1,3,5",
  "maj": "1,3,5",
  "min": "1,b3,5",
  "dim": "1,b3,b5",
  "aug": "1,3,#5",
  "maj7": "1,3,7,5",
  "min7": "1,b3,b7,5",
  "7": "1,3,b7,5",
  "dim7": "1,b3,bb7,b5",
  "hdim7": "1,b3,b7,b5",
  "minmaj7": "1,b3,7,5",
  "maj6": "1,3,6,5",
  "6": "1,3,6,5",
  "min6": "1,b3,6,5",
  "9": "1,3,b7,5,9",
  "maj9": "1,3,7,5,9",
  "min9": "1,b3,b7,5,9",
  "11": "1,3,b7,5,9,11",
  "maj11": "1,3,7,5,9,11",
  "min11": "1,b3,b7,5,9,11",
  "13": "1,3,b7,5,9,11,13",
  "maj13": "1,3,7,5,9,11,13",
  "min13": "1,b3,b7,5,9,11,13",
  "sus4": "1,4,5",
  "sus2": "1,2,5",
  "1": "1",
  "5": "1,5",
}


@dataclasses.dataclass(frozen=True)
class ChordSymbol:
  """A chord: where it stands and what it is made of.

  Attributes:
    root: Pitch class, 0..11 (C is 0); None: no chord.
    bass: Pitch class of the lowest note, 0..11; None: no chord. It may be none
      of `classes`.
    classes: Pitch classes 0..11, each once: root, third (or what stands for
      it), seventh or sixth, fifth, then tensions upwards. Empty: no chord.
    quality: As it was spelled, such as `m7b5`, with plain letters.
    flats: Whether names are spelled with flats.
  """

  root: int | None
  bass: int | None
  classes: tuple[int, ...]
  quality: str = dataclasses.field(default="", compare=False)
  flats: bool = dataclasses.field(default=True, compare=False)

  @property
  def name(self) -> str:
    """Such as `Bm7b5/A`; `N.C.` for no chord. `parse_chord` reads it."""
    if self.root is None:
      return "N.C."
    name = spell_pitch_class(self.root, flats=self.flats)
    # `C(b5)` is no `Cb5`.
    signed = self.quality[:1] in ("b", "#")
    name += f"({self.quality})" if signed else self.quality
    if self.bass is None or self.bass == self.root:
      return name
    if self.quality.startswith(":"):
      return f"{name}/{_BASSES[(self.bass - self.root) % 12]}"
    return f"{name}/{spell_pitch_class(self.bass, flats=self.flats)}"

  @property
  def intervals(self) -> tuple[int, ...]:
    """Semitones of `classes` over the root, 0..11."""
    if self.root is None:
      return ()
    return tuple((tone - self.root) % 12 for tone in self.classes)

  def transposed(self, semitones: int) -> ChordSymbol:
    """The same chord higher, or lower if negative."""
    if self.root is None or self.bass is None:
      return self
    return dataclasses.replace(
      self,
      root=(self.root + semitones) % 12,
      bass=(self.bass + semitones) % 12,
      classes=tuple((tone + semitones) % 12 for tone in self.classes),
      flats=True,
    )


NO_CHORD = ChordSymbol(None, None, ())


def spell_pitch_class(pitch_class: int, *, flats: bool = True) -> str:
  """The letter of a pitch class, such as `Bb`."""
  return (_FLATS if flats else _SHARPS)[pitch_class % 12]


def parse_chord(symbol: str) -> ChordSymbol:
  """Reads a chord symbol.

  All usual spellings: `Cm7b5`, `Cø`, `CΔ7`, `Cmaj7`, `C^7`, `C-7`, `C7alt`,
  `C6/9`, `C9sus`, `Cadd9`, `C13#11`, `C+`, `Co7`, `C(no3)`, with a bass as
  `C7/E`, and `N.C.`; those of annotations after Harte, as `C:min7/b7`,
  `C:sus4(b7)`, `C:(1,3,5)` and `N`.

  An eleventh chord with a major third leaves the third out, a thirteenth the
  eleventh, as they are played.

  Raises:
    ValueError: It is none; one line says which part was not understood.
  """
  text = symbol.strip()
  shown = plain_text.line(text, longest=24)
  if not text:
    raise ValueError("a chord symbol must not be empty.")
  if len(text) > _LONGEST:
    raise ValueError(
      f"{shown!r} is no chord: it has {len(text)} letters, at most {_LONGEST}"
      " are read."
    )
  if _NONE.fullmatch(text):
    return NO_CHORD
  if ":" in text:
    return _parse_harte(text, shown)
  text = text.translate(_SPELLINGS)
  match = _ROOT.match(text)
  if match is None:
    raise ValueError(
      f"{shown!r} is no chord: it must start with a capital letter, A to G."
    )
  root = _pitch_class(match.group())
  rest = text[match.end() :]
  bass, flats = root, "#" not in match.group()
  below = _BASS.search(rest)
  if below is not None:
    bass = _pitch_class(below.group(1))
    rest = rest[: below.start()]
    flats = flats and "#" not in below.group(1)
  parsed = _Quality()
  rest, at = rest.strip(), 0
  while at < len(rest):
    token = _TOKEN.match(rest, at)
    if token is None:
      raise ValueError(
        f"{shown!r} is no chord: {rest[at:].strip()!r} is not understood."
      )
    parsed.take(token, head=at == 0)
    at = token.end()
  intervals = parsed.intervals()
  if not intervals:
    raise ValueError(f"{shown!r} is no chord: all its tones are left out.")
  return ChordSymbol(
    root,
    bass,
    _absolute(root, intervals),
    re.sub(r"\s+", " ", rest),
    flats,
  )


class _Quality:
  """What the parts of a quality add up to."""

  def __init__(self) -> None:
    self._third: int | None = 4
    self._fifths: list[int] = []
    self._no_fifth = False
    self._sevenths: list[int] = []
    # The seventh that a bare number asks for.
    self._own_seventh = 10
    self._sixth = False
    self._triad_fifth = 7
    self._suspended: list[int] = []
    self._tensions: list[int] = []
    self._altered: set[int] = set()
    self._adding = self._removing = self._numbered = False
    self._pending_major = self._no_root = False

  def take(self, token: re.Match[str], *, head: bool) -> None:
    """Adds one part; `head`: it is the first."""
    found = token.groupdict()
    number = found["number"]
    if number is not None:
      self._number(re.sub(r"[\s/]", "", number))
    elif found["flat"] is not None:
      self._alter(int(found["flatted"]), -len(found["flat"]))
    elif found["sharp"] is not None:
      if head and found["sharp"] == "+" and found["sharped"] != "5":
        # `C+7`: an augmented seventh chord.
        self._triad_fifth = 8
        self._number(found["sharped"])
      else:
        self._alter(int(found["sharped"]), len(found["sharp"]))
    elif found["add"] is not None:
      self._adding = True
    elif found["no"] is not None:
      self._removing = True
    elif found["sus"] is not None:
      which = (found["which"] or "4") + (found["also"] or "")
      self._third = None
      self._suspended = [2 if x == "2" else 5 for x in which if x in "24"]
    elif found["alt"] is not None:
      self._sevenths = [10]
      self._no_fifth = True
      self._tensions += [13, 15, 18, 20]
    elif found["major"] is not None:
      self._own_seventh = 11
      if self._sevenths:
        # `C7M` is another spelling of `CM7`.
        self._sevenths = [11]
      # A triangle alone asks for the seventh; the word does not.
      self._pending_major = found["major"] == "^"
    elif found["minor"] is not None:
      self._third = 3
    elif found["half"] is not None:
      self._third, self._triad_fifth, self._sevenths = 3, 6, [10]
    elif found["dim"] is not None:
      self._third, self._triad_fifth, self._own_seventh = 3, 6, 9
    elif found["aug"] is not None or found["plus"] is not None:
      self._triad_fifth = 8

  def _number(self, number: str) -> None:
    """A degree without accidental."""
    if self._adding or self._removing:
      self._alter(int(number) if number != "69" else 9, 0)
    elif number == "69":
      self._sixth = True
      self._tensions.append(14)
    elif number == "5":
      if not self._numbered and self._third == 4:
        self._third = None
    elif number == "6":
      self._sixth = True
    elif number == "2":
      self._tensions.append(14)
    elif number == "4":
      self._third, self._suspended = None, [5]
    elif self._numbered or self._sixth or self._sevenths:
      # A later number names a tension: `C7(13)`, `Cø9`.
      self._alter(int(number), 0)
    elif number in ("7", "9", "11", "13"):
      self._sevenths.append(self._own_seventh)
      degree = int(number)
      if degree >= 9:
        self._tensions.append(14)
      if degree == 11 or (degree == 13 and self._third == 3):
        self._tensions.append(17)
        if self._third == 4:
          self._third = None
      if degree == 13:
        self._tensions.append(21)
    else:
      self._alter(int(number), 0)
    if number not in ("2", "4", "5", "6", "69"):
      self._numbered = True
      self._pending_major = False

  def _alter(self, degree: int, by: int) -> None:
    """A degree with its accidental: altered, added or left out."""
    adding, self._adding = self._adding, False
    removing, self._removing = self._removing, False
    interval = _DEGREES[degree] + by
    if removing:
      if degree == 3:
        self._third = None
      elif degree == 5:
        self._no_fifth = True
      elif degree == 1:
        self._no_root = True
      self._tensions = [x for x in self._tensions if x % 12 != interval % 12]
    elif degree == 5 and not adding:
      if by == 0:
        self._third = self._third if self._numbered else None
      else:
        self._fifths.append(interval)
    elif degree == 3:
      if adding or self._third is None:
        self._tensions.append(interval)
      else:
        self._third = interval
    elif degree == 7:
      # `C7`: flat by itself; `m(maj7)` comes here with a major seventh.
      seventh = self._own_seventh if by == 0 else interval
      self._sevenths = [*self._sevenths, seventh] if adding else [seventh]
    elif degree == 6 and by == 0:
      self._sixth = True
    else:
      tension = interval + (12 if degree in (2, 4, 6) else 0)
      # b9 and #9 take the place of 9, #11 of 11, b13 of 13.
      if by and not adding:
        self._altered.add({2: 14, 4: 17, 6: 21}.get(degree, _DEGREES[degree]))
      self._tensions.append(tension)

  def intervals(self) -> list[int]:
    """Semitones over the root, the more telling ones first."""
    if self._pending_major and not self._sevenths and not self._sixth:
      self._sevenths.append(11)
    fifths = self._fifths or ([] if self._no_fifth else [self._triad_fifth])
    found = [] if self._no_root else [0]
    found += [] if self._third is None else [self._third]
    found += self._suspended
    found += self._sevenths
    found += [9] if self._sixth else []
    found += fifths
    tensions = [x for x in self._tensions if x not in self._altered]
    return found + sorted(tensions)


def _parse_harte(text: str, shown: str) -> ChordSymbol:
  """Reads `ROOT:SHORTHAND(DEGREES)/DEGREE`."""
  match = _HARTE.fullmatch(text.replace(" ", ""))
  if match is None:
    raise ValueError(
      f"{shown!r} is no chord: a letter from A to G must stand before the"
      " colon."
    )
  name, quality, bass = match.groups()
  root = _pitch_class(name)
  shorthand, bracket, degrees = quality.partition("(")
  if shorthand not in _SHORTHANDS:
    raise ValueError(
      f"{shown!r} is no chord: {plain_text.line(shorthand)!r} is no quality"
      f" after Harte; there are {', '.join(filter(None, _SHORTHANDS))}."
    )
  # Degrees alone are the whole chord.
  listed = "" if bracket and not shorthand else _SHORTHANDS[shorthand]
  intervals = [_interval(x, shown)[1] % 12 for x in listed.split(",") if x]
  if bracket:
    if not degrees.endswith(")"):
      raise ValueError(f"{shown!r} is no chord: a bracket is not closed.")
    for degree in filter(None, degrees[:-1].split(",")):
      omitted, interval = _interval(degree, shown)
      intervals = [x for x in intervals if x != interval % 12]
      if not omitted:
        intervals.append(interval % 12)
  if not intervals:
    raise ValueError(f"{shown!r} is no chord: it has no degrees.")
  low = 0
  if bass is not None:
    low = _interval(bass, shown)[1]
  return ChordSymbol(
    root,
    (root + low) % 12,
    _absolute(root, intervals),
    f":{quality}",
    "#" not in name,
  )


def _interval(degree: str, shown: str) -> tuple[bool, int]:
  """Whether a degree is left out, and its semitones over the root."""
  match = _DEGREE.fullmatch(degree)
  if match is None:
    raise ValueError(
      f"{shown!r} is no chord: {plain_text.line(degree)!r} is no degree, as b7"
      " is."
    )
  star, signs, number = match.groups()
  by = signs.count("#") - signs.count("b")
  return bool(star), _DEGREES[int(number)] + by


def _pitch_class(name: str) -> int:
  signs = name[1:]
  up = signs.count("#") + 2 * signs.count("x") - signs.count("b")
  return (_LETTERS[name[0]] + up) % 12


def _absolute(root: int, intervals: list[int]) -> tuple[int, ...]:
  """Pitch classes of intervals, each once, in order."""
  return tuple(dict.fromkeys((root + x) % 12 for x in intervals))
