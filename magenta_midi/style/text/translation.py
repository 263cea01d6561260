"""Translation of prompts into the English words of the captions, word by word.

The style models know English. Each word of another language means a word of
the captions here, so that a prompt asks for what was measured for that word:
"느리고 조용한 발라드" is "slow soft ballad". English texts do not change.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from magenta_midi.style.text.foreign_words import Role
from magenta_midi.style.text.phrases import load_phrases
from magenta_midi.style.text.units import MARK, MODIFIERS, Unit, units_of

__all__ = ["opposite", "translate"]

# A negation holds for the next meaning, over so many unknown words.
_REACH = 3


def translate(text: str, knows: Callable[[str], bool]) -> str:
  """The text in English words.

  Args:
    text: In any of the languages, or several.
    knows: See `units_of`.

  Returns:
    The text unchanged if it is English, else English words; empty if nothing
    in it is understood.
  """
  units = units_of(text, knows)
  if all(unit.role is None for unit in units):
    return text
  return " ".join(_english(units)).strip(" ,")


def opposite(english: str) -> str | None:
  """The first word of the opposite level; None: it has none."""
  sides = {"low": "high", "high": "low"}
  # Its main words name an attribute better than others do.
  for fields in (("adjectives", "phrases", "extreme"), ("more",)):
    for levels in load_phrases().attributes.values():
      for side, other in sides.items():
        level = levels.get(side)
        if level is None or other not in levels:
          continue
        if any(english in getattr(level, field) for field in fields):
          return levels[other].adjectives[0]
  return None


@functools.cache
def _strengthened() -> frozenset[str]:
  """Words that may follow "very"."""
  phrases = load_phrases()
  levels = [x for found in phrases.attributes.values() for x in found.values()]
  texts = [text for level in levels for text in level.adjectives]
  return frozenset(
    texts + [t for mood in phrases.moods for t in mood.adjectives]
  )


def _english(units: Sequence[Unit]) -> Iterator[str]:
  """English words of the units, with negation and strength."""
  said: list[Unit] = []
  strength, negated, distance, ever_negated = "", False, 0, False
  for place, unit in enumerate(units):
    role = unit.role
    following = units[place + 1].role if place + 1 < len(units) else Role.SILENT
    if role in MODIFIERS and unit.english and following is not Role.MEANS:
      role = Role.MEANS
    if role is Role.MEANS:
      english: str | None = unit.english
      if negated and distance <= _REACH:
        english = opposite(unit.english)
      elif strength and unit.english in _strengthened():
        english = f"{strength} {unit.english}"
      said.append(Unit(Role.MEANS, english or "", unit.neither))
      strength, negated = "", False
    elif role is None:
      said.append(unit)
      if unit == MARK:
        strength, negated = "", False
    elif role in MODIFIERS:
      strength = "very" if role is Role.VERY else "slightly"
    elif role is Role.NOT or (role is Role.NOR and ever_negated):
      negated, ever_negated, distance = True, True, 0
    elif role is Role.NOT_AFTER:
      _negate_last(said)
    distance += 1
  for unit in said:
    if unit.english:
      yield unit.english


def _negate_last(said: list[Unit]) -> None:
  """Negates the last meaning; of "neither, nor" nothing is left."""
  if not said or said[-1].role is not Role.MEANS:
    return
  last = said.pop()
  both = False
  while said and said[-1].neither:
    said.pop()
    both = True
  if not both:
    plain = last.english.removeprefix("very ").removeprefix("slightly ")
    said.append(Unit(Role.MEANS, opposite(plain) or ""))
