"""What both players did lately, ready to be encoded."""

import dataclasses

import numpy as np

from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.score import Score

__all__ = ["PlayerRecord", "RecordedNote"]

# Kept: the context and the longest note before it.
KEEP_NS = 25 * SECOND


@dataclasses.dataclass(slots=True)
class RecordedNote:
  """A note that was struck.

  Attributes:
    id: Of a planned note; -1 for a player's.
    onset_ns: When.
    end_ns: When its key came up or will; None while that is not known.
    key: 0 to 127.
    velocity: 1 to 127.
  """

  id: int
  onset_ns: int
  end_ns: int | None
  key: int
  velocity: int


class PlayerRecord:
  """The last seconds of one player.

  Args:
    pedal_threshold: Values of the sustain controller from here on are down.
  """

  def __init__(self, pedal_threshold: int = 64):
    self.notes: list[RecordedNote] = []
    # Changes of the pedal: time and whether down.
    self.pedals: list[tuple[int, bool]] = []
    self.pedal_down = False
    self._open: dict[int, RecordedNote] = {}
    self._pedal_threshold = pedal_threshold

  @property
  def held_keys(self) -> list[int]:
    """Keys that are down, ascending."""
    return sorted(self._open)

  def sounding_keys(self, now_ns: int) -> list[int]:
    """Keys of notes that have begun and whose end lies ahead."""
    return [
      note.key
      for note in self.notes
      if note.onset_ns <= now_ns < (note.end_ns or 0)
    ]

  def hear(self, message: Message) -> bool:
    """Takes a message of the player.

    Returns:
      Whether it is one that a partner answers: a new note, or a change of
      the pedal.
    """
    data = message.data
    if is_note_on(data):
      self.strike(message.time_ns, data[1], data[2])
      return True
    if is_note_off(data):
      self.lift(message.time_ns, data[1])
      return False
    if is_sustain(data):
      down = data[2] >= self._pedal_threshold
      return self.pedal(message.time_ns, down)
    return False

  def strike(
    self,
    time_ns: int,
    key: int,
    velocity: int,
    *,
    end_ns: int | None = None,
    id: int = -1,
  ) -> None:
    """A key goes down; a note of it that still sounded ends."""
    self.lift(time_ns, key)
    note = RecordedNote(id, time_ns, end_ns, key, velocity)
    self.notes.append(note)
    if end_ns is None:
      self._open[key] = note

  def lift(self, time_ns: int, key: int) -> None:
    """A key comes up."""
    note = self._open.pop(key, None)
    if note is not None:
      note.end_ns = max(time_ns, note.onset_ns + 1)

  def lift_all(self, time_ns: int) -> None:
    """Every key and the pedal come up: a keyboard was unplugged."""
    for key in self.held_keys:
      self.lift(time_ns, key)
    self.pedal(time_ns, False)

  def pedal(self, time_ns: int, down: bool) -> bool:
    """The pedal moves; returns whether that changed anything."""
    if down == self.pedal_down:
      return False
    self.pedal_down = down
    self.pedals.append((time_ns, down))
    return True

  def forget(self, now_ns: int) -> None:
    """Drops what can no longer matter."""
    oldest = now_ns - KEEP_NS
    if self.notes and self.notes[0].onset_ns < oldest:
      self.notes = [n for n in self.notes if n.onset_ns >= oldest]
    if len(self.pedals) > 2 and self.pedals[1][0] < oldest:
      # Whether the pedal was down at the start of what is kept stays known.
      kept = [p for p in self.pedals if p[0] >= oldest]
      self.pedals = self.pedals[-len(kept) - 1 :]

  def score(self, before_ns: int, origin_ns: int) -> Score:
    """What was struck before a time, as one part.

    Args:
      before_ns: Notes and pedal changes from here on are left out.
      origin_ns: The score's time 0; what is older is left out.

    Returns:
      The score. Notes whose end is not known end at `before_ns` or later.
    """
    rows = [n for n in self.notes if origin_ns <= n.onset_ns < before_ns]
    onset = np.array([n.onset_ns for n in rows], np.int64)
    end = np.array(
      [before_ns if n.end_ns is None else n.end_ns for n in rows], np.int64
    )
    down = False
    pedals = []
    for time_ns, is_down in self.pedals:
      if time_ns < origin_ns:
        down = is_down
      elif time_ns < before_ns:
        pedals.append(((time_ns - origin_ns) / SECOND, is_down))
    if down:
      pedals.insert(0, (0.0, True))
    return Score.from_arrays(
      onset_s=(onset - origin_ns) / SECOND,
      duration_s=np.maximum(end - onset, 1_000_000) / SECOND,
      key=np.array([n.key for n in rows], np.int64),
      velocity=np.array([n.velocity for n in rows], np.int64),
      pedal=pedals or None,
      part_names=("",),
    )
