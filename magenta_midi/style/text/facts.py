"""Facts about a piece from its title and tags: composer, form, genre."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from magenta_midi.bounded_files import read_table
from magenta_midi.plain_text import nfc
from magenta_midi.style.text.phrases import load_phrases, plain_text

__all__ = ["PieceFacts", "piece_facts", "read_facts"]

# Composers whose names are also common words in titles or names of performers.
# They count only if the composer is given.
_COMMON_NAMES = frozenset(
  """
  adam albert barber boulanger copland epstein fall field gade german
  gilbert glass gold mason niemann schelling scott weismann
  """.split()  # noqa: SIM905
)
# Tags whose genre has another name in phrases.json.
_GENRE_TAGS = {"classic": "classical", "rags": "ragtime", "soundtrack": "film"}
# "COMPOSER/PIANIST - " before the title of a piano roll.
_ROLL = re.compile(r"^[^/]+/.+? - ")


class PieceFacts(NamedTuple):
  """Facts about a piece; "" or () if unknown."""

  composer: str = ""  # lower case, surname last
  title: str = ""  # as in the list
  forms: tuple[str, ...] = ()  # names in phrases.json: nocturne, waltz ...
  period: str = ""  # baroque, classical, romantic ...
  genre: str = ""  # classical, pop, jazz ...


def piece_facts(
  title: str, composer: str = "", tags: Sequence[str] | str = ()
) -> PieceFacts:
  """Finds facts in the title, composer and tags of a piece.

  Args:
    title: Title or file name; words of several languages are recognized.
    composer: "Surname, First names", or only one of them, or "" to search the
      title for a known composer.
    tags: Words, or one text with ";" between them. Genres and "arranger=NAME"
      are used.
  """
  if isinstance(tags, str):
    tags = tags.split(";")
  tags = [tag.strip().lower() for tag in tags]
  # "COMPOSER/PIANIST - TITLE": search forms only in the title.
  bare = _ROLL.sub("", title)
  words = plain_text(bare)
  name = _full_name(composer) if composer else _composer_in(plain_text(title))
  era = _eras().get(_surname(name), "") if name else ""
  era = _eras().get(plain_text(name), era)
  forms = _forms(words)
  if "transcription" not in forms and _is_arranged(tags):
    forms += ("transcription",)
  phrases = load_phrases()
  genre = next(
    (
      known
      for tag in tags
      for known in [_GENRE_TAGS.get(tag, tag)]
      if known in phrases.genres
    ),
    "",
  )
  if era in phrases.genres and era not in phrases.periods:
    genre, era = era, ""
  elif era and not genre:
    genre = "classical"
  for form, other in (
    ("rag", "ragtime"),
    ("fox trot", "popular"),
    ("blues", "blues"),
  ):
    if form in forms and genre in ("", "classical"):
      genre, era = other, ""
  return PieceFacts(name, title, forms, era, genre)


def read_facts(folder: Path, names: Sequence[str]) -> tuple[PieceFacts, ...]:
  """Reads the facts about the pieces of a folder.

  Args:
    folder: Folder of MIDI files. A list `FOLDER.csv` beside it (column `path`,
      optional `title`, `composer` and `tags`) gives more facts than file names.
      A prepared folder contains this list as `pieces.csv`.
    names: Paths of the files below the folder.

  Returns:
    Facts in the order of `names`.

  Raises:
    OSError: The list cannot be read, or is too large.
    ValueError: The list is no table.
  """
  folder = Path(folder)
  listing = folder / "pieces.csv"
  if not listing.is_file():
    listing = folder.with_name(folder.name + ".csv")
  rows: dict[str, dict[str, str]] = {}
  if listing.is_file():
    try:
      _, table = read_table(listing)
    except ValueError as error:
      raise ValueError(f"{listing}: not a list of files ({error}).") from None
    rows = {nfc(row.get("path") or ""): row for row in table}
  found = []
  for name in names:
    path = PurePosixPath(Path(name).as_posix())
    row = rows.get(nfc(str(path)), {})
    found.append(
      piece_facts(
        row.get("title") or path.stem,
        row.get("composer") or "",
        row.get("tags") or "",
      )
    )
  return tuple(found)


@functools.cache
def _eras() -> dict[str, str]:
  """Period or genre by plain full name and plain surname."""
  eras: dict[str, str] = {}
  for era, names in load_phrases().composers.items():
    for name in names:
      eras[plain_text(name)] = era
      eras.setdefault(_surname(name), era)
  return eras


@functools.cache
def _full_names() -> dict[str, str]:
  """Full name by plain surname; of several the first in the list."""
  names: dict[str, str] = {}
  for listed in load_phrases().composers.values():
    for name in listed:
      names.setdefault(_surname(name), name)
  return names


@functools.cache
def _titled_forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
  return tuple(
    (name, re.compile(rf"\b(?:{'|'.join(map(re.escape, form.titles))})\b"))
    for name, form in load_phrases().forms.items()
  )


@functools.cache
def _known_names() -> re.Pattern[str]:
  surnames = [
    name
    for name, era in _eras().items()
    if " " in name
    or (era in load_phrases().periods and name not in _COMMON_NAMES)
  ]
  surnames.sort(key=len, reverse=True)
  return re.compile(rf"\b(?:{'|'.join(map(re.escape, surnames))})\b")


def _surname(name: str) -> str:
  """The last word; "mendelssohn bartholdy" counts as one."""
  return plain_text(name.lower().rsplit(" ", 1)[-1])


def _full_name(composer: str) -> str:
  last, comma, first = composer.lower().partition(",")
  last = last.strip()
  first = first.strip()
  if comma and first and "(" not in composer:
    # "albert, eugen d'".
    return f"{first}{last}" if first.endswith("'") else f"{first} {last}"
  # Also for "liapunov, s. m. (sergei mikhailovich)".
  return _full_names().get(_surname(last), last)


def _composer_in(words: str) -> str:
  found = _known_names().search(words)
  if not found:
    return ""
  return _full_names().get(_surname(found[0]), found[0])


def _forms(words: str) -> tuple[str, ...]:
  return tuple(
    name for name, pattern in _titled_forms() if pattern.search(words)
  )


def _is_arranged(tags: Sequence[str]) -> bool:
  return any(tag.startswith("arranger=") for tag in tags)
