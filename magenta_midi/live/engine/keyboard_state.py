"""What sounds on a player's keyboard: keys held, and keys the pedal holds."""

from typing import NamedTuple

from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.pedal import DOWN_AT, UP_BELOW

__all__ = ["MAX_RING_NS", "Keyboard", "Struck"]

# No string rings longer: what holds on after it is a stuck key or foot.
MAX_RING_NS = 30 * SECOND

_ALL_SOUND_OFF, _ALL_NOTES_OFF = 120, 123


class Struck(NamedTuple):
  """A key that sounds.

  Attributes:
    time_ns: When it was struck.
    velocity: 1 to 127.
  """

  time_ns: int
  velocity: int


class Keyboard:
  """Keys and sustain pedal of one player.

  Attributes:
    held: Keys that are down.
    ringing: Keys that came up while the pedal was down, and is still.
    pedal_down: Half-pedal counts as it did before.
    silent_since_ns: When the last sound was damped; None while there is any,
      and before the first.
  """

  def __init__(self):
    """Nothing sounds."""
    self.held: dict[int, Struck] = {}
    self.ringing: dict[int, Struck] = {}
    self.pedal_down = False
    self.silent_since_ns: int | None = None

  @property
  def sounds(self) -> bool:
    """Whether anything does."""
    return bool(self.held or self.ringing)

  @property
  def keys(self) -> set[int]:
    """Keys that sound."""
    return self.held.keys() | self.ringing.keys()

  @property
  def lowest(self) -> int | None:
    """The lowest key that sounds."""
    return min(self.keys, default=None)

  def hear(self, message: Message) -> None:
    """Takes a message; what is neither key nor pedal changes nothing."""
    time_ns, data = message
    sounded = self.sounds
    if is_note_on(data):
      self.ringing.pop(data[1], None)
      self.held[data[1]] = Struck(time_ns, data[2])
      self.silent_since_ns = None
      return
    if is_note_off(data):
      struck = self.held.pop(data[1], None)
      if struck is not None and self.pedal_down:
        self.ringing[data[1]] = struck
    elif is_sustain(data):
      if data[2] >= DOWN_AT:
        self.pedal_down = True
      elif data[2] < UP_BELOW:
        self.pedal_down = False
        self.ringing.clear()
    elif _silences(data):
      self.held.clear()
      self.ringing.clear()
    if sounded and not self.sounds:
      self.silent_since_ns = time_ns


def _silences(data: bytes) -> bool:
  return (
    len(data) == 3
    and data[0] >> 4 == 11
    and data[1] in (_ALL_SOUND_OFF, _ALL_NOTES_OFF)
  )
