"""Session JSON: engines and scores from it, and its writing."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magenta_midi.bounded_files import SESSION_BYTES, read_json
from magenta_midi.limits import split_number
from magenta_midi.live.engine.adapter_choices import check_choices, parts_of
from magenta_midi.live.engine.engine import Engine, EngineSettings
from magenta_midi.live.performer.comp import Comp, comp_channel
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.protocol.commands import Replan
from magenta_midi.live.protocol.controls import (
  Controls,
  changed,
  from_json,
  to_json,
)
from magenta_midi.live.protocol.events import (
  Message,
  PlannedNote,
  PlannedPedal,
  is_note_on,
)
from magenta_midi.live.protocol.written import parse_setting
from magenta_midi.live.recording.engine_trace import check_trace, run_trace
from magenta_midi.live.recording.files import checked_time
from magenta_midi.live.recording.score_messages import duet_score
from magenta_midi.live.recording.session_bars import session_bars
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import live_chart
from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.harmony.comping import comp_hits
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from magenta_midi.plain_text import line, nfc
from magenta_midi.settings import convert
from magenta_midi.style.players import PLAYER_GUIDANCE, name_players_alone

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi

__all__ = [
  "OWN_CHANNEL",
  "load_session",
  "make_comp",
  "make_engine",
  "make_performer",
  "parse_controls",
  "play_session_again",
  "session_json",
  "stored_bars",
]

FORMAT = 1
OWN_CHANNEL = 2


def make_engine(
  mm: "MagentaMidi",
  controls: Controls,
  *,
  seed: int = 0,
  settings: EngineSettings | None = None,
) -> Engine:
  """An engine with the checkpoint's sampling and controls.

  The switchable adapters of the controls are merged, a copy each; where
  there are none, what `mm` uses plays.

  Raises:
    AdapterError: One is absent, damaged or of another checkpoint.
  """
  return Engine(
    mm.generator,
    settings=settings or EngineSettings(seed=seed),
    controls=controls,
    sampling=mm.default_sampling,
    steered=mm.uses_controls,
    weights=[mm.network_with(parts_of(choice)) for choice in controls.adapters],
  )


def make_performer(
  *, channel: int = OWN_CHANNEL, shared: bool = False
) -> Performer:
  """A performer with the usual limits."""
  return Performer(limits=Limits(), channel=channel, shared=shared)


def make_comp(controls: Controls, *, channel: int = OWN_CHANNEL) -> Comp | None:
  """The comp that the controls ask for, still without bars.

  Args:
    controls: Of the session.
    channel: The model's.
  """
  chart = live_chart(controls.chords)
  if chart is None or not controls.comp:
    return None
  comp = Comp(comp_channel(channel))
  comp.loudness = controls.comp_loudness
  comp.set_chart(comp_hits(chart), chart.beats, 0)
  comp.switch(True, 0)
  return comp


def parse_controls(
  settings: Sequence[str], prompts: Sequence[str] = (), **given: Any
) -> Controls:
  """Controls from `NAME=VALUE`, and prompts from `TEXT[:WEIGHT]`.

  A register is `48-72`. Where the prompts name players alone, and no guidance
  is set, it is theirs.

  Raises:
    ValueError: One line says which name or value is wrong.
  """
  controls = Controls()
  for prompt in prompts:
    text, weight = split_number(prompt)
    pair = (text, 1.0 if weight is None else weight)
    controls = changed(controls, "prompt", pair)
  if name_players_alone([text for text, _ in controls.prompts]):
    controls = changed(controls, "guidance", PLAYER_GUIDANCE)
  for name, value in given.items():
    controls = changed(controls, name, value)
  for setting in settings:
    controls = changed(controls, *parse_setting(setting))
  return controls


def session_json(
  *,
  checkpoint: str,
  sha256: str | None,
  settings: EngineSettings,
  controls: Controls,
  adapters: Mapping[str, str],
  trace: list[list[Any]],
  decisions: list[dict[str, Any]],
  report: dict[str, Any],
) -> dict[str, Any]:
  """All data to play a session again, and the engine's decisions."""
  return {
    "format": FORMAT,
    "checkpoint": {"path": checkpoint, "sha256": sha256},
    "settings": {"engine": dataclasses.asdict(settings)},
    "controls": to_json(controls),
    "adapters": dict(adapters),
    "report": report,
    "decisions": decisions,
    "trace": trace,
  }


