"""Player's keys, pedal and latest notes, from the messages of a keyboard.

The one place that says which keys are held, whether the pedal is down and what
was played. The model's process has one `Player`, whom all parts of the engine
read; the process of the ports has a `Keyboard` of its own.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.pedal import pedal_after
from magenta_midi.midi.score import Score

__all__ = [
  "MAX_RING_NS",
  "Keyboard",
  "NoteHistory",
  "Player",
  "PlayerEvent",
  "RecordedNote",
]

# No string rings longer: what holds on after it is a stuck key or foot.
MAX_RING_NS = 30 * SECOND
# Kept of what was played: the context, and the longest note before it.
_KEEP_NS = 25 * SECOND

# Controllers that end every note, and that reset every controller.
_ALL_SOUND_OFF, _RESET, _ALL_NOTES_OFF = 120, 121, 123


@dataclasses.dataclass(slots=True)
class RecordedNote:
  """A note of either player.

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


class PlayerEvent(NamedTuple):
  """A message of the player, and what it changed.

  Attributes:
    message: As received.
    kind: `note_on`, `note_off`, `pedal` (the pedal changed) or `other`.
    note: The note that began.
    ended: Notes whose keys came up, at their note-off or at a new note-on.
    damped: Keys that no longer sound.
  """

  message: Message
  kind: str
  note: RecordedNote | None = None
  ended: tuple[RecordedNote, ...] = ()
  damped: tuple[int, ...] = ()

  @property
  def time_ns(self) -> int:
    """When it came."""
    return self.message.time_ns


class Keyboard:
  """Keys and sustain pedal of one player.

  Attributes:
    held: Notes whose keys are down, by key.
    ringing: Notes whose keys came up while the pedal was down, and is still.
    pedal_down: Whether the pedal is down, by `pedal_after`.
  """

  def __init__(self) -> None:
    """Nothing sounds."""
    self.held: dict[int, RecordedNote] = {}
    self.ringing: dict[int, RecordedNote] = {}
    self.pedal_down = False
    # When each key was damped last, the latest one last.
    self._damped_ns: dict[int, int] = {}

  @property
  def held_keys(self) -> list[int]:
    """Keys that are down, ascending."""
    return sorted(self.held)

  @property
  def keys(self) -> set[int]:
    """Keys that sound."""
    return self.held.keys() | self.ringing.keys()

  @property
  def lowest(self) -> int | None:
    """The lowest key that sounds."""
    return min(self.keys, default=None)

  @property
  def sounds(self) -> bool:
    """Whether any key sounds."""
    return bool(self.held or self.ringing)

  @property
  def silent_since_ns(self) -> int | None:
    """When the last sound was damped; None while any sounds or before any."""
    return self.silent_without(None)

  def sounds_without(self, key: int | None) -> bool:
    """Whether any other key sounds."""
    return bool(self.keys - {key})

  def silent_without(self, key: int | None) -> int | None:
    """As `silent_since_ns`, of all other keys."""
    if self.sounds_without(key):
      return None
    return next(
      (self._damped_ns[k] for k in reversed(self._damped_ns) if k != key), None
    )

  def receive(self, message: Message) -> PlayerEvent:
    """Takes a message; what is neither key nor pedal changes nothing."""
    time_ns, data = message
    if is_note_on(data):
      key = data[1]
      self.ringing.pop(key, None)
      ended = self._end_note(key, time_ns)
      note = self.held[key] = RecordedNote(-1, time_ns, None, key, data[2])
      return PlayerEvent(message, "note_on", note, ended)
    if is_note_off(data):
      ended = self._end_note(data[1], time_ns)
      if self.pedal_down:
        self.ringing.update((note.key, note) for note in ended)
        return PlayerEvent(message, "note_off", None, ended)
      damped = self._damp(time_ns, [note.key for note in ended])
      return PlayerEvent(message, "note_off", None, ended, damped)
    if is_sustain(data):
      return self._move_pedal(message, pedal_after(data[2], self.pedal_down))
    if len(data) == 3 and data[0] >> 4 == 11:
      if data[1] in (_ALL_SOUND_OFF, _ALL_NOTES_OFF):
        return self._silence(message)
      if data[1] == _RESET:
        return self._move_pedal(message, False)
    return PlayerEvent(message, "other")

  def _end_note(self, key: int, time_ns: int) -> tuple[RecordedNote, ...]:
    note = self.held.pop(key, None)
    if note is None:
      return ()
    note.end_ns = max(time_ns, note.onset_ns + 1)
    return (note,)

  def _move_pedal(self, message: Message, down: bool) -> PlayerEvent:
    if down == self.pedal_down:
      return PlayerEvent(message, "other")
    self.pedal_down = down
    # While the pedal was up nothing rang.
    damped = self._damp(message.time_ns, list(self.ringing))
    self.ringing.clear()
    return PlayerEvent(message, "pedal", damped=damped)

  def _silence(self, message: Message) -> PlayerEvent:
    time_ns, keys = message.time_ns, sorted(self.keys)
    ended = tuple(self.held.values())
    for note in ended:
      self._end_note(note.key, time_ns)
    self.ringing.clear()
    damped = self._damp(time_ns, keys)
    return PlayerEvent(message, "other", None, ended, damped)

  def _damp(self, time_ns: int, keys: list[int]) -> tuple[int, ...]:
    for key in keys:
      self._damped_ns.pop(key, None)
      self._damped_ns[key] = time_ns
    return tuple(keys)


