"""Facts of a saved session, as its `session.json` holds them, checked.

The first line of the file is one JSON object without its end: all facts but the
two long lists that follow. So many sessions can be listed in no time.
`live.recording` writes them; anybody may have changed them.
"""

import datetime
from pathlib import Path
from typing import Any

from magenta_midi.bounded_files import (
  JSON_BYTES,
  SESSION_BYTES,
  open_regular,
  parse_json,
)
from magenta_midi.plain_text import line

__all__ = [
  "FACTS",
  "FORMAT",
  "LONG_LISTS",
  "MAX_SESSION_S",
  "parse_start",
  "read_facts",
  "split_facts",
]

FACTS = "session.json"
FORMAT = 1
# The lists that follow the first line.
LONG_LISTS = ("decisions", "trace")
# Times within a session are up to this: a MIDI file holds 24 hours.
MAX_SESSION_S = 24 * 3600.0 - 1
_MAX_NOTES = 10**9
# Bookmarks, changes of tempo or of adapter in one session.
_MAX_ROWS = 100_000


def read_facts(folder: Path) -> dict[str, Any]:
  """The facts of a session, without its long lists.

  Args:
    folder: Of the session.

  Returns:
    The facts. Those that the session commands use have valid values: seconds
    and times in 0..`MAX_SESSION_S`, counts of notes, a rating of 1 to 5 or
    None, `started` an ISO time with its zone or None.

  Raises:
    OSError: There are none, or they are no regular file of bounded size.
    ValueError: They are not such facts; the message names the file.
  """
  facts, _ = split_facts(folder)
  return facts


def split_facts(folder: Path) -> tuple[dict[str, Any], bool]:
  """As `read_facts`; and whether all of them stand in the first line.

  Raises:
    OSError: As `read_facts`.
    ValueError: As `read_facts`.
  """
  path = folder / FACTS
  with open_regular(path) as file:
    first = file.readline(JSON_BYTES)
    has_line = first.endswith(b",\n")
    if not has_line:  # another program has formatted the file
      first += file.read(SESSION_BYTES - len(first) + 1)
  try:
    if len(first) > SESSION_BYTES:
      raise ValueError(f"more than {SESSION_BYTES / 2**20:g} MiB")
    facts = parse_json(first[:-2] + b"}" if has_line else first)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
      raise ValueError("another format")
    facts = {n: facts[n] for n in facts if n not in LONG_LISTS}
    return _checked(facts), has_line
  except ValueError as error:
    reason = line(error, longest=200)
    raise ValueError(
      f"{path}: not the facts of a session ({reason})."
    ) from None


def parse_start(text: Any) -> datetime.datetime:
  """When a session began.

  Raises:
    ValueError: It is no ISO time with a zone, of these centuries.
  """
  if isinstance(text, str):
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is not None and 1900 < found.year < 3000:
      return found
  raise ValueError("started must be an ISO time with its zone")


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
  """The facts, their optional ones filled in."""
  found = {
    "seconds": 0.0,
    "notes_player": 0,
    "notes_ai": 0,
    "started": None,
    "rating": None,
    "keep": False,
    "bookmarks": [],
    "tempo": [],
    "chords": [],
    **facts,
  }
  _number("seconds", found["seconds"], 0, MAX_SESSION_S)
  for name in ("notes_player", "notes_ai"):
    _whole(name, found[name], 0, _MAX_NOTES)
  if found["started"] is not None:
    parse_start(found["started"])
  if found["rating"] is not None:
    _whole("rating", found["rating"], 1, 5)
  if not isinstance(found["keep"], bool):
    raise ValueError("keep must be true or false")
  for mark in _rows("bookmarks", found["bookmarks"]):
    for name in ("from_s", "to_s"):
      _number(f"bookmarks.{name}", mark.get(name), 0, MAX_SESSION_S)
  for row in _rows("tempo", found["tempo"]):
    _number("tempo.time_s", row.get("time_s"), 0, MAX_SESSION_S)
    _number("tempo.bpm", row.get("bpm"), 1, 10_000)
    _whole("tempo.beats_per_bar", row.get("beats_per_bar"), 1, 255)
    if not isinstance(row.get("meter", ""), str):
      raise ValueError("tempo.meter must be a text")
  for row in _rows("chords", found["chords"]):
    _number("chords.time_s", row.get("time_s"), 0, MAX_SESSION_S)
    chord = row.get("chord")
    if not isinstance(chord, str) or not chord.isprintable():
      raise ValueError("chords.chord must be one line of text")
  for row in _rows("adapters_played", found.get("adapters_played", [])):
    if not isinstance(row.get("adapter"), str):
      raise ValueError("adapters_played must name adapters")
  return found


def _rows(name: str, value: Any) -> list[dict[str, Any]]:
  if (
    not isinstance(value, list)
    or len(value) > _MAX_ROWS
    or not all(isinstance(row, dict) for row in value)
  ):
    raise ValueError(f"{name} must be a list of objects")
  return value


def _number(name: str, value: Any, low: float | int, high: float | int) -> None:
  if type(value) not in (int, float) or not low <= value <= high:
    raise ValueError(
      f"{name} must be a number in {low:g}..{high:g}, got"
      f" {line(value, longest=40) if _is_short(value) else 'another'}"
    )


def _whole(name: str, value: Any, low: int, high: int) -> None:
  if type(value) is not int or not low <= value <= high:
    raise ValueError(
      f"{name} must be a whole number in {low}..{high}, got"
      f" {line(value, longest=40) if _is_short(value) else 'another'}"
    )


def _is_short(value: Any) -> bool:
  """Whether a value can be shown without making much text of it."""
  return value is None or (
    isinstance(value, float | bool)
    or (isinstance(value, int) and abs(value) < 10**40)
    or (isinstance(value, str) and len(value) < 1000)
  )
