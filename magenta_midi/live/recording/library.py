"""Sessions on disk: finding, listing, trimming, exporting, clearing away."""

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.live.recording.files import (
  FACTS,
  JOURNAL,
  MUSIC,
  read_facts,
  write_session,
)
from magenta_midi.live.recording.journal import in_use
from magenta_midi.live.recording.recorder import make_new_folder
from magenta_midi.live.recording.score_messages import PART_NAMES
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.encoding import encode_tempo
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score, write_score

__all__ = [
  "export_session",
  "find_session",
  "list_sessions",
  "prunable",
  "read_session_score",
  "remove_session",
  "session_folders",
  "trim_session",
]


def session_folders(sessions: Path) -> list[Path]:
  """The folders of sessions, the oldest first."""
  if not sessions.is_dir():
    return []
  return sorted(
    folder
    for folder in sessions.iterdir()
    if (folder / JOURNAL).is_file() or (folder / FACTS).is_file()
  )


def find_session(sessions: Path, wanted: str) -> Path:
  """The session that is meant.

  Args:
    sessions: Their folder.
    wanted: Its ID, the beginning of it, or `last`.

  Raises:
    ValueError: None or several match.
  """
  folders = session_folders(sessions)
  if not folders:
    raise ValueError(
      f"there is no session in {sessions} yet. Play one: magenta-midi jam"
    )
  if wanted == "last":
    return folders[-1]
  found = [f for f in folders if f.name == wanted]
  found = found or [f for f in folders if wanted and f.name.startswith(wanted)]
  if len(found) == 1:
    return found[0]
  if found:
    names = ", ".join(folder.name for folder in found[:4])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    raise ValueError(
      f"{wanted} could be any of {names}{more}. Give more of the ID."
    )
  raise ValueError(
    f"no session {wanted!r}. See: magenta-midi sessions list; the newest is"
    f" {folders[-1].name}, or just: last."
  )


def list_sessions(sessions: Path) -> list[dict[str, Any]]:
  """Facts of each session, the oldest first.

  Each has an `id` and a `state`: `done`, `playing`, or `damaged`, which has
  no more than these.
  """
  found = []
  for folder in session_folders(sessions):
    try:
      state: dict[str, Any] = {"state": "done", **read_facts(folder)}
    except (OSError, ValueError):
      playing = in_use(folder / JOURNAL)
      state = {"state": "playing" if playing else "damaged"}
    found.append({"id": folder.name, **state})
  return found


def read_session_score(folder: Path) -> Score:
  """The music of a session: part 0 the player's, part 1 the model's.

  Raises:
    ValueError: It is missing or damaged.
  """
  score = read_score(folder / MUSIC)
  # A file leaves out what has no notes, so parts are known by name.
  notes, pedals = np.array(score.notes), np.array(score.pedals)
  number = np.array([name.startswith("ai") for name in score.part_names])
  for rows in (notes, pedals):
    rows["part"] = number[rows["part"]]
  return Score.from_rows(
    notes,
    pedal=pedals,
    part_names=PART_NAMES,
    tempo=score.tempo,
  )


def _cut(score: Score, from_s: float, to_s: float) -> Score:
  """Notes that begin between two times, cut off at the second."""
  score = score.crop(from_s, to_s)
  notes = score.notes.copy()
  room_s = to_s - from_s - notes["onset_s"]
  notes["duration_s"] = np.minimum(notes["duration_s"], room_s)
  return Score.from_rows(
    notes,
    pedal=score.pedals,
    part_names=score.part_names,
    tempo=score.tempo,
  )