class NoteHistory:
  """The last seconds of one player, ready to be encoded.

  Attributes:
    notes: In order of their onsets.
    pedals: Changes of the pedal: time and whether it is down.
  """

  def __init__(self) -> None:
    """Nothing was played."""
    self.notes: list[RecordedNote] = []
    self.pedals: list[tuple[int, bool]] = []

  @property
  def pedal_down(self) -> bool:
    """Whether the pedal is down after its last change."""
    return bool(self.pedals) and self.pedals[-1][1]

  def sounding_keys(self, now_ns: int) -> list[int]:
    """Keys of notes that have begun and whose end lies ahead."""
    return [
      note.key
      for note in self.notes
      if note.onset_ns <= now_ns < (note.end_ns or 0)
    ]

  def add(
    self, time_ns: int, key: int, velocity: int, *, end_ns: int, id: int = -1
  ) -> None:
    """Adds a note whose end is known."""
    self.notes.append(RecordedNote(id, time_ns, end_ns, key, velocity))

  def pedal(self, time_ns: int, down: bool) -> None:
    """The pedal moves; nothing changes if it is there already."""
    if down != self.pedal_down:
      self.pedals.append((time_ns, down))

  def forget(self, now_ns: int) -> None:
    """Drops what can no longer matter."""
    oldest = now_ns - _KEEP_NS
    if self.notes and self.notes[0].onset_ns < oldest:
      self.notes = [n for n in self.notes if n.onset_ns >= oldest]
    if len(self.pedals) > 2 and self.pedals[1][0] < oldest:
      # Whether the pedal was down at the start of what is kept stays known.
      kept = [p for p in self.pedals if p[0] >= oldest]
      self.pedals = self.pedals[-len(kept) - 1 :]

  def score(self, before_ns: int, origin_ns: int) -> Score:
    """Notes and pedal before a time, as one part.

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


class Player:
  """One player: what sounds now, and what was played lately.

  Attributes:
    keyboard: Keys and pedal now.
    history: The last seconds; a note that is held is in both.
  """

  def __init__(self) -> None:
    """Nothing was played."""
    self.keyboard = Keyboard()
    self.history = NoteHistory()

  def receive(self, message: Message) -> PlayerEvent:
    """Takes a message of the player."""
    event = self.keyboard.receive(message)
    if event.note is not None:
      self.history.notes.append(event.note)
    self.history.pedal(event.time_ns, self.keyboard.pedal_down)
    return event

  def release_all(self, time_ns: int) -> None:
    """Every key and the pedal come up: the end, or a keyboard unplugged."""
    for controller in (_ALL_NOTES_OFF, _RESET):
      self.receive(Message(time_ns, bytes((0xB0, controller, 0))))
