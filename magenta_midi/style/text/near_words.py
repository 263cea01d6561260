"""Misspelled and compound words of the captions."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from magenta_midi.style.text.phrases import caption_words

__all__ = ["is_near"]

# Shorter words have too many neighbors.
_SHORTEST = 4


def is_near(word: str) -> bool:
  """Whether a word is one of the captions with a typing error, or contains one.

  An error is a letter too many, too few or another one, or two letters in
  exchanged places. A compound begins or ends with the word: ultrafast.

  Args:
    word: In plain letters.
  """
  if word in caption_words() or len(word) < _SHORTEST:
    return word in caption_words()
  # One error apart, two words have a common form with one letter less, or one
  # is such a form of the other (Garbe 2012: symmetric deletes).
  if any(form in _shortened() for form in (word, *_deletions(word))):
    return True
  return any(
    word[:at] in _long_words() or word[at:] in _long_words()
    for at in range(1, len(word))
  )


@functools.cache
def _long_words() -> frozenset[str]:
  return frozenset(word for word in caption_words() if len(word) >= _SHORTEST)


@functools.cache
def _shortened() -> frozenset[str]:
  """All long words of captions, and these with one letter less."""
  forms = {form for word in _long_words() for form in _deletions(word)}
  return frozenset(forms | _long_words())


def _deletions(word: str) -> Iterator[str]:
  for at in range(len(word)):
    yield word[:at] + word[at + 1 :]
