"""Takes: the saved sessions of a server, by id."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.limits import RATING
from magenta_midi.live.recording.files import MUSIC, PICTURE, change_facts
from magenta_midi.live.recording.library import (
  list_sessions,
  read_session_score,
  session_folders,
  trim_session,
)
from magenta_midi.midi.piano_roll import COLORS
from magenta_midi.midi.score import Score
from magenta_midi.midi.session_facts import read_facts

__all__ = ["PARTS", "NoTake", "Takes", "notes_of"]

# Who played: the comp, where a session of `jam` had one.
PARTS = ("player", "model", "comp")

# Rows of notes that one answer holds: two hours of dense play.
_MAX_NOTES = 100_000
_THUMB_WIDTH, _THUMB_HEIGHT, _THUMB_NOTES = 240, 60, 2000


class NoTake(ValueError):
  """There is no such take, or it is not complete."""


class Takes:
  """Takes of one folder.

  Args:
    folder: Of the sessions.
  """

  def __init__(self, folder: Path):
    self.folder = folder

  def find(self, id: str) -> Path:
    """The folder of a take.

    Raises:
      NoTake: There is none of that id.
    """
    # Compared with what is there: an id is never part of a path.
    for folder in session_folders(self.folder):
      if folder.name == id:
        return folder
    raise NoTake("there is no such take.")

  def find_all(self, ids: Sequence[str]) -> list[Path]:
    """The folders of takes.

    Raises:
      NoTake: There is none of an id.
    """
    known = {folder.name: folder for folder in session_folders(self.folder)}
    if not all(id in known for id in ids):
      raise NoTake("there is no such take.")
    return [known[id] for id in ids]

  def all(self) -> list[dict[str, Any]]:
    """Facts of each take, the newest first."""
    return [_facts(found) for found in reversed(list_sessions(self.folder))]

  def facts(self, id: str) -> dict[str, Any]:
    """Facts of one take.

    Raises:
      NoTake: There is none, or it is not complete.
    """
    facts = self._read(id)
    more = {name: facts[name] for name in ("bookmarks", "tempo")}
    return _facts({"id": id, "state": "done", **facts}) | more

  def _read(self, id: str) -> dict[str, Any]:
    folder = self.find(id)
    try:
      return read_facts(folder)
    except (OSError, ValueError):
      raise NoTake("this take is still played, or damaged.") from None

  def score(self, id: str) -> Score:
    """Its music: part 0 the player's, part 1 the model's.

    Raises:
      NoTake: As `facts`.
    """
    folder = self.find(id)
    try:
      return read_session_score(folder)
    except (OSError, ValueError):
      raise NoTake("this take is still played, or damaged.") from None

  def file(self, id: str, kind: str) -> Path:
    """Its MIDI file (`mid`) or picture (`png`).

    Raises:
      NoTake: As `facts`, or it has none.
    """
    path = self.find(id) / {"mid": MUSIC, "png": PICTURE}[kind]
    if not path.is_file():
      raise NoTake("this take has no such file.")
    return path

  def change(
    self, id: str, *, rating: int | None, keep: bool | None
  ) -> dict[str, Any]:
    """Rates or keeps a take; None: that does not change.

    Raises:
      NoTake: As `facts`.
      ValueError: The rating is not 1 to 5.
    """
    changes: dict[str, Any] = {}
    if rating is not None:
      changes["rating"] = RATING.check("rating", rating)
    if keep is not None:
      changes["keep"] = keep
    self._read(id)
    if changes:
      change_facts(self.find(id), **changes)
    return self.facts(id)

  def trim(
    self, id: str, from_s: float | int, to_s: float | int | None
  ) -> dict[str, Any]:
    """Makes a new take of a part of one.

    Raises:
      NoTake: As `facts`.
      ValueError: There is no such part.
    """
    self._read(id)
    return self.facts(trim_session(self.find(id), from_s, to_s).name)

  def thumbnail(self, id: str) -> str:
    """A small picture of a take, as SVG.

    Raises:
      NoTake: As `facts`.
    """
    return _thumbnail(self.score(id))


def _facts(found: dict[str, Any]) -> dict[str, Any]:
  if found["state"] != "done":
    return {"id": found["id"], "state": found["state"]}
  played = [row["adapter"] for row in found.get("adapters_played", ())]
  return {
    "id": found["id"],
    "state": "done",
    "started": found["started"],
    "seconds": found["seconds"],
    "notes_player": found["notes_player"],
    "notes_model": found["notes_ai"],
    "rating": found["rating"],
    "keep": found["keep"],
    "adapters": list(dict.fromkeys(played)),
  }


def notes_of(score: Score, names: tuple[str, ...]) -> dict[str, Any]:
  """Notes and pedals of a score, JSON-able; see the guide.

  Args:
    score: Its first notes are given where it has very many.
    names: Of its parts, of which it may have fewer.
  """
  notes, pedals = score.notes[:_MAX_NOTES], score.pedals[:_MAX_NOTES]
  return {
    "seconds": round(score.end_s, 3),
    "parts": list(names[: max(score.parts, 1)]),
    "notes": [
      [
        int(n["part"]),
        int(n["key"]),
        int(n["velocity"]),
        round(float(n["onset_s"]), 4),
        round(float(n["duration_s"]), 4),
      ]
      for n in notes
    ],
    "pedals": [
      [int(p["part"]), round(float(p["time_s"]), 4), bool(p["down"])]
      for p in pedals
    ],
  }


def _thumbnail(score: Score) -> str:
  notes = score.notes
  if len(notes) > _THUMB_NOTES:
    chosen = np.linspace(0, len(notes) - 1, _THUMB_NOTES).astype(int)
    notes = notes[chosen]
  low, high = 21, 108
  if len(notes):
    low, high = int(notes["key"].min()) - 1, int(notes["key"].max()) + 1
  wide = _THUMB_WIDTH / max(score.end_s, 1.0)
  tall = _THUMB_HEIGHT / max(high - low + 1, 12)
  paths: dict[int, list[str]] = {0: [], 1: []}
  for note in notes:
    x = float(note["onset_s"]) * wide
    width = max(float(note["duration_s"]) * wide, 0.8)
    y = _THUMB_HEIGHT - (int(note["key"]) - low + 1) * tall
    rows = paths[min(int(note["part"]), 1)]
    rows.append(f"M{x:.1f} {y:.1f}h{width:.1f}v{math.ceil(tall)}h-{width:.1f}z")
  shapes = "".join(
    f'<path fill="{COLORS[part]}" d="{"".join(rows)}"/>'
    for part, rows in paths.items()
    if rows
  )
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_THUMB_WIDTH}'
    f' {_THUMB_HEIGHT}" preserveAspectRatio="none">{shapes}</svg>'
  )
