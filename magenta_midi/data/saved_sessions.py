"""Title and rating of a saved session.

A session is a folder of `session.mid` and `session.json`, whose first line
holds all facts but its long lists; `live.recording` writes them.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["RATING_WEIGHTS", "SavedSession", "saved_session"]

MUSIC, FACTS = "session.mid", "session.json"
# How often a session is trained on, by its rating; without a rating, 1. A
# rating of 1 says that the player does not want to play like that.
RATING_WEIGHTS = {1: 0.0, 2: 0.5, 3: 1.0, 4: 1.5, 5: 2.0}


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
  facts = _facts(file.parent)
  rating = facts.get("rating")
  if isinstance(rating, bool) or rating not in RATING_WEIGHTS:
    rating = None
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
    with (folder / FACTS).open("rb") as file:
      first = file.readline()
      if first.endswith(b",\n"):
        facts = json.loads(first[:-2] + b"}")
      else:  # another program formatted the file
        facts = json.loads(first + file.read())
  except (OSError, ValueError):
    return {}
  return facts if isinstance(facts, dict) else {}
