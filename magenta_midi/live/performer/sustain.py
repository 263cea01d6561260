"""The sustain pedal of the model's channel: ours, or both players' in one."""

from magenta_midi.live.protocol.events import Message
from magenta_midi.midi.io.messages import control_change

__all__ = ["PEDAL", "Sustain"]

PEDAL, DOWN = 64, 127


class Sustain:
  """What the instrument is told of the pedal.

  On a shared instrument that is the higher of both players' positions. It is
  repeated after each message of the player's pedal while ours is down, for an
  instrument whose own pedal that is. What is passed on to the instrument from
  elsewhere must not lift ours for even a moment, see `withholds`.

  Args:
    channel: Ours, 1 to 16.
    shared: Whether the player's pedal counts.

  Attributes:
    down: Whether ours is.
  """

  def __init__(self, channel: int, *, shared: bool):
    self.down = False
    self._channel = channel
    self._shared = shared
    self._player = 0
    # When the player moved theirs; None: dealt with.
    self._player_ns: int | None = None
    self._sent = 0
    # When ours comes up by itself, and when it did so lately.
    self._up_ns: int | None = None
    self._lifted: list[int] = []
    # The player's last message, where it would have lifted ours.
    self._withheld: bytes | None = None

  def hear(self, position: int, time_ns: int) -> None:
    """The player moved their pedal to 0 to 127."""
    self._player = position
    if self._shared:
      self._player_ns = time_ns

  def withholds(self, data: bytes) -> bool:
    """Whether a message of the player's pedal would lift ours.

    If so, it is sent when ours comes up: an instrument that keeps the channels
    apart needs it then.

    Args:
      data: As it would be passed on to the instrument; it was heard already.
    """
    lower = self._shared and self.down and self._player < DOWN
    self._withheld = data if lower else None
    return lower

  def next_due_ns(self) -> int | None:
    """When `due` has something to do, if it has."""
    times = [t for t in (self._up_ns, self._player_ns) if t is not None]
    return min(times, default=None)

  @property
  def comes_up(self) -> bool:
    """Whether ours is to come up by itself."""
    return self._up_ns is not None

  def come_up(self, time_ns: int) -> None:
    """Ours, if it is down, comes up at a time, or earlier if it was to."""
    if self.down:
      self._up_ns = (
        time_ns if self._up_ns is None else min(self._up_ns, time_ns)
      )

  def move(self, down: bool, time_ns: int) -> list[Message]:
    """Ours moves; if it was to come up by itself, it does so before."""
    sent = self._lift(time_ns)
    self.down = down
    return sent + self._send(time_ns)

  def due(self, now_ns: int) -> list[Message]:
    """What happens by itself, and what the player did."""
    sent: list[Message] = []
    if self._up_ns is not None and self._up_ns <= now_ns:
      sent += self._lift(self._up_ns)
    if self._player_ns is not None:
      time_ns, self._player_ns = self._player_ns, None
      sent += self._send(time_ns, again=self.down)
    return sent

  def tell_again(self, time_ns: int) -> list[Message]:
    """The instrument may have missed something."""
    return self._send(time_ns, again=True)

  def drain_withheld(self, time_ns: int) -> list[Message]:
    """What the player's pedal did while ours was down."""
    data, self._withheld = self._withheld, None
    return [] if data is None else [Message(time_ns, data)]

  def drop(self) -> None:
    """Ours is up, and nobody needs to be told."""
    self.down, self._up_ns, self._player_ns = False, None, None
    self._sent = 0

  def drain_lifted(self) -> list[int]:
    """When ours came up by itself since the last call."""
    lifted, self._lifted = self._lifted, []
    return lifted

  def _lift(self, time_ns: int) -> list[Message]:
    if self._up_ns is None:
      return []
    self._up_ns = None
    if not self.down:
      return []
    self.down = False
    self._lifted.append(time_ns)
    return self._send(time_ns)

  def _send(self, time_ns: int, *, again: bool = False) -> list[Message]:
    position = DOWN * self.down
    if self._shared:
      position = max(position, self._player)
    sent: list[Message] = []
    if position != self._sent or again:
      self._sent = position
      data = control_change(self._channel, PEDAL, position)
      sent.append(Message(time_ns, data))
    if not self.down:
      sent += self.drain_withheld(time_ns)
    return sent
