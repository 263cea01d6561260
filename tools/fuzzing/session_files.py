"""Sessions as fuzzed: facts, journals, and what is replayed."""

import contextlib
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

from tools.fuzzing.kind import Kind, mutated, written
from tools.fuzzing.mutations import (
  mutated_bytes,
  mutated_json,
  mutated_lines,
)

__all__ = ["KINDS"]


def _make_session(folder: Path) -> tuple[bytes, bytes]:
  from magenta_midi.live.protocol.events import Message
  from magenta_midi.live.recording.files import JOURNAL
  from magenta_midi.live.recording.recorder import SessionRecorder
  from magenta_midi.live.timing.bars import Bars
  from magenta_midi.midi.session_facts import FACTS

  recorder = SessionRecorder(
    folder / "seed",
    checkpoint={"path": "embedded", "sha256": "ab" * 32},
    settings={"seed": 3},
    clock_start_wall=1_800_000_000.0,
    controls={"temperature": 1.0, "adapters": ["a", "b"]},
  )
  recorder.bars(0, Bars(90, 3, 0))
  for number in range(12):
    for send, status in ((recorder.player, 0x90), (recorder.model, 0x91)):
      at = number * 300_000_000 + status
      send(Message(at, bytes((status, 60 + number, 64))))
      send(Message(at + 200_000_000, bytes((status - 16, 60 + number, 0))))
  recorder.decision({"time_ns": 5, "why": "phrase"})
  recorder.bars(900_000_000, Bars(120, 4, 500_000_000))
  recorder.bookmark(2_000_000_000)
  recorder.describe(adapters={"a": "00"})
  with _without_picture():
    problem = recorder.close(5_000_000_000, {"notes": 12})
  assert problem is None, problem
  source = folder / "seed"
  made = (source / JOURNAL).read_bytes(), (source / FACTS).read_bytes()
  shutil.rmtree(source)
  return made


@contextlib.contextmanager
def _without_picture() -> Any:
  """The picture of a session takes a second and reads nothing."""
  from magenta_midi.live.recording import files

  plot = files.plot_piano_roll
  files.plot_piano_roll = lambda *args, **keys: None
  try:
    yield
  finally:
    files.plot_piano_roll = plot


def _write_journal(
  folder: Path, made: tuple[bytes, bytes], rng: random.Random
) -> Path:
  journal, _ = made
  if rng.random() < 0.7:
    data = mutated_lines(journal, rng)
  else:
    data = mutated_bytes(journal, rng)
  for left in folder.iterdir():
    left.unlink()
  return written(folder / "journal.jsonl", data)


def _read_journal(folder: Path) -> None:
  from magenta_midi.live.recording.recorder import recover
  from magenta_midi.midi.session_facts import read_facts

  with _without_picture():
    recover(folder)
  read_facts(folder)  # what was recovered is valid


def _write_session(
  folder: Path, made: tuple[bytes, bytes], rng: random.Random
) -> Path:
  _, facts = made
  path = folder / "s" / "session.json"
  path.parent.mkdir(exist_ok=True)
  if rng.random() < 0.6:
    data = mutated_json(json.loads(facts), rng)
    if rng.random() < 0.5:  # as the recorder lays it out
      data = data[:-1] + b',\n"decisions": [],\n"trace": []}\n'
  else:
    data = mutated_bytes(facts, rng)
  return written(path, data)


def _read_session(folder: Path) -> None:
  import datetime

  from magenta_midi.cli.sessions import _print_table
  from magenta_midi.live.recording.library import list_sessions, prunable
  from magenta_midi.midi.session_facts import read_facts

  rows = list_sessions(folder)
  with contextlib.redirect_stdout(io.StringIO()):
    _print_table(rows)
  now = datetime.datetime.now().astimezone()
  prunable(folder, datetime.timedelta(days=1), now)
  read_facts(folder / "s")


def _make_replay(folder: Path) -> Any:
  del folder
  controls = {"mode": "simultaneous", "temperature": 1.0, "register": [21, 108]}
  return {
    "format": 1,
    "checkpoint": {"path": "embedded", "sha256": "ab" * 32},
    "settings": {"engine": {"seed": 1, "first_id": 0}},
    "controls": controls,
    "adapters": {"a": "00"},
    "report": {},
    "decisions": [{"time_ns": 1}],
    "trace": [
      ["m", 1, "903c40"],
      ["j", 2],
      ["f", 0, 5, "on", 60, 64, ""],
      ["f", 1, 6, "pedal", -1, 127, ""],
      ["c", 7, controls],
      ["s", [1, 2]],
      ["b", 120.0, 4, 0],
      ["h", 12000000],
      ["a", 8, "end"],
      ["k", 9],
      ["r", 100, controls],
    ],
  }


def _read_replay(folder: Path) -> None:
  from magenta_midi.live.recording.serialization import load_session

  load_session(folder / "x.json")


KINDS: dict[str, Kind] = {
  "session": Kind(
    "session.json of sessions",
    _make_session,
    _write_session,
    _read_session,
    ("builtins:ValueError",),
  ),
  "journal": Kind(
    "journals of sessions", _make_session, _write_journal, _read_journal, ()
  ),
  "replay": Kind(
    "sessions to replay",
    _make_replay,
    mutated("x.json", mutated_json),
    _read_replay,
    ("builtins:ValueError",),
  ),
}
