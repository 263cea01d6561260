"""Wire format of notes and plans: records of a fixed size."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from magenta_midi.live.protocol.events import (
  Message,
  PlannedNote,
  PlannedPedal,
  Sounded,
)

__all__ = [
  "COMMAND_BYTES",
  "MESSAGE_BYTES",
  "MAX_EVENTS",
  "SOUNDED_BYTES",
  "CommandRecord",
  "pack_end",
  "pack_message",
  "pack_panic",
  "pack_plan",
  "pack_release",
  "pack_sounded",
  "unpack_command",
  "unpack_message",
  "unpack_sounded",
]

_MESSAGE = struct.Struct("<qB3s")
_SOUNDED = struct.Struct("<qqBbB24s")
_HEAD = struct.Struct("<BBBBqq")
_EVENT = struct.Struct("<BqqqBB")
_TIME = struct.Struct("<q")

# Most events of a plan and most inputs that it answers; what is more waits
# for the next plan.
MAX_EVENTS, MAX_TIMES = 48, 24
MESSAGE_BYTES = _MESSAGE.size
SOUNDED_BYTES = _SOUNDED.size
COMMAND_BYTES = _HEAD.size + MAX_EVENTS * _EVENT.size + MAX_TIMES * _TIME.size
_KINDS = ("on", "off", "pedal", "dropped")
_COMMANDS = ("plan", "release", "end", "panic")
_WHY = ("react", "deeper", "refresh", "reply", "rest")
_ALL_KEYS = 255


class CommandRecord(NamedTuple):
  """A command as it arrives.

  Attributes:
    kind: `plan`, `release`, `end` or `panic`.
    from_ns: Of a plan: what begins before it stands.
    events: Of a plan.
    reacts_to: Of a plan: times of the events that it answers.
    why: Of a plan.
    within_ns: Of a release.
    keys: Of a release; None: all.
  """

  kind: str
  from_ns: int = 0
  events: tuple[PlannedNote | PlannedPedal, ...] = ()
  reacts_to: tuple[int, ...] = ()
  why: str = ""
  within_ns: int = 0
  keys: tuple[int, ...] | None = None


def pack_message(message: Message) -> bytes:
  """A message of at most 3 bytes."""
  data = message.data[:3]
  return _MESSAGE.pack(message.time_ns, len(data), data)


def unpack_message(record: bytes) -> Message:
  """The inverse of `pack_message`."""
  time_ns, length, data = _MESSAGE.unpack_from(record)
  return Message(time_ns, data[:length])


def pack_sounded(sounded: Sounded) -> bytes:
  """Record of an event's outcome; the reason keeps 24 bytes."""
  id, time_ns, kind, key, velocity, reason = sounded
  return _SOUNDED.pack(
    id,
    time_ns,
    _KINDS.index(kind),
    key,
    velocity,
    reason.encode(errors="replace")[:24],
  )


def unpack_sounded(record: bytes) -> Sounded:
  """The inverse of `pack_sounded`."""
  id, time_ns, kind, key, velocity, reason = _SOUNDED.unpack_from(record)
  text = reason.rstrip(b"\0").decode(errors="ignore")
  return Sounded(id, time_ns, _KINDS[kind], key, velocity, text)


def pack_plan(
  from_ns: int,
  events: Sequence[PlannedNote | PlannedPedal],
  reacts_to: Sequence[int],
  why: str,
) -> bytes:
  """A plan; of more events than fit the first are kept."""
  events, reacts_to = events[:MAX_EVENTS], reacts_to[:MAX_TIMES]
  parts = [
    _HEAD.pack(0, len(events), len(reacts_to), _WHY.index(why), from_ns, 0)
  ]
  for event in events:
    if isinstance(event, PlannedNote):
      id, time_ns, duration_ns, key, velocity = event
      parts.append(_EVENT.pack(0, id, time_ns, duration_ns, key, velocity))
    else:
      parts.append(_EVENT.pack(1, event.id, event.time_ns, 0, event.down, 0))
  parts += [_TIME.pack(time_ns) for time_ns in reacts_to]
  return b"".join(parts)


def pack_release(within_ns: int, keys: Sequence[int] | None) -> bytes:
  """A release of some keys (at most 128), or of all."""
  if keys is None:
    return _HEAD.pack(1, _ALL_KEYS, 0, 0, 0, within_ns)
  return _HEAD.pack(1, len(keys), 0, 0, 0, within_ns) + bytes(keys)


def pack_end() -> bytes:
  """Let the last chord ring."""
  return _HEAD.pack(2, 0, 0, 0, 0, 0)


def pack_panic() -> bytes:
  """Silence."""
  return _HEAD.pack(3, 0, 0, 0, 0, 0)


def unpack_command(record: bytes) -> CommandRecord:
  """The inverse of `pack_plan`, `pack_release`, `pack_end`, `pack_panic`."""
  kind, count, times, why, from_ns, within_ns = _HEAD.unpack_from(record)
  name, at = _COMMANDS[kind], _HEAD.size
  if name == "release":
    keys = None if count == _ALL_KEYS else tuple(record[at : at + count])
    return CommandRecord("release", within_ns=within_ns, keys=keys)
  if name != "plan":
    return CommandRecord(name)
  events: list[PlannedNote | PlannedPedal] = []
  for _ in range(count):
    pedal, id, time_ns, duration_ns, key, velocity = _EVENT.unpack_from(
      record, at
    )
    at += _EVENT.size
    if pedal:
      events.append(PlannedPedal(id, time_ns, bool(key)))
    else:
      events.append(PlannedNote(id, time_ns, duration_ns, key, velocity))
  reacts_to = tuple(
    _TIME.unpack_from(record, at + index * _TIME.size)[0]
    for index in range(times)
  )
  return CommandRecord("plan", from_ns, tuple(events), reacts_to, _WHY[why])
