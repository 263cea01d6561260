"""Trace of an engine: every call in order, to be played again.

The engine is deterministic: the same calls give the same notes. So a session
is its settings and the calls that were made, one JSON line each.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.protocol.commands import Command
from magenta_midi.live.protocol.controls import Controls, from_json, to_json
from magenta_midi.live.protocol.events import Message, Sounded
from magenta_midi.live.timing.bars import Bars

__all__ = ["TracedEngine", "run_trace"]


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

  def set_bars(self, bars: Bars) -> None:
    """See `Engine.set_bars`."""
    self._write(["b", bars.bpm, bars.beats_per_bar, bars.start_ns])
    self.engine.set_bars(bars)

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
      case ["b", bpm, int(beats), int(start_ns)]:
        engine.set_bars(Bars(bpm, beats, start_ns))
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
