"""What a saved session says of itself: its title, and how it was rated.

A session is a folder of `session.mid` and `session.json`, whose first line
holds all facts but its long lists; `live.take_files` writes them.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["RATING_WEIGHTS", "SavedSession", "saved_session"]

MUSIC, FACTS = "session.mid", "session.json"
# How often a take is learned from, against one that is not rated: what its
# player disowns is no example of them at all.
RATING_WEIGHTS = {1: 0.0, 2: 0.5, 3: 1.0, 4: 1.5, 5: 2.0}


class SavedSession(NamedTuple):
  """Of one session.

  Attributes:
    title: The session's ID; of a part that was trimmed out, the whole's, as
      they hold the same music.
    rating: 1 to 5; None: not rated.
  """

  title: str
  rating: int | None

  @property
  def weight(self) -> float:
    """How often it is learned from, against one that is not rated."""
    return 1.0 if self.rating is None else RATING_WEIGHTS[self.rating]


def saved_session(file: Path) -> SavedSession | None:
  """The session that a MIDI file is the music of; None: of none.

  Facts that are damaged say nothing: the music is still the player's.
  """
  if file.name != MUSIC or not (file.parent / FACTS).is_file():
    return None
  facts = _facts(file.parent)
  rating = facts.get("rating")
  if isinstance(rating, bool) or rating not in RATING_WEIGHTS:
    rating = None
  return SavedSession(_whole(file.parent.resolve()), rating)


def _whole(folder: Path) -> str:
  """The ID of the session that a folder's music was first part of."""
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
      else:  # somebody has laid it out anew
        facts = json.loads(first + file.read())
  except (OSError, ValueError):
    return {}
  return facts if isinstance(facts, dict) else {}
