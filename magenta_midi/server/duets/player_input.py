"""Player's input of one session: notes of the socket, and music played in."""

import threading
from collections.abc import Callable, Sequence

from magenta_midi.live.player import Keyboard
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.server.duets.note_frames import TimedBytes

__all__ = ["PlayerInput", "lifting"]

# A client's estimate of the time is taken so far back.
MAX_EARLIER_NS = 100_000_000
_PEDAL_UP = bytes((0xB0, 64, 0))


def lifting(keyboard: Keyboard) -> list[bytes]:
  """Messages that end all that is down."""
  ends = [bytes((0x80, key, 64)) for key in keyboard.held_keys]
  return [*ends, _PEDAL_UP] if keyboard.pedal_down else ends


class _Hand:
  """What one source holds down."""

  def __init__(self) -> None:
    self.keyboard = Keyboard()

  def lift(self) -> list[bytes]:
    ends = lifting(self.keyboard)
    self.keyboard = Keyboard()
    return ends


class PlayerInput:
  """Gives an engine the player's messages, from any thread.

  Args:
    play_in: Takes bytes and a time, ns of the session.
    now_ns: The session's time.
  """

  def __init__(
    self,
    play_in: Callable[[bytes, int | None], None],
    now_ns: Callable[[], int],
  ):
    self._play_in, self._now_ns = play_in, now_ns
    self._lock = threading.Lock()
    self._last_ns = 0
    self._socket, self._music = _Hand(), _Hand()
    self._waiting: list[Message] = []
    self._start_ns = 0

  def play(self, notes: Sequence[TimedBytes]) -> None:
    """Notes of the socket; their times are moved to what can be."""
    with self._lock:
      for time_s, data in notes:
        now_ns = self._now_ns()
        time_ns = now_ns
        if time_s is not None and abs(time_s) < 1e9:
          time_ns = round(time_s * SECOND)
        self._give(self._socket, data, time_ns, now_ns)

  def _give(self, hand: _Hand, data: bytes, time_ns: int, now_ns: int) -> None:
    earliest = max(self._last_ns, now_ns - MAX_EARLIER_NS)
    time_ns = min(max(time_ns, earliest), max(now_ns, self._last_ns))
    self._last_ns = time_ns
    hand.keyboard.receive(Message(time_ns, data))
    self._play_in(data, time_ns)

  def start_music(self, messages: Sequence[Message]) -> None:
    """Plays messages, in order of time from 0, from now on."""
    self.stop_music()
    with self._lock:
      self._start_ns = self._now_ns()
      self._waiting = list(reversed(messages))

  @property
  def has_music(self) -> bool:
    """Whether some is left to be played."""
    return bool(self._waiting)

  def advance(self) -> bool:
    """Plays what is due; returns whether the music has just ended."""
    if not self._waiting:
      return False
    with self._lock:
      now_ns = self._now_ns()
      passed_ns = now_ns - self._start_ns
      while self._waiting and self._waiting[-1].time_ns <= passed_ns:
        message = self._waiting.pop()
        due_ns = self._start_ns + message.time_ns
        self._give(self._music, message.data, due_ns, now_ns)
      if self._waiting:
        return False
    self.stop_music()
    return True

  def stop_music(self) -> None:
    """Ends it, and lifts its keys."""
    self._lift(self._music)
    self._waiting = []

  def lift_socket(self) -> None:
    """Lifts the keys of a client that is gone."""
    self._lift(self._socket)

  def _lift(self, hand: _Hand) -> None:
    with self._lock:
      if hand is self._music:
        self._waiting = []
      for data in hand.lift():
        self._last_ns = max(self._last_ns, self._now_ns())
        self._play_in(data, self._last_ns)
