"""Words of other languages that mean a word of the captions, from files.

`languages/` has one file for each language; korean.toml says how to read it.
"""

from __future__ import annotations

import functools
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from importlib import resources
from typing import NamedTuple

from magenta_midi.plain_text import nfc

__all__ = [
  "LANGUAGES",
  "SPACED",
  "Form",
  "Language",
  "Role",
  "fold",
  "load_language",
  "matches",
]

# Those whose words are parted by spaces, in Latin letters.
SPACED = ("spanish", "german", "french", "italian")
LANGUAGES = ("korean", "japanese", "chinese", *SPACED)

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


class Role(IntEnum):
  """What a word does in a prompt."""

  MEANS = 0  # a word of the captions
  VERY = 1
  SLIGHTLY = 2
  NOT = 3  # negates the next meaning
  NOR = 4  # the same, but only after a NOT
  NOT_AFTER = 5  # negates the meaning before
  SILENT = 6  # says nothing about music
  UNKNOWN = 7  # is not in the language's file


class Form(NamedTuple):
  """A word or several words of a language, and what they do."""

  words: tuple[str, ...]  # folded
  stems: tuple[bool, ...]  # of each word, whether an ending may follow
  role: Role
  english: str  # what it means, if its role is MEANS


class Language(NamedTuple):
  """The words of one language in prompts."""

  name: str
  forms: tuple[Form, ...]
  # By their first word; longer ones first.
  index: Mapping[str, Sequence[Form]]
  # Endings of its stems; empty: any.
  endings: frozenset[str]
  # Words that English has too.
  also_english: frozenset[str]
  # What may follow the name of a player without a space.
  after_name: tuple[str, ...]

  def forms_at(self, words: Sequence[str]) -> list[Form]:
    """Forms that the first words are, the one of most letters first."""
    first = words[0]
    found = [
      form
      for length in range(len(first), 0, -1)
      for form in self.index.get(first[:length], ())
      if len(form.words) <= len(words)
      and all(
        matches(word, own, stem, self.endings)
        for word, own, stem in zip(words, form.words, form.stems, strict=False)
      )
    ]
    found.sort(key=lambda form: -sum(map(len, form.words)))
    return found


def matches(
  word: str, own: str, stem: bool, endings: frozenset[str] = frozenset()
) -> bool:
  """Whether a word is a word of a language, with an ending if it is a stem."""
  if not stem:
    return word == own
  return word.startswith(own) and (not endings or word[len(own) :] in endings)


def fold(text: str) -> str:
  """Lower case, Latin letters without accents, Hangul as single letters."""
  folded = []
  plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
  for letter in unicodedata.normalize("NFC", plain):
    parts = unicodedata.normalize("NFD", letter)
    # A kana's mark is no accent: が is not か.
    if not "\u3040" <= parts[0] <= "\u30ff":
      letter = "".join(c for c in parts if not "\u0300" <= c <= "\u036f")
    folded.append(letter)
  return "".join(folded)


@functools.cache
def load_language(name: str) -> Language:
  """Reads the file of a language, once.

  Args:
    name: One of `LANGUAGES`.
  """
  folder = resources.files("magenta_midi.style.text") / "languages"
  found = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
  entries = [(role, "", found.get(role.name.lower(), ())) for role in Role]
  entries += [(Role.MEANS, key, words) for key, words in found["words"].items()]
  forms = tuple(
    _form(spelled, role, english)
    for role, english, words in entries
    for text in words
    for spelled in _spellings(text)
  )
  index: dict[str, list[Form]] = {}
  for form in forms:
    index.setdefault(form.words[0], []).append(form)
  return Language(
    name=name,
    forms=forms,
    index=index,
    endings=frozenset(found.get("endings", ())),
    also_english=frozenset(_folded(found.get("also_english", ()))),
    after_name=tuple(nfc(text) for text in found.get("after_name", ())),
  )


def _folded(words: Iterable[str]) -> set[str]:
  return set(map(fold, words))


def _spellings(text: str) -> dict[str, None]:
  """The text, and with ae for ä and the like; no two alike when folded."""
  return dict.fromkeys((fold(text), fold(text.translate(_UMLAUTS))))


def _form(folded: str, role: Role, english: str) -> Form:
  words = folded.split()
  return Form(
    tuple(word.removesuffix("-") for word in words),
    tuple(word.endswith("-") for word in words),
    role,
    english,
  )
