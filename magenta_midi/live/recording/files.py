"""A session's files: journal, music, facts and picture.

`journal.jsonl` is the raw truth, a JSON entry a line: ["p", ns, hex] the
player, ["o", ns, hex] the model, ["d", {}] a decision, ["t", ns, bpm, beats,
ns] bars, ["b", ns] a bookmark, ["h", {}] more for the header, ["z", ns, {}]
the end with its report. The first line is the header. The process of the model
writes `trace.jsonl` beside it: decisions, and the calls of `live.trace`.

`session.json` is one JSON object whose first line holds all but its two long
lists, so that many sessions can be listed in no time.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.live.protocol.controls import from_json, playing_adapter
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.recording.score_messages import duet_score
from magenta_midi.live.timing.bars import (
  Bars,
  TempoChange,
  tempo_changes,
  tempo_map,
)
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.piano_roll import plot_piano_roll
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import write_score

__all__ = [
  "BOOKMARK_S",
  "FACTS",
  "FORMAT",
  "JOURNAL",
  "MUSIC",
  "PICTURE",
  "PRODUCTS",
  "JournalContents",
  "TraceContents",
  "change_facts",
  "finish",
  "read_facts",
  "read_journal",
  "read_trace",
  "write_facts",
  "write_session",
]

FORMAT = 1
JOURNAL, TRACE = "journal.jsonl", "trace.jsonl"
MUSIC, FACTS, PICTURE = "session.mid", "session.json", "session.png"
PRODUCTS = (FACTS, MUSIC, PICTURE)
BOOKMARK_S = 30.0  # before the mark

# The lists that follow the first line.
_LONG = ("decisions", "trace")


class JournalContents(NamedTuple):
  """Contents of a journal.

  Attributes:
    header: Its first line; empty if that is damaged.
    received: Messages of the player, in order of time.
    sent: Messages of the model, likewise.
    decisions: Of the engine.
    trace: Calls of the engine.
    bars: Bars, each with the time from which they are valid.
    bookmarks: Their times.
    report: Written at the end; empty after a crash.
    end_ns: The end, or after a crash the last that is known.
    damaged: Lines that could not be read.
  """

  header: dict[str, Any]
  received: list[Message]
  sent: list[Message]
  decisions: list[dict[str, Any]]
  trace: list[list[Any]]
  bars: list[tuple[int, Bars]]
  bookmarks: list[int]
  report: dict[str, Any]
  end_ns: int
  damaged: int


def read_journal(path: Path) -> JournalContents:
  """Reads a journal, whole or cut off anywhere.

  Raises:
    OSError: It cannot be read.
  """
  contents = JournalContents({}, [], [], [], [], [], [], {}, 0, 0)
  header: dict[str, Any] = {}
  report: dict[str, Any] = {}
  end_ns = damaged = 0
  for number, raw in enumerate(path.read_bytes().splitlines()):
    try:
      match json.loads(raw):
        case dict(values) if number == 0:
          header = values
        case ["p", int(time_ns), str(data)]:
          contents.received.append(Message(time_ns, bytes.fromhex(data)))
          end_ns = max(end_ns, time_ns)
        case ["o", int(time_ns), str(data)]:
          contents.sent.append(Message(time_ns, bytes.fromhex(data)))
          end_ns = max(end_ns, time_ns)
        case ["d", dict(decision)]:
          contents.decisions.append(decision)
        case ["h", dict(values)]:
          header |= values
        case ["t", int(time_ns), float() | int() as bpm, int(n), int(start)]:
          contents.bars.append((time_ns, Bars(bpm, n, start)))
        case ["b", int(time_ns)]:
          contents.bookmarks.append(time_ns)
          end_ns = max(end_ns, time_ns)
        case ["z", int(time_ns), dict(values)]:
          end_ns, report = max(end_ns, time_ns), values
        case _:
          damaged += 1
    except ValueError:  # also of UTF-8, of hex, and of a tempo
      damaged += 1
  trace = read_trace(path.with_name(TRACE))
  contents.trace.extend(trace.calls)
  contents.decisions.extend(trace.decisions)
  damaged += trace.damaged
  # Ports may hand over what came from two devices out of order.
  for messages in (contents.received, contents.sent):
    messages.sort(key=lambda message: message.time_ns)
  return contents._replace(
    header=header, report=report, end_ns=end_ns, damaged=damaged
  )


class TraceContents(NamedTuple):
  """Contents of a trace: calls, decisions, and damaged lines."""

  calls: list[list[Any]]
  decisions: list[dict[str, Any]]
  damaged: int


def read_trace(path: Path) -> TraceContents:
  """Reads what the process of the model wrote, if it did.

  Raises:
    OSError: It is there and cannot be read.
  """
  try:
    lines = path.read_bytes().splitlines()
  except FileNotFoundError:
    lines = []
  contents = TraceContents([], [], 0)
  damaged = 0
  for raw in lines:
    try:
      match json.loads(raw):
        case ["d", dict(decision)]:
          contents.decisions.append(decision)
        case list(call) if call and isinstance(call[0], str):
          contents.calls.append(call)
        case _:
          damaged += 1
    except ValueError:
      damaged += 1
  return contents._replace(damaged=damaged)


def finish(folder: Path, *, recovered: bool = False) -> None:
  """Makes a session's files from its journal; each is whole or not there.

  The player's rating and other marks of the session are kept.

  Args:
    folder: Of the session.
    recovered: Whether its program had crashed.

  Raises:
    OSError: They cannot be written.
  """
  journal = read_journal(folder / JOURNAL)
  changes = tempo_changes(journal.bars)
  score = duet_score(
    journal.received,
    journal.sent,
    end_ns=journal.end_ns,
    tempo=tempo_map(changes),
  )
  bookmarks = [
    _bookmark(time_ns / SECOND, journal.end_ns / SECOND)
    for time_ns in journal.bookmarks
  ]
  header = journal.header
  facts = {
    "format": FORMAT,
    "started": header.get("started"),
    "seconds": round(journal.end_ns / SECOND, 3),
    "notes_player": sum(is_note_on(m.data) for m in journal.received),
    "notes_ai": sum(is_note_on(m.data) for m in journal.sent),
    "rating": None,
    "keep": False,
    "bookmarks": bookmarks,
    "tempo": _tempo_rows(changes),
    "recovered": recovered,
    "damaged_lines": journal.damaged,
    "checkpoint": header.get("checkpoint"),
    "settings": header.get("settings", {}),
    "controls": header.get("controls", {}),
    "adapters": header.get("adapters", {}),
    "adapters_played": _adapter_rows(header.get("controls", {}), journal.trace),
    "report": journal.report,
  }
  with contextlib.suppress(OSError, ValueError):
    said = read_facts(folder)
    facts.update({name: said[name] for name in ("rating", "keep")})
  write_session(
    folder,
    score,
    facts,
    decisions=journal.decisions,
    trace=journal.trace,
  )


def _bookmark(at_s: float, end_s: float) -> dict[str, float]:
  return {
    "from_s": round(max(at_s - BOOKMARK_S, 0.0), 3),
    "to_s": round(min(at_s, end_s), 3),
  }


def _tempo_rows(changes: list[TempoChange]) -> list[dict[str, Any]]:
  return [
    {
      "time_s": change.time_ns / SECOND,
      "bpm": change.bpm,
      "beats_per_bar": change.beats_per_bar,
    }
    for change in changes
  ]


def _adapter_rows(
  controls: Any, trace: list[list[Any]]
) -> list[dict[str, Any]]:
  """From when on which adapter played; empty where there was none."""
  rows: list[dict[str, Any]] = []
  for entry in [["c", 0, controls], *trace]:
    match entry:
      case ["c", int(time_ns), {"adapters": [_, *_]} as values]:
        with contextlib.suppress(ValueError):
          name = playing_adapter(from_json(values))
          if not rows or rows[-1]["adapter"] != name:
            at_s = round(time_ns / SECOND, 3)
            rows.append({"time_s": at_s, "adapter": name})
  return rows


def write_session(
  folder: Path,
  score: Score,
  facts: Mapping[str, Any],
  *,
  decisions: list[dict[str, Any]],
  trace: list[list[Any]],
) -> None:
  """Writes music, facts and picture; the picture last, as it is the slowest.

  Raises:
    OSError: They cannot be written.
  """
  write_facts(folder, facts, decisions=decisions, trace=trace)
  write_score(score, folder / MUSIC)
  plot_piano_roll(score, folder / PICTURE, title=folder.name)


def write_facts(
  folder: Path, facts: Mapping[str, Any], **lists: list[Any]
) -> None:
  """Writes `session.json`; see there for its lines."""
  first = json.dumps(dict(facts), default=str)[:-1]
  rest = "".join(
    f",\n{json.dumps(name)}: {json.dumps(lists[name])}" for name in _LONG
  )
  write_atomically(folder / FACTS, f"{first}{rest}}}\n".encode())


def read_facts(folder: Path) -> dict[str, Any]:
  """The facts of a session, without its long lists.

  Raises:
    OSError: There are none.
    ValueError: They are not such facts.
  """
  path = folder / FACTS
  with path.open("rb") as file:
    first = file.readline()
    if first.endswith(b",\n"):
      facts = json.loads(first[:-2] + b"}")
    else:  # somebody has laid it out anew
      facts = json.loads(first + file.read())
  if not isinstance(facts, dict) or facts.get("format") != FORMAT:
    raise ValueError(f"{path}: not the facts of a session.")
  return {name: facts[name] for name in facts if name not in _LONG}


def change_facts(folder: Path, **changes: Any) -> dict[str, Any]:
  """Changes facts of a session, all or none; returns them.

  Raises:
    OSError: They cannot be read or written.
    ValueError: They are not such facts.
  """
  facts = read_facts(folder) | changes
  whole = json.loads((folder / FACTS).read_bytes())
  write_facts(folder, facts, **{name: whole.get(name, []) for name in _LONG})
  return facts
