"""Titles and ratings of recordings, from file names and saved sessions.

A session is a folder of `session.mid` and `session.json`.
"""

import re
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.midi.session_facts import FACTS, read_facts

__all__ = [
  "RATING_WEIGHTS",
  "SavedSession",
  "saved_session",
  "title_of",
  "title_words",
]

# Words before the number of a recording, or of a work.
_TAKE = frozenset({"take", "version", "ver", "copy"})
_WORK = frozenset(
  {"no", "nr", "number", "op", "opus", "k", "kv", "bwv", "woo", "hob"}
  | {"book", "part", "movement", "mvt", "act", "vol", "volume"}
)
MUSIC = "session.mid"
# Weight of a session in training, by its rating; without a rating, 1. A rating
# of 1 means that the player does not want to play like that.
RATING_WEIGHTS = {1: 0.0, 2: 0.5, 3: 1.0, 4: 1.5, 5: 2.0}


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
  # A name that is only a number is a title.
  return title if any(c.isalpha() for c in title) else title_words(name)


def title_words(name: str) -> str:
  """A file's name without ending and case, its words a space apart."""
  stem = unicodedata.normalize("NFKC", Path(name).stem).casefold()
  return re.sub(r"[\s_\-.,()\[\]#]+", " ", stem).strip()


class SavedSession(NamedTuple):
  """Title and rating of one session.

  Attributes:
    title: The session's ID; for a part that was trimmed out, the ID of the
      whole session, as both hold the same music.
    rating: 1 to 5; None: not rated.
  """

  title: str
  rating: int | None

  @property
  def weight(self) -> float:
    """How often it is trained on; a session without rating has 1."""
    return 1.0 if self.rating is None else RATING_WEIGHTS[self.rating]


def saved_session(file: Path) -> SavedSession | None:
  """The session that a MIDI file belongs to; None: it belongs to none.

  Damaged facts count as missing: the music is still the player's.
  """
  if file.name != MUSIC or not (file.parent / FACTS).is_file():
    return None
  rating = _facts(file.parent).get("rating")
  return SavedSession(_whole(file.parent.resolve()), rating)


def _whole(folder: Path) -> str:
  """The ID of the session that a folder's music was trimmed from."""
  title, seen = folder.name, set()
  while title not in seen:
    seen.add(title)
    # A part of a part is beside the part.
    origin = _facts(folder.with_name(title)).get("trimmed_from")
    found = origin.get("id") if isinstance(origin, dict) else None
    if isinstance(found, str) and found == Path(found).name:
      title = found
  return title


def _facts(folder: Path) -> dict[str, Any]:
  try:
    return read_facts(folder)
  except (OSError, ValueError):
    return {}
