"""Pieces of a prompt, and what each does: means, negates, strengthens.

Latin words belong to the language of most of them, or to English; scripts tell
the others. Texts without spaces are parted at the longest words that are known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from magenta_midi.style.text.foreign_words import (
  SPACED,
  Form,
  Language,
  Role,
  fold,
  load_language,
)
from magenta_midi.style.text.phrases import caption_words

__all__ = ["MARK", "MODIFIERS", "Unit", "only_silent", "units_of"]

# Words of no caption that tell that a text is English.
_ENGLISH = frozenset(
  """
  about and are be but can do for from good great have i i'd is it it's let me
  my no of on or our sound sounds that the these this to want was we with would
  you your
  """.split()  # noqa: SIM905
)
# Letters of texts without spaces: Chinese characters and kana.
_UNSPACED = "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
_PIECE = re.compile(
  r"(?P<latin>[a-z0-9\u00df-\u024f]+(?:'[a-z]+)?)"
  r"|(?P<hangul>[\u1100-\u11ff]+)"
  rf"|(?P<unspaced>[{_UNSPACED}]+)"
  r"|(?P<other>[^\W_]+)"
  r"|(?P<mark>[^\w\s'-]+)"
)
_KANA = re.compile("[\u3041-\u30fa]")
# French words that lose their vowel: l'air, qu'il.
_ELIDED = re.compile(r"(?:[cdjlmnst]|qu)'(.+)")
# What may stand between a Japanese word and its negation: 速すぎない.
_BRIDGE = "[くはがにもでじゃすぎしそういかり]{0,6}?"
# The Korean ending of the first of two that are both negated.
_NEITHER = fold("지도")


class Unit(NamedTuple):
  """A piece of a text, and what it does; role None: an English word."""

  role: Role | None
  english: str = ""
  neither: bool = False


_UNKNOWN, MARK = Unit(Role.UNKNOWN), Unit(None, ",")
MODIFIERS = (Role.VERY, Role.SLIGHTLY)


def units_of(text: str, knows: Callable[[str], bool]) -> list[Unit]:
  """The units of a text, in order.

  Args:
    text: In any of the languages, or several.
    knows: Whether the style model knows an English word, in plain letters. In
      an English text only unknown words are taken for another language's.
  """
  pieces = _pieces(text)
  words = [word for kind, word in pieces if kind == "latin"]
  return list(_units(pieces, _latin_language(words), knows))


def only_silent(text: str) -> bool:
  """Whether a text has only words that say nothing about music.

  Those that each language lists, such as its words for piano and play. English
  ones are not listed.
  """
  silent = False
  for kind, word in _pieces(text):
    if kind == "latin":
      found = [_forms_at(load_language(name), [word]) for name in SPACED]
      roles = {forms[0].role for forms in found if forms} or {Role.UNKNOWN}
    elif kind == "hangul":
      roles = {unit.role for unit in _korean_units([word])[0]}
    elif kind == "unspaced":
      kana = _KANA.search(word) is not None
      roles = {unit.role for unit in _unspaced_units(word, kana)}
    else:
      roles = {Role.SILENT if kind == "mark" else Role.UNKNOWN}
    if Role.SILENT not in roles or len(roles) > 1:
      return False
    silent |= kind != "mark"
  return silent


def _pieces(text: str) -> list[tuple[str, str]]:
  """Kind and folded letters of each word, run or mark of a text."""
  return [(str(m.lastgroup), m[0]) for m in _PIECE.finditer(fold(text))]


@functools.cache
def _english_words() -> frozenset[str]:
  return _ENGLISH | caption_words()


def _latin_language(words: Sequence[str]) -> Language | None:
  """The language of most words; None: English."""
  english = sum(word in _english_words() for word in words)
  best, most, own = None, 0.0, False
  for name in SPACED:
    language = load_language(name)
    weight, has_own, at = 0.0, False, 0
    while at < len(words):
      found = _forms_at(language, words[at:])
      length = len(found[0].words) if found else 1
      if found or _ELIDED.fullmatch(words[at]):
        # Words that English has too are half a sign, and so are small words,
        # which stand in names: für Elise.
        shared = _is_shared(language, words[at : at + length])
        small = not found or found[0].role is Role.SILENT
        weight += 0.5 if shared or small else 1.0
        has_own |= not shared
      at += length
    if weight > most:
      best, most, own = language, weight, has_own
  if most < 1.0 or most < english or (most == english and not own):
    return None
  return best


def _is_shared(language: Language, words: Sequence[str]) -> bool:
  """Whether English has all of the words too."""
  return all(
    word in language.also_english or word in _english_words() for word in words
  )


def _forms_at(language: Language, words: Sequence[str]) -> list[Form]:
  elided = _ELIDED.fullmatch(words[0])
  if elided is not None and not language.forms_at(words):
    words = [elided[1], *words[1:]]
  return language.forms_at(words)


def _units(
  pieces: Sequence[tuple[str, str]],
  language: Language | None,
  knows: Callable[[str], bool],
) -> Iterator[Unit]:
  kana = any(_KANA.search(word) for _, word in pieces)
  at = 0
  while at < len(pieces):
    kind, word = pieces[at]
    # Words up to the next punctuation or other script.
    last = at
    while last < len(pieces) and pieces[last][0] == kind:
      last += 1
    words = [word for _, word in pieces[at:last]]
    used = 1
    if kind == "latin":
      unit, used = _latin_unit(words, language, knows)
      yield unit
    elif kind == "hangul":
      units, used = _korean_units(words)
      yield from units
    elif kind == "unspaced":
      yield from _unspaced_units(word, kana)
    else:
      yield MARK if kind == "mark" else _UNKNOWN
    at += used


def _latin_unit(
  words: Sequence[str],
  language: Language | None,
  knows: Callable[[str], bool],
) -> tuple[Unit, int]:
  """The unit at the first words, and how many words it takes."""
  word = words[0]
  found = _forms_at(language, words) if language is not None else []
  if found:
    return _unit_of(found), len(found[0].words)
  english = word in _english_words() or word.isdigit()
  if english or (language is None and knows(word)):
    return Unit(None, word), 1
  for name in SPACED:
    other = load_language(name)
    found = _forms_at(other, words)
    if (
      found
      and found[0].role is Role.MEANS
      and not _is_shared(other, words[: len(found[0].words)])
    ):
      return _unit_of(found), len(found[0].words)
  return (Unit(None, word) if language is None else _UNKNOWN), 1


def _unit_of(found: Sequence[Form], neither: bool = False) -> Unit:
  """The longest of several forms; a modifier may have a meaning too."""
  first = found[0]
  same = [form for form in found if form.words == first.words]
  english = next((f.english for f in same if f.role is Role.MEANS), "")
  role = max(same, key=lambda form: form.role in MODIFIERS).role
  return Unit(role, english, neither)


def _korean_units(words: Sequence[str]) -> tuple[list[Unit], int]:
  """Units at the first words, and how many words they take.

  Words may be written together: 안빠른, 느린발라드.
  """
  language = load_language("korean")
  found = language.forms_at(words)
  if found and len(found[0].words) > 1:
    return [_unit_of(found, _NEITHER in words[0])], len(found[0].words)
  word, units = words[0], []
  neither = word.endswith(_NEITHER)
  starts = [
    i for i, letter in enumerate(word) if "\u1100" <= letter <= "\u1112"
  ]
  done = 0
  for start in starts:
    if start < done:
      continue
    rest = word[start:]
    found = language.forms_at([rest])
    if start == 0 and not found:
      for form in language.forms:
        inner = rest.removeprefix(form.words[0])
        if form.role is Role.NOT and inner != rest:
          meant = language.forms_at([inner]) if inner else []
          if meant and meant[0].role is Role.MEANS:
            return [Unit(Role.NOT), _unit_of(meant, neither)], 1
    # Inside a word, short ones are found by chance.
    syllables = (
      sum("\u1100" <= c <= "\u1112" for c in found[0].words[0]) if found else 0
    )
    if found and (
      start == 0 or (syllables > 1 and found[0].role is Role.MEANS)
    ):
      units.append(_unit_of(found, neither))
      done = start + len(found[0].words[0])
  return units or [_UNKNOWN], 1


@functools.cache
def _unspaced(kana: bool) -> tuple[Mapping[str, Form], re.Pattern[str]]:
  """Forms of Japanese, or of Chinese before those; and what negates before."""
  japanese, chinese = load_language("japanese"), load_language("chinese")
  forms = (
    {} if kana else {form.words[0]: form for form in reversed(chinese.forms)}
  )
  for form in reversed(japanese.forms):
    if kana or form.words[0] not in forms:
      forms[form.words[0]] = form
  negations = [
    form.words[0] for form in japanese.forms if form.role is Role.NOT_AFTER
  ]
  return forms, re.compile(f"{_BRIDGE}(?:{'|'.join(negations)})")


def _unspaced_units(run: str, kana: bool) -> Iterator[Unit]:
  """Units of a run of Chinese characters and kana, the longest first."""
  forms, negated = _unspaced(kana)
  longest = max(map(len, forms))
  at, nothing = 0, True
  while at < len(run):
    form = next(
      (
        forms[run[at : at + length]]
        for length in range(min(longest, len(run) - at), 0, -1)
        if run[at : at + length] in forms
      ),
      None,
    )
    if form is None or form.role is Role.NOT_AFTER:
      at += 1
      continue
    nothing = False
    yield Unit(form.role, form.english)
    at += len(form.words[0])
    after = negated.match(run, at)
    if kana and form.role is Role.MEANS and after:
      yield Unit(Role.NOT_AFTER)
      at = after.end()
  if nothing:
    yield _UNKNOWN
