"""A session's files: journal, music, facts and picture.

`journal.jsonl` is the raw truth, a JSON entry a line: ["p", ns, hex] the
player, ["o", ns, hex] the model, ["a", ns, hex] the comp, ["d", {}] a
decision, ["t", ns, bpm, beats, ns, meter] bars (without the meter, in quarter
notes), ["b", ns] a bookmark, ["h", {}] more for the header, ["z", ns, {}] the
end with its report. The first line is the header. The process of the model
writes `trace.jsonl` beside it: decisions, and the calls of `live.trace`.

`session.json` is described in `midi.session_facts`.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.bounded_files import (
  SESSION_BYTES,
  parse_json,
  read_bytes,
  read_lines,
)
from magenta_midi.live.protocol.controls import from_json, playing_adapter
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.recording.score_messages import duet_score
from magenta_midi.live.recording.session_bars import (
  bars_of_rows,
  session_bars,
  tempo_rows,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.piano_roll import plot_piano_roll
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import write_score
from magenta_midi.midi.session_facts import (
  FACTS,
  FORMAT,
  LONG_LISTS,
  MAX_SESSION_S,
  parse_start,
  read_facts,
  split_facts,
)

__all__ = [
  "BOOKMARK_S",
  "JOURNAL",
  "MUSIC",
  "PICTURE",
  "PRODUCTS",
  "JournalContents",
  "TraceContents",
  "change_facts",
  "checked_time",
  "finish",
  "message_bytes",
  "read_journal",
  "read_trace",
  "write_facts",
  "write_session",
]

JOURNAL, TRACE = "journal.jsonl", "trace.jsonl"
MUSIC, PICTURE = "session.mid", "session.png"
PRODUCTS = (FACTS, MUSIC, PICTURE)
BOOKMARK_S = 30.0  # before the mark


class JournalContents(NamedTuple):
  """Contents of a journal.

  Attributes:
    header: Its first line; empty if that is damaged.
    received: Messages of the player, in order of time.
    sent: Messages of the model, likewise.
    decisions: Of the engine.
    trace: Calls of the engine.
    bars: Bars, each with the time from which they are valid.
    meter: Of the bars; None: not known, and beats are quarter notes.
    comp: Messages of the comp, in order of time.
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
  meter: Meter | None = None
  comp: tuple[Message, ...] = ()


def read_journal(path: Path) -> JournalContents:
  """Reads a journal, whole or cut off anywhere.

  Raises:
    OSError: It cannot be read.
  """
  contents = JournalContents({}, [], [], [], [], [], [], {}, 0, 0)
  header: dict[str, Any] = {}
  report: dict[str, Any] = {}
  end_ns = damaged = 0
  meter: Meter | None = None
  comp: list[Message] = []
  for number, raw in enumerate(read_lines(path)):
    try:
      match _parsed(raw):
        case dict(values) if number == 0:
          header = values
        case ["p", int(time_ns), str(data)]:
          contents.received.append(_message(time_ns, data))
          end_ns = max(end_ns, time_ns)
        case ["o", int(time_ns), str(data)]:
          contents.sent.append(_message(time_ns, data))
          end_ns = max(end_ns, time_ns)
        case ["a", int(time_ns), str(data)]:
          comp.append(_message(time_ns, data))
        case ["d", dict(decision)]:
          contents.decisions.append(decision)
        case ["h", dict(values)]:
          header |= values
        case [
          "t",
          int(time_ns),
          float() | int() as bpm,
          int(n),
          int(start),
          *named,
        ]:
          bars = Bars(bpm, n, checked_time(start))
          if named:
            meter = _meter(named, n)
          contents.bars.append((checked_time(time_ns), bars))
        case ["b", int(time_ns)]:
          contents.bookmarks.append(checked_time(time_ns))
          end_ns = max(end_ns, time_ns)
        case ["z", int(time_ns), dict(values)]:
          end_ns, report = max(end_ns, checked_time(time_ns)), values
        case _:
          damaged += 1
    # Also of UTF-8, of hex, of a time, and of a tempo.
    except (ValueError, OverflowError):
      damaged += 1
  trace = read_trace(path.with_name(TRACE))
  contents.trace.extend(trace.calls)
  contents.decisions.extend(trace.decisions)
  damaged += trace.damaged
  # Ports may hand over what came from two devices out of order.
  for messages in (contents.received, contents.sent, comp):
    messages.sort(key=lambda message: message.time_ns)
  return contents._replace(
    header=header,
    report=report,
    end_ns=end_ns,
    damaged=damaged,
    meter=meter,
    comp=tuple(comp),
  )


def _meter(named: list[Any], beats: int) -> Meter:
  """The meter of an entry of bars.

  Raises:
    ValueError: It is none, or has other beats.
  """
  match named:
    case [str(text)] if len(text) < 10 and Meter.parse(text).beats == beats:
      return Meter.parse(text)
  raise ValueError("no meter of these bars")


def checked_time(time_ns: int) -> int:
  """A time of a file, ns, if a session can have it.

  Raises:
    ValueError: It lies more than a day from the session's begin.
  """
  if not abs(time_ns) <= MAX_SESSION_S * SECOND:
    raise ValueError("a time beyond all sessions")
  return time_ns


