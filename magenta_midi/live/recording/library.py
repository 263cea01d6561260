"""Sessions on disk: finding, listing, trimming, exporting, clearing away."""

import datetime
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.live.recording.files import JOURNAL, MUSIC, write_session
from magenta_midi.live.recording.journal import in_use
from magenta_midi.live.recording.recorder import make_new_folder
from magenta_midi.live.recording.score_messages import PART_NAMES
from magenta_midi.live.recording.session_bars import bars_of_rows
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.harmony.comp_part import COMP_PART
from magenta_midi.midi.io.encoding import encode_tempo
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score, write_score
from magenta_midi.midi.session_facts import FACTS, parse_start, read_facts
from magenta_midi.plain_text import line, nfc

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
  # os.path.isfile is False, too, in a folder that may not be entered.
  return sorted(
    folder
    for folder in sessions.iterdir()
    if any(os.path.isfile(folder / name) for name in (JOURNAL, FACTS))
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
  names = {folder: nfc(folder.name) for folder in folders}
  found = [f for f in folders if names[f] == nfc(wanted)]
  found = found or [
    f for f in folders if wanted and names[f].startswith(nfc(wanted))
  ]
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

  Each has an `id` and a `state`: `done`, `playing`, or `damaged`. The last two
  have no facts; a damaged one has its `problem`, one line.
  """
  found = []
  for folder in session_folders(sessions):
    try:
      state: dict[str, Any] = {"state": "done", **read_facts(folder)}
    except (OSError, ValueError) as error:
      if in_use(folder / JOURNAL):
        state = {"state": "playing"}
      else:
        state = {"state": "damaged", "problem": line(error, longest=300)}
    found.append({"id": folder.name, **state})
  return found


def read_session_score(folder: Path) -> Score:
  """The music of a session: part 0 the player's, part 1 the model's.

  Part 2 is the comp, where there was one.

  Raises:
    ValueError: It is missing or damaged.
  """
  score = read_score(folder / MUSIC)
  # A file leaves out what has no notes, so parts are known by name.
  notes, pedals = np.array(score.notes), np.array(score.pedals)
  number = np.array([_part_number(name) for name in score.part_names])
  for rows in (notes, pedals):
    rows["part"] = number[rows["part"]]
  return Score.from_rows(
    notes,
    pedal=pedals,
    part_names=(*PART_NAMES, COMP_PART)[: max(2, 1 + number.max())],
    tempo=score.tempo,
  )


def _part_number(name: str) -> int:
  """By the track's name, which may go on with its channel."""
  if name.startswith(PART_NAMES[1]):
    return 1
  return 2 if name.startswith(COMP_PART) else 0


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
    **_moved_rows(facts, float(from_s), float(end_s)),
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
  time = parse_start(started)
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


def _moved_rows(
  facts: Mapping[str, Any], from_s: float, to_s: float
) -> dict[str, list[dict[str, Any]]]:
  """Tempo and chords of a part, with its begin as their 0."""
  moved: dict[str, list[dict[str, Any]]] = {}
  for name in ("tempo", "chords"):
    rows = facts[name]
    before = [row for row in rows if row["time_s"] <= from_s][-1:]
    within = [row for row in rows if from_s < row["time_s"] < to_s]
    moved[name] = [
      {**row, "time_s": max(row["time_s"] - from_s, 0.0)}
      for row in (*before, *within)
    ]
  return moved


def export_session(folder: Path, target: Path) -> list[Path]:
  """Writes stems for a DAW, and a folder of them for each bookmark.

  `player.mid`, `ai.mid`, `comp.mid` where there was one, `both.mid`, and
  `tempo.mid`: tempo, meters and chords alone.

  Returns:
    The files, those of older names replaced.

  Raises:
    OSError: They cannot be written.
    ValueError: The session's files are missing or damaged.
  """
  facts = read_facts(folder)
  score = read_session_score(folder)
  written = _stems(score, facts, target)
  for number, mark in enumerate(facts["bookmarks"], 1):
    from_s, to_s = mark["from_s"], mark["to_s"]
    part = _cut(score, from_s, to_s)
    rows = _moved_rows(facts, from_s, to_s)
    written += _stems(part, rows, target / f"bookmark-{number}")
  return written


def _stems(score: Score, facts: Mapping[str, Any], target: Path) -> list[Path]:
  target.mkdir(parents=True, exist_ok=True)
  bars = bars_of_rows(facts, score.tempo)
  names = (*score.part_names, "both", "tempo")
  paths = [target / f"{name}.mid" for name in names]
  for part, path in enumerate(paths[:-2]):
    write_score(score.select([part]), path, bars=bars)
  write_score(score, paths[-2], bars=bars)
  write_atomically(paths[-1], encode_tempo(bars, end_s=score.end_s))
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
    if now - parse_start(session["started"]) > older_than:
      found.append(sessions / session["id"])
  return found


def remove_session(folder: Path) -> None:
  """Deletes a session for good.

  Raises:
    OSError: It cannot be deleted.
  """
  shutil.rmtree(folder)
