"""Word inputs of the text tower: word vectors and letter pieces.

A word in the table has a vector. Every word also has a hashed set of its pieces
of three and four letters, so that misspelled, compound and unknown words also
have an input.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magenta_midi.plain_text import nfc
from magenta_midi.typing import Bool, Float, Int

__all__ = [
  "GRAM_ROWS",
  "MAX_TEXT",
  "MAX_WORDS",
  "TextInputs",
  "Words",
  "check_length",
  "split_words",
]

MAX_TEXT = 2000  # characters; a longer text is not a description of a style
MAX_WORDS = 48
# Rows of the table of letter pieces; row 0: no piece.
GRAM_ROWS = 4096
_MAX_GRAMS = 16
# A longer run of letters is cut: it is not a word, or has no spaces.
_MAX_WORD = 20

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?", re.UNICODE)


class TextInputs(NamedTuple):
  """Texts as input arrays of the text tower."""

  vectors: Float[np.ndarray, "n s v"]  # 0 if the word is unknown
  known: Bool[np.ndarray, "n s"]
  grams: Int[np.ndarray, "n s g"]  # rows of the table of letter pieces
  mask: Bool[np.ndarray, "n s"]  # True where there is a word


def check_length(text: str) -> str:
  """The text in NFC.

  Raises:
    ValueError: It has more than `MAX_TEXT` characters.
  """
  text = nfc(text)
  if len(text) > MAX_TEXT:
    raise ValueError(
      f"a style text must have at most {MAX_TEXT} characters, got"
      f" {len(text)}. Use a few words."
    )
  return text


def split_words(text: str) -> list[str]:
  """The words of a text: lower case, without accents and punctuation.

  Raises:
    ValueError: The text is empty, too long or has no letter or digit.
  """
  text = check_length(text)
  plain = unicodedata.normalize("NFKD", text).lower().replace("\u2019", "'")
  plain = "".join(c for c in plain if not unicodedata.combining(c))
  words = [
    word[start : start + _MAX_WORD]
    for word in _WORD.findall(plain)
    for start in range(0, len(word), _MAX_WORD)
  ]
  if not words:
    shown = " ".join(text.split())[:60]
    raise ValueError(
      f"a style text must have a word, got {shown!r}. Write what the music is"
      " like: slow gentle waltz."
    )
  return words


def _gram_rows(word: str) -> list[int]:
  """Rows of the letter pieces of a word, at most `_MAX_GRAMS`."""
  marked = f"<{word}>"
  pieces = [
    marked[start : start + length]
    for length in (3, 4)
    for start in range(len(marked) - length + 1)
  ] or [marked]
  if len(pieces) > _MAX_GRAMS:
    step = len(pieces) / _MAX_GRAMS
    pieces = [pieces[int(i * step)] for i in range(_MAX_GRAMS)]
  return [1 + _hash(piece) % (GRAM_ROWS - 1) for piece in pieces]


def _hash(text: str) -> int:
  """FNV-1a, 32 bits: the same on every machine."""
  value = 0x811C9DC5
  for byte in text.encode():
    value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
  return value


class Words:
  """A vocabulary with word vectors.

  Args:
    words: Words in the order of the vectors.
    vectors: int8 `[w, v]`; each row has another, unknown scale.
  """

  def __init__(self, words: Sequence[str], vectors: np.ndarray):
    if len(words) != len(vectors):
      raise ValueError(
        f"{len(words)} words do not go with {len(vectors)} vectors."
      )
    self.words = tuple(words)
    self.vectors = vectors
    self._rows: dict[str, list[int]] = {}

  @cached_property
  def _index(self) -> dict[str, int]:
    return {word: row for row, word in enumerate(self.words)}

  @property
  def width(self) -> int:
    """Number of dimensions of a vector."""
    return self.vectors.shape[1]

  def __contains__(self, word: object) -> bool:
    """Whether a word, as `split_words` gives it, has a vector."""
    return word in self._index or (
      isinstance(word, str) and word.removesuffix("'s") in self._index
    )

  @classmethod
  def load(cls, words: Path, vectors: np.ndarray) -> Words:
    """Makes a vocabulary from a file with one word in each line."""
    return cls(words.read_text(encoding="utf-8").split("\n"), vectors)

  def inputs(
    self, texts: Sequence[str], *, width: int = MAX_WORDS
  ) -> TextInputs:
    """Converts texts to arrays; only the first `width` words are used.

    Raises:
      ValueError: A text is empty, too long or without a word.
    """
    count = len(texts)
    vectors = np.zeros((count, width, self.width), np.float32)
    known = np.zeros((count, width), bool)
    grams = np.zeros((count, width, _MAX_GRAMS), np.int32)
    mask = np.zeros((count, width), bool)
    for row, text in enumerate(texts):
      for at, word in enumerate(split_words(text)[:width]):
        mask[row, at] = True
        found = self._index.get(word, self._index.get(word.removesuffix("'s")))
        if found is not None:
          vector = self.vectors[found].astype(np.float32)
          vectors[row, at] = vector / max(1.0, float(np.linalg.norm(vector)))
          known[row, at] = True
        if word not in self._rows:
          self._rows[word] = _gram_rows(word)
        rows = self._rows[word]
        grams[row, at, : len(rows)] = rows
    # Scaled so that entries are about 1, as in other inputs.
    return TextInputs(vectors * self.width**0.5, known, grams, mask)
