"""Titles of music, from names of files."""

import re
import unicodedata
from pathlib import Path

__all__ = ["title_of", "title_words"]

# Words before the number of a recording, or of a work.
_TAKE = frozenset({"take", "version", "ver", "copy"})
_WORK = frozenset(
  {"no", "nr", "number", "op", "opus", "k", "kv", "bwv", "woo", "hob"}
  | {"book", "part", "movement", "mvt", "act", "vol", "volume"}
)


def title_of(name: str) -> str:
  """The title in a file's name: without ending, case, and a recording's number.

  `Ballade take 2.mid`, `ballade_02.mid` and `Ballade (3).mid` are one title;
  `Etude no. 3.mid` and `Etude no. 4.mid`, or `Op. 9.mid`, are not.
  """
  words = title_words(name).split(" ")
  if len(words) > 1 and re.fullmatch(r"v?\d{1,3}", words[-1]):
    if words[-2] in _TAKE:
      words = words[:-2]
    elif words[-2] not in _WORK:
      words = words[:-1]
  if len(words) > 1 and words[-1] in _TAKE:
    words = words[:-1]
  title = " ".join(words)
  # A name that is a number and nothing else is a title of its own.
  return title if any(c.isalpha() for c in title) else title_words(name)


def title_words(name: str) -> str:
  """A file's name without ending and case, its words a space apart."""
  stem = unicodedata.normalize("NFKC", Path(name).stem).casefold()
  return re.sub(r"[\s_\-.,()\[\]#]+", " ", stem).strip()
