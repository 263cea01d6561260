"""Binary frames of notes; docs/guides/server.md has their tables."""

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from magenta_midi.live.protocol.events import SECOND, Message

__all__ = [
  "AUDIO",
  "MAX_RECORDS",
  "MODEL",
  "NOTES",
  "PLAYER",
  "TimedBytes",
  "pack_notes",
  "unpack_notes",
]

# Kinds of frames; that of sound is reserved.
NOTES, AUDIO = 1, 2
# Who played.
PLAYER, MODEL = 0, 1
MAX_RECORDS = 256

_HEADER = struct.Struct("<BBH")
_RECORD = struct.Struct("<dB3s")
# Note-off, note-on, controller, pitch bend: all of three bytes.
_TAKEN = (0x8, 0x9, 0xB, 0xE)


class TimedBytes(NamedTuple):
  """A MIDI message of a client.

  Attributes:
    time_s: When, in the session's time; None: now.
    data: Its 3 bytes, on the first channel.
  """

  time_s: float | int | None
  data: bytes


def pack_notes(who: int, messages: Sequence[Message]) -> list[bytes]:
  """Messages as frames, of at most `MAX_RECORDS` each.

  Args:
    who: `PLAYER` or `MODEL`.
    messages: In order of time.
  """
  frames = []
  for first in range(0, len(messages), MAX_RECORDS):
    part = messages[first : first + MAX_RECORDS]
    records = b"".join(
      _RECORD.pack(m.time_ns / SECOND, len(m.data), m.data) for m in part
    )
    frames.append(_HEADER.pack(NOTES, who, len(part)) + records)
  return frames


def unpack_notes(frame: bytes) -> list[TimedBytes]:
  """The messages of a client's frame; those that are not taken are left out.

  Raises:
    ValueError: It is no such frame.
  """
  if len(frame) < _HEADER.size:
    raise ValueError("a binary frame must have at least 4 bytes.")
  kind, who, count = _HEADER.unpack_from(frame)
  if kind != NOTES or who != PLAYER:
    raise ValueError("a client's binary frame must hold the player's notes.")
  size = _HEADER.size + count * _RECORD.size
  if count > MAX_RECORDS or len(frame) != size:
    raise ValueError(
      f"a frame of notes must hold at most {MAX_RECORDS} records of"
      f" {_RECORD.size} bytes, as many as it says."
    )
  found = []
  for time_s, length, data in _RECORD.iter_unpack(frame[_HEADER.size :]):
    if length != 3 or data[0] >> 4 not in _TAKEN or max(data[1:]) > 127:
      continue
    taken = bytes((data[0] & 0xF0, data[1], data[2]))
    found.append(TimedBytes(time_s if math.isfinite(time_s) else None, taken))
  return found
