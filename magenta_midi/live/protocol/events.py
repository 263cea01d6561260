"""Notes and messages between ports, performer and engine.

Times are whole nanoseconds of the session's clock, which is monotonic and 0
at the start of the session.
"""

from typing import NamedTuple

__all__ = [
  "SECOND",
  "Message",
  "PlannedNote",
  "PlannedPedal",
  "Sounded",
  "is_note_off",
  "is_note_on",
  "is_sustain",
]

# Nanoseconds.
SECOND = 1_000_000_000


class Message(NamedTuple):
  """One complete MIDI message, in or out.

  Attributes:
    time_ns: When it came, or when it is due.
    data: Its 1 to 3 bytes, status first (no running status).
  """

  time_ns: int
  data: bytes


class PlannedNote(NamedTuple):
  """A note that the model wants to play.

  Attributes:
    id: Unique in a session, ascending; names the note in `Sounded`.
    time_ns: Its onset.
    duration_ns: Until its key comes up.
    key: 0 to 127.
    velocity: 1 to 127.
  """

  id: int
  time_ns: int
  duration_ns: int
  key: int
  velocity: int


class PlannedPedal(NamedTuple):
  """A change of the model's own sustain pedal."""

  id: int
  time_ns: int
  down: bool


class Sounded(NamedTuple):
  """Outcome of a planned event.

  Attributes:
    id: Of the planned event.
    time_ns: When it was sent (dropped: when that was decided).
    kind: `on`, `off` (key up), `pedal`, or `dropped`.
    key: Of the note; -1 for a pedal.
    velocity: As sent, after limits; 0 for `off`; 127 or 0 for a pedal.
    reason: Why it was dropped or changed; empty otherwise.
  """

  id: int
  time_ns: int
  kind: str
  key: int
  velocity: int
  reason: str = ""


def is_note_on(data: bytes) -> bool:
  """Whether a key went down (velocity 0 is a note-off)."""
  return len(data) == 3 and data[0] >> 4 == 9 and data[2] > 0


def is_note_off(data: bytes) -> bool:
  """Whether a key came up."""
  return len(data) == 3 and (
    data[0] >> 4 == 8 or (data[0] >> 4 == 9 and data[2] == 0)
  )


def is_sustain(data: bytes) -> bool:
  """Whether it moves the sustain pedal (controller 64)."""
  return len(data) == 3 and data[0] >> 4 == 11 and data[1] == 64
