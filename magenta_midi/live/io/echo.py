"""Echo detector: the model's notes that come back in through the cabling."""

import collections

from magenta_midi.live.protocol.events import (
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)

__all__ = ["EchoDetector"]

MS = 1_000_000
# A note comes back within this. Not after 1 ms at the soonest: software ports
# take 0.2 ms, and their driver may stamp a message before its sender does.
SOONEST_NS, LATEST_NS = -2 * MS, 80 * MS
# A loop: so many of the last ones sent came back. A player who doubles the
# model is not so quick, or not so often.
OF, ENOUGH = 5, 4
# An end that is far away: our own note-off has not been sent yet.
_NEVER = 1 << 62
_Sent = collections.deque[tuple[int, bytes]]


class EchoDetector:
  """Compares what is sent with what is received.

  Attributes:
    looped: Whether our notes come back.
  """

  def __init__(self) -> None:
    self.looped = False
    self._named = False
    # Time and data of what may still come back. Not the status: a loop may
    # change the channel, but a player does not hit our velocities.
    self._sent: _Sent = collections.deque(maxlen=32)
    self._pedals: _Sent = collections.deque(maxlen=32)
    # Of the last sent notes: whether each came back.
    self._came_back: collections.deque[bool] = collections.deque(maxlen=OF)
    # Keys whose note-on was muted, and until when so is their note-off.
    self._muted: dict[int, int] = {}
    # Keys that came back before that was known for a loop, and are down.
    self._let_through: dict[int, None] = {}

  def sent(self, message: Message) -> None:
    """A message of ours was sent, at its time: notes, ends and pedal."""
    time_ns, data = message
    if is_note_on(data):
      self._expire(time_ns)
      self._sent.append((time_ns, data[1:]))
    elif is_note_off(data) and data[1] in self._muted:
      self._muted[data[1]] = time_ns + LATEST_NS
    elif is_sustain(data):
      self._pedals.append((time_ns, data[1:]))

  def _expire(self, now_ns: int) -> None:
    while self._sent and now_ns - self._sent[0][0] > LATEST_NS:
      self._sent.popleft()
      self._judge(came_back=False)

  def _judge(self, *, came_back: bool) -> None:
    self._came_back.append(came_back)
    found = sum(self._came_back)
    if found >= ENOUGH:
      self.looped = True
    elif found == 0 and len(self._came_back) == OF:
      self.looped = False
      self._named = False

  def is_echo(self, message: Message) -> bool:
    """Whether a message is one of the model's that came back; it is muted."""
    now_ns, data = message
    if is_note_off(data):
      # Not while it was let through: its note would stay held for ever.
      self._let_through.pop(data[1], None)
      return now_ns <= self._muted.pop(data[1], now_ns - 1)
    self._expire(now_ns)
    if is_sustain(data):
      return self.looped and self._take(self._pedals, now_ns, data[1:])
    if not is_note_on(data):
      return False
    # From here on the next key-up is that of this note.
    self._muted.pop(data[1], None)
    self._let_through.pop(data[1], None)
    if not self._take(self._sent, now_ns, data[1:]):
      return False
    self._judge(came_back=True)
    if self.looped:
      self._muted[data[1]] = _NEVER
    else:
      self._let_through[data[1]] = None
    return self.looped

  def drain_let_through(self) -> list[int]:
    """Keys to be let go as a loop is found: they were taken for the player's.

    On a shared instrument such a key waits for a key-up of the player's, which
    never comes, since our own waits for it.
    """
    if not self.looped:
      return []
    keys, self._let_through = list(self._let_through), {}
    self._muted.update(dict.fromkeys(keys, _NEVER))
    return keys

  @staticmethod
  def _take(sent: _Sent, now_ns: int, data: bytes) -> bool:
    """Takes out the oldest that comes back as this, if there is one."""
    for entry in sent:
      if entry[1] == data and SOONEST_NS <= now_ns - entry[0] <= LATEST_NS:
        sent.remove(entry)
        return True
    return False

  @property
  def named(self) -> str:
    """One line for the player when a loop was found; empty after that."""
    if not self.looped or self._named:
      return ""
    self._named = True
    return (
      "our own notes come back into the input and are muted: take the loop"
      " out of the DAW's routing, or the instrument's local echo"
    )
