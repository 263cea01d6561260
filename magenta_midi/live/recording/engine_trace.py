"""Trace of an engine: every call in order, to be played again.

The engine is deterministic: the same calls give the same notes. So a session
is its settings and the calls that were made, one JSON line each.
"""

import json
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.protocol.commands import Command
from magenta_midi.live.protocol.controls import Controls, from_json, to_json
from magenta_midi.live.protocol.events import SECOND, Message, Sounded
from magenta_midi.live.recording.files import checked_time, message_bytes
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.analysis.beat_model import PLACES

__all__ = ["TracedEngine", "check_trace", "run_trace"]

_HORIZON_NS = 10 * SECOND  # at most


class TracedEngine:
  """Engine that records its calls.

  Args:
    engine: The engine.
    write: Receives one entry of JSON values.
  """

  def __init__(self, engine: Engine, write: Callable[[list[Any]], None]):
    self.engine = engine
    self._write = write

  def receive(self, message: Message) -> None:
    """See `Engine.receive`."""
    self._write(["m", message.time_ns, message.data.hex()])
    self.engine.receive(message)

  def feedback(self, sounded: Sounded) -> None:
    """See `Engine.feedback`."""
    self._write(["f", *sounded])
    self.engine.feedback(sounded)

  def set_controls(self, controls: Controls, now_ns: int) -> None:
    """See `Engine.set_controls`."""
    self._write(["c", now_ns, to_json(controls)])
    self.engine.set_controls(controls, now_ns)

  def set_style(self, rows: list[int] | None) -> None:
    """See `Engine.set_style`."""
    self._write(["s", rows])
    self.engine.set_style(rows)

  def set_bars(self, bars: Bars | None, *, triplets: bool = False) -> None:
    """See `Engine.set_bars`."""
    fields: list[Any] = [None]
    if bars is not None:
      beats = bars.beats_per_bar
      fields = [bars.bpm, beats, bars.start_ns, int(triplets)]
    self._write(["b", *fields])
    self.engine.set_bars(bars, triplets=triplets)

  def add_groove(self, name: str, density: Sequence[float]) -> None:
    """See `Engine.add_groove`."""
    self._write(["g", name, list(density)])
    self.engine.add_groove(name, density)

  def set_horizon(self, horizon_ns: int) -> None:
    """See `Engine.set_horizon`."""
    self._write(["h", horizon_ns])
    self.engine.set_horizon(horizon_ns)

  def act(self, action: str, now_ns: int) -> None:
    """See `Engine.act`."""
    self._write(["a", now_ns, action])
    self.engine.act(action, now_ns)

  def keyboard_lost(self, now_ns: int) -> None:
    """See `Engine.keyboard_lost`."""
    self._write(["k", now_ns])
    self.engine.keyboard_lost(now_ns)

  def next_job(self, now_ns: int) -> Any:
    """See `Engine.next_job`; asking for nothing is not written down."""
    job = self.engine.next_job(now_ns)
    if job is not None:
      self._write(["j", now_ns])
    return job


def check_trace(entries: Iterable[Any]) -> None:
  """Checks the calls of a file before any is made.

  Raises:
    ValueError: An entry is not one that `TracedEngine` writes, or `r`, a new
      start of the model.
  """
  for number, entry in enumerate(entries, 1):
    if not _is_call(entry):
      shown = reprlib.repr(entry)
      raise ValueError(f"entry {number} of its trace is no call: {shown}")


def _is_call(entry: Any) -> bool:
  try:
    match entry:
      case ["m", int(time_ns), str(data)]:
        checked_time(time_ns)
        return bool(message_bytes(data))
      case [
        "f",
        int(),
        int(time_ns),
        "on" | "off" | "pedal" | "dropped" as kind,
        int(key),
        int(velocity),
        str(),
      ]:
        checked_time(time_ns)
        lowest = 0 if kind in ("on", "off") else -1
        return lowest <= key <= 127 and 0 <= velocity <= 127
      case ["c", int(time_ns), dict(values)]:
        checked_time(time_ns)
        from_json(values)
        return True
      case ["s", None]:
        return True
      case ["s", list(rows)]:
        return len(rows) < 1000 and all(
          type(row) is int and 0 <= row < 2**20 for row in rows
        )
      case ["b", None]:
        return True
      case ["g", str(), list(density)]:
        return len(density) == PLACES and all(
          isinstance(x, float | int) and 0 <= x <= PLACES for x in density
        )
      case ["b", float() | int() as bpm, int(beats), int(start_ns), *more]:
        # Sessions of earlier versions have no fifth field.
        Bars(bpm, beats, checked_time(start_ns))
        return more in ([], [0], [1])
      case ["h", int(horizon_ns)]:
        return 0 <= horizon_ns <= _HORIZON_NS
      case ["a", int(time_ns), str()] | ["k" | "j", int(time_ns)]:
        checked_time(time_ns)
        return True
      case ["r", int(first_id), dict(values)]:
        from_json(values)
        return 0 <= first_id < 2**62
  except (ValueError, OverflowError):
    pass
  return False


def run_trace(
  engine: Engine, entries: Iterable[list[Any]]
) -> list[tuple[int, Command]]:
  """Makes the calls of a trace again.

  Returns:
    The time and the command of each output of the engine.

  Raises:
    ValueError: An entry is malformed, or the engine decided differently.
  """
  said: list[tuple[int, Command]] = []
  for entry in entries:
    match entry:
      case ["m", int(time_ns), str(data)]:
        engine.receive(Message(time_ns, bytes.fromhex(data)))
      case ["f", *fields]:
        engine.feedback(Sounded(*fields))
      case ["c", int(now_ns), dict(values)]:
        engine.set_controls(from_json(values), now_ns)
      case ["s", rows]:
        engine.set_style(rows)
      case ["a", int(now_ns), str(action)]:
        engine.act(action, now_ns)
      case ["b", None]:
        engine.set_bars(None)
      case ["g", str(name), list(density)]:
        engine.add_groove(name, density)
      case ["b", bpm, int(beats), int(start_ns), *more]:
        engine.set_bars(Bars(bpm, beats, start_ns), triplets=any(more))
      case ["h", int(horizon_ns)]:
        engine.set_horizon(horizon_ns)
      case ["k", int(now_ns)]:
        engine.keyboard_lost(now_ns)
      case ["j", int(now_ns)]:
        job = engine.next_job(now_ns)
        if job is None:
          raise ValueError(
            f"at {now_ns / 1e9:.3f} s the session went another way: it was"
            " made with another checkpoint or version."
          )
        said += [(now_ns, command) for command in job.run(now_ns)]
      case _:
        raise ValueError(f"not an entry of a session: {json.dumps(entry)}")
  return said
