"""Words of style captions, from a file.

phrases.json has, for each attribute of music, words for its levels (low,
middle, high); words for moods, which follow from several levels together; and
words for facts about pieces: forms, genres, periods. Words held out for
evaluation are in separate lists.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

__all__ = [
  "Form",
  "Level",
  "Mood",
  "Phrases",
  "caption_words",
  "plain_text",
  "load_phrases",
]

# A text of several words that begins with one of these comes after the noun, or
# alone.
_AFTER_NOUN = frozenset(
  """
  above across against all always around as at below between con down for
  from full in like lots not on out over senza to under up with within
  without
  """.split()  # noqa: SIM905
)
# A text of several words that ends with one of these is a noun.
_NOUNS = frozenset(
  """
  ballad chorale chords dirge exercise finale lullaby movement music piano
  piece rag ragtime showpiece song
  """.split()  # noqa: SIM905
)


class Level(NamedTuple):
  """Words for one level of an attribute, for training and held out."""

  adjectives: tuple[str, ...]  # before a noun or alone
  phrases: tuple[str, ...]  # after a noun or alone
  extreme: tuple[str, ...]  # if the level is extreme; alone
  more: tuple[str, ...]  # single words of any kind with a similar meaning
  held_out: tuple[str, ...]  # adjectives; () where none are held out


class Mood(NamedTuple):
  """Words for a mood, which needs several levels together."""

  needs: frozenset[str]  # such as "speed low"
  adjectives: tuple[str, ...]
  phrases: tuple[str, ...]
  nouns: tuple[str, ...]


class Form(NamedTuple):
  """A kind of piece: its words in titles and in captions."""

  titles: tuple[str, ...]  # plain words, in several languages
  words: tuple[str, ...]


class Phrases(NamedTuple):
  """Content of phrases.json."""

  attributes: Mapping[str, Mapping[str, Level]]
  moods: tuple[Mood, ...]
  forms: Mapping[str, Form]
  genres: Mapping[str, tuple[str, ...]]
  periods: Mapping[str, tuple[str, ...]]
  composers: Mapping[str, tuple[str, ...]]  # full names by period or genre
  frames: tuple[str, ...]  # sentences around "{}"
  held_out_frames: tuple[str, ...]
  nouns: tuple[str, ...]
  strong: tuple[str, ...]  # "very" and similar words
  mild: tuple[str, ...]
  negations: tuple[str, ...]
  nonsense: tuple[str, ...]  # words without meaning for music

  @property
  def scored(self) -> tuple[str, ...]:
    """The attributes with held-out words."""
    return tuple(
      name
      for name, levels in self.attributes.items()
      if levels["high"].held_out
    )

  @property
  def held_out_words(self) -> frozenset[str]:
    """All words that must not be in captions for training."""
    return frozenset(
      word
      for levels in self.attributes.values()
      for level in levels.values()
      for word in level.held_out
    )


@functools.cache
def load_phrases() -> Phrases:
  """Reads phrases.json of the package, once."""
  file = resources.files("magenta_midi.style.text") / "phrases.json"
  found = json.loads(file.read_text(encoding="utf-8"))
  frames = found["frames"]
  return Phrases(
    attributes={
      name: {level: _level(words) for level, words in levels.items()}
      for name, levels in found["attributes"].items()
    },
    moods=tuple(map(_mood, found["moods"])),
    forms={
      name: Form(tuple(map(plain_text, form["titles"])), tuple(form["words"]))
      for name, form in found["forms"].items()
    },
    genres=_tuples(found["genres"]),
    periods=_tuples(found["periods"]),
    composers=_tuples(found["composers"]),
    frames=tuple(frames["train"]),
    held_out_frames=tuple(frames["held_out"]),
    nouns=tuple(frames["nouns"]),
    strong=tuple(frames["strong"]),
    mild=tuple(frames["mild"]),
    negations=tuple(frames["negations"]),
    nonsense=tuple(found["nonsense"]),
  )


def plain_text(text: str) -> str:
  """Lower case without accents; words of letters and digits, single spaces.

  Underscores and hyphens also separate words.
  """
  folded = unicodedata.normalize("NFKD", text.lower())
  return " ".join(
    "".join(
      letter if letter.isalnum() or letter == "'" else " "
      for letter in folded
      if not unicodedata.combining(letter)
    ).split()
  )


@functools.cache
def caption_words() -> frozenset[str]:
  """All single words of captions, in plain letters."""
  phrases = load_phrases()
  levels = [x for found in phrases.attributes.values() for x in found.values()]
  texts = [text for level in levels for words in level for text in words]
  texts += [text for mood in phrases.moods for w in mood[1:] for text in w]
  texts += [text for form in phrases.forms.values() for text in form.words]
  for groups in (phrases.genres, phrases.periods, phrases.composers):
    texts += [text for words in groups.values() for text in words]
  texts += [*phrases.frames, *phrases.held_out_frames, *phrases.nouns]
  texts += [*phrases.strong, *phrases.mild, *phrases.negations]
  return frozenset(word for t in texts for word in plain_text(t).split())


def _level(words: Mapping) -> Level:
  train = words["train"]
  return Level(
    tuple(train.get("adjectives", ())),
    tuple(train.get("phrases", ())),
    tuple(train.get("extreme", ())),
    tuple(train.get("more", ())),
    tuple(words.get("held_out", ())),
  )


def _mood(mood: Mapping) -> Mood:
  """Sorts the words of a mood by their place in a noun phrase."""
  words = mood["words"]
  places = [_place(word) for word in words]
  return Mood(
    frozenset(mood["needs"]),
    *(
      tuple(
        word
        for word, found in zip(words, places, strict=True)
        if found == place
      )
      for place in ("before", "after", "noun")
    ),
  )


def _place(text: str) -> str:
  first, _, rest = text.partition(" ")
  if rest and first in _AFTER_NOUN:
    return "after"
  return "noun" if text.rsplit(" ", 1)[-1] in _NOUNS else "before"


def _tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
  return {name: tuple(words) for name, words in lists.items()}
