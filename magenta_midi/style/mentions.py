"""Mentions of players in texts: `@ohhalim`, `Ohhalim's`, `@오할림처럼`.

`@` before a name means that player anywhere in a text. The word without `@`
does too. A name in double quotes is only a word. What languages put after a
name without a space belongs to the mention: a particle (`@오할림의`), or
letters of another script (`@ohhalim처럼`).
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from magenta_midi.model.lora.adapter_file import AdapterError
from magenta_midi.plain_text import nfc
from magenta_midi.style.text.foreign_words import fold, load_language
from magenta_midi.style.text.units import only_silent

__all__ = ["Mention", "find_mentions", "only_links"]

# A quotation, or where a name may begin: not within a word, a file's path or a
# mail address.
_START = re.compile(
  r'"(?P<quoted>[^"]*)"|“(?P<curled>[^”]*)”'
  r"|(?<![\w@./\\-])(?P<mark>@?)(?=\w)"
)
_PART_OF_PATH = re.compile(r"[@/\\-]|\.\w")
_POSSESSIVE = re.compile(r"['’]s\b")
_WORD = re.compile(r"\w[\w.-]*")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA")
# Languages whose particles follow a name of the same script.
_WITH_PARTICLES = ("korean", "japanese", "chinese")
# Names that are shown for an unknown one.
_MAX_NAMES = 12

# Words that only introduce a name, as in "play like @me" or "@me and @you". As
# a separate text they would be half of the prompt.
_LINKS = (
  frozenset({"a", "an", "and", "as", "by", "from", "in", "like", "manner"})
  | {"me", "music", "of", "or", "piano", "play", "played", "plays", "please"}
  | {"plus", "some", "something", "style", "that", "the", "this", "to", "way"}
  | {"with"}
)


class Mention(NamedTuple):
  """A player that a text names."""

  name: str  # name of the adapter, in NFC
  marked: bool  # with an @


def find_mentions(text: str, names: Sequence[str]) -> tuple[list[Mention], str]:
  """Finds the players that a text names, and the rest of the text.

  Case does not matter, nor the Unicode form. Of names with the same beginning
  the longest counts.

  Args:
    text: A prompt.
    names: Names of the installed adapters.

  Returns:
    Each player once, in order; and the rest of the text without quotes.

  Raises:
    AdapterError: A marked name is not installed, or could be one of several.
  """
  text = nfc(text)
  names = sorted(set(map(nfc, names)))
  found: dict[str, Mention] = {}
  rest: list[str] = []
  done = 0
  for match in _START.finditer(text):
    if match.start() < done:
      continue
    rest.append(text[done : match.start()])
    if match["mark"] is None:
      rest.append(match["quoted"] or match["curled"] or "")
      done = match.end()
      continue
    marked = bool(match["mark"])
    name, done = _name_at(text, match.end(), names, marked)
    if name is None:
      rest.append(match[0])
      continue
    marked |= name in found and found[name].marked
    found[name] = Mention(name, marked)
    rest.append(" ")
  joined = " ".join("".join([*rest, text[done:]]).split())
  # Remove what joined the names, as in "@a, @b".
  return list(found.values()), (
    joined.strip(" ,;:&+-、，") if found else joined
  )


def only_links(rest: str) -> bool:
  """Whether words only introduce a name, in any language."""
  return all(
    word in _LINKS or only_silent(word)
    for word in re.findall(r"\w+", rest.casefold())
  )


def _name_at(
  text: str, start: int, names: Sequence[str], marked: bool
) -> tuple[str | None, int]:
  """The name that begins at a place, and where the rest of the text does.

  Raises:
    AdapterError: See `find_mentions`.
  """
  ends: dict[str, int] = {}
  for name in names:
    written = _spelled(name).match(text, start)
    end = None if written is None else _end_of_mention(text, written.end())
    # A dotless i is equal to an i only for `re`.
    if written is not None and end is not None and _same(written[0], name):
      ends[name] = written.end()
  longest = max(ends.values(), default=0)
  same = [name for name, end in ends.items() if end == longest]
  written = text[start:longest]
  if not same:
    unknown = _WORD.match(text, start)
    if marked and unknown is not None:
      raise AdapterError(_not_installed(unknown[0].rstrip("."), names))
    return None, start
  if written not in same and len(same) > 1 and marked:
    raise AdapterError(
      f"@{written} could be any of {', '.join(same)}. Write it as one of them"
      " is written."
    )
  end = _end_of_mention(text, longest)
  assert end is not None
  return (written if written in same else same[0]), end


def _same(written: str, name: str) -> bool:
  return written.casefold() == name.casefold()


@functools.lru_cache(maxsize=1024)
def _spelled(name: str) -> re.Pattern[str]:
  return re.compile(re.escape(name), re.IGNORECASE)


def _end_of_mention(text: str, end: int) -> int | None:
  """Where a mention ends whose name ends at `end`; None: the word goes on."""
  possessive = _POSSESSIVE.match(text, end)
  if possessive is not None:
    return possessive.end()
  if _PART_OF_PATH.match(text, end):
    return None
  script, particles = _script(text[end - 1]), False
  changed = False
  while end < len(text) and (text[end].isalnum() or text[end] == "_"):
    particle = _particles().match(text, end)
    changed |= script is not None and _script(text[end]) not in (None, script)
    if particle is None:
      break
    end, particles = particle.end(), True
  else:
    return end
  # Chinese has no spaces: what follows a particle is another word.
  unspaced = particles and _script(text[end]) in _UNSPACED
  return end if changed or unspaced else None


@functools.cache
def _particles() -> re.Pattern[str]:
  found = [p for n in _WITH_PARTICLES for p in load_language(n).after_name]
  found.sort(key=len, reverse=True)
  return re.compile("|".join(map(re.escape, found)))


def _script(letter: str) -> str | None:
  """The script of a letter, such as HANGUL; None: of none, or of any."""
  if not letter.isalpha() or "PROLONGED" in unicodedata.name(letter, ""):
    return None
  return unicodedata.name(letter, "UNKNOWN").split()[0]


def _not_installed(name: str, names: Sequence[str]) -> str:
  quoted = "or put it in double quotes to mean the word."
  if not names:
    return (
      f"@{name}: no adapter is installed. Make one with `magenta-midi"
      f" finetune`, {quoted}"
    )
  # By single letters, of which a Hangul syllable has two or three.
  folded = {fold(known): known for known in names}
  near = difflib.get_close_matches(fold(name), folded, n=3, cutoff=0.6)
  hint = (
    f" Did you mean {' or '.join(folded[n] for n in near)}?" if near else ""
  )
  more = f" and {len(names) - _MAX_NAMES} more" * (len(names) > _MAX_NAMES)
  return (
    f"@{name}: no such adapter; installed: {', '.join(names[:_MAX_NAMES])}"
    f"{more}.{hint} Name one of them, {quoted}"
  )
