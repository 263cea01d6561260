"""Hears whether our own notes come back in: a loop in the cabling."""

import collections

from magenta_midi.live.events import Message, is_note_off, is_note_on

__all__ = ["EchoDetector"]

MS = 1_000_000
# A note comes back within this; a player who doubles it is not so quick ...
SOONEST_NS, LATEST_NS = 0, 80 * MS
# ... so many times in a row.
OF, ENOUGH = 5, 4


class EchoDetector:
  """Compares what is sent with what is heard.

  Attributes:
    looped: Whether our notes come back.
    named: What to tell the player, once; empty otherwise.
  """

  def __init__(self) -> None:
    self.looped = False
    self._named = False
    self._sent: collections.deque[tuple[int, int]] = collections.deque(
      maxlen=32
    )
    # Of the last sent notes: whether each came back.
    self._came_back: collections.deque[bool] = collections.deque(maxlen=OF)
    self._muted: set[int] = set()

  def sent(self, message: Message) -> None:
    """A note of ours was sent."""
    if not is_note_on(message.data):
      return
    self._expire(message.time_ns)
    self._sent.append((message.time_ns, message.data[1]))

  def _expire(self, now_ns: int) -> None:
    while self._sent and now_ns - self._sent[0][0] > LATEST_NS:
      self._sent.popleft()
      self._note(came_back=False)

  def _note(self, *, came_back: bool) -> None:
    self._came_back.append(came_back)
    found = sum(self._came_back)
    if found >= ENOUGH:
      self.looped = True
    elif found == 0 and len(self._came_back) == OF:
      self.looped = False
      self._named = False

  def heard(self, message: Message) -> bool:
    """Whether a message is our own and must be muted."""
    data, now_ns = message.data, message.time_ns
    if is_note_off(data) and data[1] in self._muted:
      self._muted.discard(data[1])
      return True
    if not is_note_on(data):
      return False
    self._expire(now_ns)
    for entry in self._sent:
      time_ns, key = entry
      if key == data[1] and SOONEST_NS <= now_ns - time_ns <= LATEST_NS:
        self._sent.remove(entry)
        self._note(came_back=True)
        if self.looped:
          self._muted.add(key)
        return self.looped
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