def trim_session(
  folder: Path, from_s: float | int, to_s: float | int | None
) -> Path:
  """Makes a new session from a part of one, which does not change.

  Args:
    folder: Of the session.
    from_s: Where it begins.
    to_s: Where it ends; by default at the end.

  Returns:
    The new session's folder.

  Raises:
    ValueError: There is no such part.
    OSError: It cannot be written.
  """
  facts = read_facts(folder)
  seconds = float(facts["seconds"])
  end_s = seconds if to_s is None else min(to_s, seconds)
  if not 0 <= from_s < end_s:
    raise ValueError(
      f"the part must lie in 0 to {seconds:g} s and end after it begins, got"
      f" {from_s:g} to {seconds if to_s is None else to_s:g} s."
    )
  score = _cut(read_session_score(folder), float(from_s), float(end_s))
  target = make_new_folder(folder.with_name(f"{folder.name}-trim"))
  kept = dict(
    facts,
    started=_later(facts.get("started"), float(from_s)),
    seconds=round(end_s - from_s, 3),
    notes_player=int((score.notes["part"] == 0).sum()),
    notes_ai=int((score.notes["part"] == 1).sum()),
    keep=False,
    bookmarks=_moved(facts["bookmarks"], float(from_s), float(end_s)),
    tempo=_moved_tempo(facts["tempo"], float(from_s), float(end_s)),
    trimmed_from={
      "id": folder.name,
      "from_s": from_s,
      "to_s": round(end_s, 3),
    },
    report={},
  )
  try:
    write_session(target, score, kept, decisions=[], trace=[])
  except BaseException:
    shutil.rmtree(target, ignore_errors=True)
    raise
  return target


def _later(started: str | None, seconds: float) -> str | None:
  if started is None:
    return None
  time = datetime.datetime.fromisoformat(started)
  time += datetime.timedelta(seconds=seconds)
  return time.isoformat(timespec="milliseconds")


def _moved(
  bookmarks: Sequence[Mapping[str, float]], from_s: float, to_s: float
) -> list[dict[str, float]]:
  return [
    {
      "from_s": round(max(mark["from_s"], from_s) - from_s, 3),
      "to_s": round(min(mark["to_s"], to_s) - from_s, 3),
    }
    for mark in bookmarks
    if mark["to_s"] > from_s and mark["from_s"] < to_s
  ]


def _moved_tempo(
  tempo: Sequence[Mapping[str, Any]], from_s: float, to_s: float
) -> list[dict[str, Any]]:
  before = [row for row in tempo if row["time_s"] <= from_s][-1:]
  within = [row for row in tempo if from_s < row["time_s"] < to_s]
  return [
    {**row, "time_s": max(row["time_s"] - from_s, 0.0)}
    for row in (*before, *within)
  ]


def export_session(folder: Path, target: Path) -> list[Path]:
  """Writes stems for a DAW, and a folder of them for each bookmark.

  `player.mid`, `ai.mid`, `both.mid`, and `tempo.mid`, the tempo map alone.

  Returns:
    The files, those of older names replaced.

  Raises:
    OSError: They cannot be written.
    ValueError: The session's files are missing or damaged.
  """
  facts = read_facts(folder)
  score = read_session_score(folder)
  written = _stems(score, facts["tempo"], target)
  for number, mark in enumerate(facts["bookmarks"], 1):
    from_s, to_s = mark["from_s"], mark["to_s"]
    tempo = _moved_tempo(facts["tempo"], from_s, to_s)
    part = _cut(score, from_s, to_s)
    written += _stems(part, tempo, target / f"bookmark-{number}")
  return written


def _stems(
  score: Score, tempo: Sequence[Mapping[str, Any]], target: Path
) -> list[Path]:
  target.mkdir(parents=True, exist_ok=True)
  paths = [target / f"{name}.mid" for name in (*PART_NAMES, "both", "tempo")]
  for part, path in enumerate(paths[:2]):
    write_score(score.select([part]), path)
  write_score(score, paths[2])
  bars = [(row["time_s"], row["beats_per_bar"]) for row in tempo]
  write_atomically(paths[3], encode_tempo(score.tempo, bars, end_s=score.end_s))
  return paths


def prunable(
  sessions: Path, older_than: datetime.timedelta, now: datetime.datetime
) -> list[Path]:
  """Sessions that began longer ago and are not marked to be kept.

  Args:
    sessions: Their folder.
    older_than: How long ago.
    now: With its time zone.
  """
  found = []
  for session in list_sessions(sessions):
    if session["state"] != "done" or session["keep"] or not session["started"]:
      continue
    if now - datetime.datetime.fromisoformat(session["started"]) > older_than:
      found.append(sessions / session["id"])
  return found


def remove_session(folder: Path) -> None:
  """Deletes a session for good.

  Raises:
    OSError: It cannot be deleted.
  """
  shutil.rmtree(folder)