def message_bytes(text: str) -> bytes:
  """The bytes of a message, from hexadecimal digits.

  Raises:
    ValueError: It has more than 3 bytes, no status first, or another one later.
  """
  data = bytes.fromhex(text) if len(text) <= 10 else b""
  if (
    not 1 <= len(data) <= 3 or data[0] < 0x80 or max(data[1:], default=0) > 127
  ):
    raise ValueError("no MIDI message of 1 to 3 bytes")
  return data


def _message(time_ns: int, data: str) -> Message:
  return Message(checked_time(time_ns), message_bytes(data))


def _parsed(raw: bytes | None) -> Any:
  """The entry of a line; None of one that is too long for an entry.

  Raises:
    ValueError: It is no JSON, or has true or false where numbers belong, which
      Python takes for 1 and 0.
  """
  entry = None if raw is None else parse_json(raw)
  match entry:
    case ["b", bpm, beats, start, bool(triplets)]:
      entry = ["b", bpm, beats, start, int(triplets)]  # as written at first
  if isinstance(entry, list) and any(isinstance(x, bool) for x in entry):
    raise ValueError("no number")
  return entry


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
  contents = TraceContents([], [], 0)
  if not path.exists():
    return contents
  damaged = 0
  for raw in read_lines(path):
    try:
      match _parsed(raw):
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
  meter = journal.meter
  charts = _charts(journal.header.get("controls", {}), journal.trace)
  bars = session_bars(journal.bars, charts, journal.end_ns, meter)
  score = duet_score(
    journal.received,
    journal.sent,
    journal.comp,
    end_ns=journal.end_ns,
    tempo=None if bars is None else bars.tempo,
  )
  bookmarks = [
    _bookmark(time_ns / SECOND, journal.end_ns / SECOND)
    for time_ns in journal.bookmarks
  ]
  header = journal.header
  facts = {
    "format": FORMAT,
    "started": _start(header),
    "seconds": round(journal.end_ns / SECOND, 3),
    "notes_player": sum(is_note_on(m.data) for m in journal.received),
    "notes_ai": sum(is_note_on(m.data) for m in journal.sent),
    "rating": None,
    "keep": False,
    "bookmarks": bookmarks,
    "tempo": [] if bars is None else tempo_rows(bars),
    "chords": [
      {"time_s": time_s, "chord": name}
      for time_s, name in (() if bars is None else bars.chords)
    ],
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


def _start(header: Mapping[str, Any]) -> str | None:
  """When the session began, as its journal has it; None: it does not know."""
  try:
    parse_start(header.get("started"))
  except ValueError:
    return None
  return header["started"]


def _bookmark(at_s: float, end_s: float) -> dict[str, float]:
  return {
    "from_s": round(max(at_s - BOOKMARK_S, 0.0), 3),
    "to_s": round(max(min(at_s, end_s), 0.0), 3),
  }


def _charts(controls: Any, trace: list[list[Any]]) -> list[tuple[int, str]]:
  """From when on which chart counted, as text."""
  found: list[tuple[int, str]] = []
  for entry in [["c", 0, controls], *trace]:
    match entry:
      case ["c", int(time_ns), {"chords": str(text)}]:
        with contextlib.suppress(ValueError):
          checked_time(time_ns)
          if not found or found[-1][1] != text:
            found.append((time_ns, text))
  return found


def _adapter_rows(
  controls: Any, trace: list[list[Any]]
) -> list[dict[str, Any]]:
  """From when on which adapter played; empty where there was none."""
  rows: list[dict[str, Any]] = []
  for entry in [["c", 0, controls], *trace]:
    match entry:
      case ["c", int(time_ns), {"adapters": [_, *_]} as values]:
        with contextlib.suppress(ValueError):
          checked_time(time_ns)
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
  bars = bars_of_rows({"tempo": [], "chords": [], **facts}, score.tempo)
  write_score(score, folder / MUSIC, bars=bars)
  plot_piano_roll(score, folder / PICTURE, title=folder.name)


def write_facts(
  folder: Path, facts: Mapping[str, Any], **lists: list[Any]
) -> None:
  """Writes `session.json`; see there for its lines."""
  first = json.dumps(dict(facts), default=str)[:-1]
  rest = "".join(
    f",\n{json.dumps(name)}: {json.dumps(lists[name])}" for name in LONG_LISTS
  )
  write_atomically(folder / FACTS, f"{first}{rest}}}\n".encode())


def change_facts(folder: Path, **changes: Any) -> dict[str, Any]:
  """Changes facts of a session, all or none; returns them.

  Raises:
    OSError: They cannot be read or written.
    ValueError: They are not such facts.
  """
  facts, has_line = split_facts(folder)
  facts |= changes
  whole = read_bytes(folder / FACTS, SESSION_BYTES)
  if has_line:
    # The long lists are not parsed: a rating costs no memory.
    first = json.dumps(facts, default=str)[:-1].encode()
    _, _, rest = whole.partition(b"\n")
    write_atomically(folder / FACTS, first + b",\n" + rest)
  else:
    found = parse_json(whole)
    lists = {name: found.get(name, []) for name in LONG_LISTS}
    write_facts(folder, facts, **lists)
  return facts
