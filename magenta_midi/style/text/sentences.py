"""Sentences made of the parts of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from magenta_midi.style.text.phrases import load_phrases

__all__ = ["Part", "in_frame", "add_errors", "sentence"]

# Nouns without "a".
_UNCOUNTED = ("music", "piano", "playing", "ragtime", "jazz", "pop", "blues")
_FUNCTION_WORDS = frozenset(
  ("a", "an", "the", "in", "with", "of", "at", "is", "it", "that", "and")
)


class Part(NamedTuple):
  """One part of a caption."""

  # adjective; kind (a genre, before the noun); noun; phrase (after it, or
  # alone); by (a name: "by X" after a noun, or alone).
  role: str
  text: str


def sentence(draw: Random, parts: list[Part]) -> str:
  """Joins parts in random order and form: a list, a noun phrase ...

  Args:
    draw: Random generator of all choices.
    parts: One or more parts.
  """
  kind = draw.random()
  draw.shuffle(parts)
  if len(parts) == 1:
    role, text = parts[0]
    if kind < 0.6:
      return text
    if kind < 0.85 and role in ("adjective", "kind"):
      return in_frame(draw.choice(load_phrases().frames), text)
    return _noun_phrase(draw, parts)
  if kind < 0.4:
    return _noun_phrase(draw, parts)
  texts = [text for _, text in parts]
  if kind < 0.75:
    return (", " if draw.random() < 0.6 else " ").join(texts)
  if kind < 0.9:
    return ", ".join(texts[:-1]) + " and " + texts[-1]
  adjectives = [text for role, text in parts if role == "adjective"]
  if not adjectives:
    return ", ".join(texts)
  frame = draw.choice(load_phrases().frames)
  rest = [text for role, text in parts if role != "adjective"]
  return ", ".join([in_frame(frame, " and ".join(adjectives)), *rest])


def in_frame(frame: str, text: str) -> str:
  """Puts the text in place of "{}" in a frame; adapts "a" and "an"."""
  head, _, tail = frame.partition("{}")
  if text[0] in "aeiou" and (head == "a " or head.endswith(" a ")):
    head = head[:-1] + "n "
  return head + text + tail


def add_errors(draw: Random, text: str) -> str:
  """Sometimes removes small words or adds a typing error."""
  kind = draw.random()
  if kind > 0.2:
    return text
  words = text.split(" ")
  if kind > 0.03:
    kept = [
      word
      for word in words
      if word not in _FUNCTION_WORDS or draw.random() < 0.4
    ]
    return " ".join(kept) or text
  at = draw.randrange(len(words))
  word = words[at]
  if len(word) < 5 or not word.isalpha() or word == "never":
    return text
  place = draw.randrange(1, len(word) - 1)
  if draw.random() < 0.5:
    slip = word[:place] + word[place + 1 :]
  else:
    slip = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
  words[at] = word if slip in load_phrases().held_out_words else slip
  return " ".join(words)


def _noun_phrase(draw: Random, parts: Sequence[Part]) -> str:
  """Such as "a slow, soft waltz by chopin in a minor key"."""
  before = [text for role, text in parts if role == "adjective"]
  kinds = [text for role, text in parts if role == "kind"]
  nouns = [text for role, text in parts if role == "noun"]
  after = [
    f"by {text}" if role == "by" and draw.random() < 0.7 else text
    for role, text in parts
    if role in ("phrase", "by")
  ]
  # "pop song" needs no noun.
  if not nouns and not any(" " in text for text in kinds):
    nouns = [draw.choice(load_phrases().nouns)]
  glue = draw.choice((" ", " ", ", ", " and "))
  words = [glue.join(before), *kinds, " ".join(nouns)]
  core = " ".join(word for word in words if word)
  if draw.random() < 0.5:
    if core.endswith(_UNCOUNTED):
      core = f"the {core}" if draw.random() < 0.3 else core
    else:
      article = "an" if core[0] in "aeiou" else "a"
      core = f"{draw.choice((article, article, article, 'the'))} {core}"
  return draw.choice((" ", " ", ", ")).join([core, *after])