def load_session(path: Path) -> dict[str, Any]:
  """Reads what `session_json` made.

  Raises:
    ValueError: It is no session.
  """
  try:
    stored = read_json(path, SESSION_BYTES)
    if stored["format"] != FORMAT or not isinstance(stored["trace"], list):
      raise ValueError("another format")
    where = (stored["checkpoint"]["path"], stored["checkpoint"]["sha256"])
    if not isinstance(where[0], str) or not isinstance(where[1], str | None):
      raise ValueError("its checkpoint is none")
    first_id = stored["settings"]["engine"].get("first_id", 0)
    if not isinstance(first_id, int) or not 0 <= first_id < 2**62:
      raise ValueError("its first_id is none")
    from_json(stored["controls"])
    if not isinstance(stored.get("adapters") or {}, dict):
      raise ValueError("its adapters are no object")
    check_trace(stored["trace"])
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    reason = line(error, longest=200)
    raise ValueError(
      f"{path}: not a session ({reason}). Give the .json that jam or replay"
      " wrote."
    ) from None
  return stored


def play_session_again(
  mm: "MagentaMidi", stored: dict[str, Any]
) -> tuple[Score, dict[str, Any]]:
  """Makes a session's notes again, from its calls.

  Returns:
    Its music, and what `replay --json` prints.

  Raises:
    ValueError: The checkpoint or an adapter is another, or the notes would
      be.
  """
  if mm.config.get("sha256") != stored["checkpoint"]["sha256"]:
    raise ValueError(
      f"the session was played with another checkpoint"
      f" ({stored['checkpoint']['path']}). Install that one again."
    )
  _check_adapters(stored)
  settings = convert(
    EngineSettings, stored["settings"]["engine"], source="json"
  )
  planned: dict[int, PlannedNote | PlannedPedal] = {}
  received, sent = [], []
  for first_id, values, calls in _lives(stored):
    engine = make_engine(
      mm,
      from_json(values),
      settings=dataclasses.replace(settings, first_id=first_id),
    )
    for _, command in run_trace(engine, calls):
      if isinstance(command, Replan):
        planned.update((event.id, event) for event in command.events)
    for entry in calls:
      if entry[0] == "m":
        received.append(Message(entry[1], bytes.fromhex(entry[2])))
      elif entry[0] == "f":
        message = _sent_again(entry[1:], planned, first_id)
        if message is not None:
          sent.append(message)
  facts = {
    "notes_in": sum(is_note_on(m.data) for m in received),
    "notes_out": sum(is_note_on(m.data) for m in sent),
    "checkpoint": mm.checkpoint,
    "session": stored["report"],
  }
  return duet_score(received, sent), facts


def stored_bars(session: Mapping[str, Any]) -> BarMap | None:
  """The bars that `replay` stored with a session; None: it has none."""
  try:
    stored = session["bars"]
    counted = [
      (
        checked_time(since_ns),
        Bars(float(bpm), int(beats), checked_time(start_ns)),
      )
      for since_ns, bpm, beats, start_ns in stored["counted"]
    ]
    charts = [(0, session["controls"]["chords"])]
    meter = Meter.parse(session["settings"]["engine"]["meter"])
    return session_bars(counted, charts, checked_time(stored["end_ns"]), meter)
  # Its notes are worth having without them, too.
  except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
    return None


def _check_adapters(stored: dict[str, Any]) -> None:
  """Refuses adapters that are not those of the session."""
  known = stored.get("adapters") or {}
  # Sessions of earlier versions have the names as they were typed.
  known = {nfc(name): digest for name, digest in known.items()}
  path = stored["checkpoint"]["path"]
  found = check_choices(
    from_json(stored["controls"]).adapters,
    None if path == "embedded" else Path(path),
  )
  found = {nfc(name): digest for name, digest in found.items()}
  for name, digest in known.items():
    if found.get(name) != digest:
      raise ValueError(
        f"the session was played with another adapter {name}: the one of that"
        " name has changed since. Install that one again."
      )


def _lives(
  stored: dict[str, Any],
) -> list[tuple[int, dict[str, Any], list[list[Any]]]]:
  """A session's calls, parted where the model died and was started again.

  Returns:
    Of each: the number of its first event, its controls, its calls.
  """
  first_id = stored["settings"]["engine"].get("first_id", 0)
  lives = [(first_id, stored["controls"], [])]
  for entry in stored["trace"]:
    if entry[0] == "r":
      lives.append((entry[1], entry[2], []))
    else:
      lives[-1][2].append(entry)
  return lives


def _sent_again(
  fields: list[Any],
  planned: dict[int, PlannedNote | PlannedPedal],
  first_id: int,
) -> Message | None:
  id, time_ns, kind, key, velocity, _ = fields
  if kind == "dropped":
    return None
  channel = OWN_CHANNEL - 1
  if kind == "pedal":
    return Message(time_ns, bytes((0xB0 | channel, 64, velocity)))
  event = planned.get(id)
  # The last plans of a model that was killed are not on record.
  lost = event is None and 0 <= id < first_id
  if not lost and not (isinstance(event, PlannedNote) and event.key == key):
    raise ValueError(
      f"at {time_ns / 1e9:.3f} s the session went another way: it was made"
      " with another checkpoint or version."
    )
  status = 0x90 if kind == "on" else 0x80
  return Message(time_ns, bytes((status | channel, key, velocity)))
