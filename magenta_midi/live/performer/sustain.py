"""Sustain pedal of the model's channel, alone or with the player's."""

from magenta_midi.live.protocol.events import Message
from magenta_midi.midi.io.messages import control_change

__all__ = ["PEDAL", "Sustain"]

PEDAL, DOWN = 64, 127


class Sustain:
  """Pedal as it is sent to the instrument.

  On a shared instrument it is the higher of both positions, so no threshold is
  needed here. While the model's pedal is down it is sent again after each
  message of the player's pedal, because that may be the instrument's pedal.
  Messages that are passed on to the instrument must never release the model's
  pedal, see `withholds`.

  Args:
    channel: The model's, 1 to 16.
    shared: Whether the player's pedal counts.

  Attributes:
    down: Whether the model's pedal is down.
  """

  def __init__(self, channel: int, *, shared: bool):
    self.down = False
    self._channel = channel
    self._shared = shared
    self._player = 0
    # When the player moved the pedal; None: that has been sent.
    self._player_ns: int | None = None
    self._sent = 0
    # When the model's pedal is released as planned, and the latest releases.
    self._up_ns: int | None = None
    self._lifted: list[int] = []
    # The player's last message, if it would have released the model's pedal.
    self._withheld: bytes | None = None

  def receive(self, position: int, time_ns: int) -> None:
    """The player moved the pedal to 0 to 127."""
    self._player = position
    if self._shared:
      self._player_ns = time_ns

  def withholds(self, data: bytes) -> bool:
    """Whether a message of the player's pedal would release the model's.

    If so, it is sent when the model's pedal is released: an instrument with a
    pedal for each channel needs it then.

    Args:
      data: As it would be passed on; `receive` was called with it before.
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
    """Whether the model's is to come up by itself."""
    return self._up_ns is not None

  def come_up(self, time_ns: int) -> None:
    """The model's comes up at a time, or earlier if that was set before."""
    if self.down:
      self._up_ns = (
        time_ns if self._up_ns is None else min(self._up_ns, time_ns)
      )

  def move(self, down: bool, time_ns: int) -> list[Message]:
    """The model's moves; if it was to come up by itself, it does so before."""
    sent = self._lift(time_ns)
    self.down = down
    return sent + self._send(time_ns)

  def due(self, now_ns: int) -> list[Message]:
    """Messages of pedal changes that are due, also those by the player."""
    sent: list[Message] = []
    if self._up_ns is not None and self._up_ns <= now_ns:
      sent += self._lift(self._up_ns)
    if self._player_ns is not None:
      time_ns, self._player_ns = self._player_ns, None
      sent += self._send(time_ns, again=self.down)
    return sent

  def send_again(self, time_ns: int) -> list[Message]:
    """The instrument may have missed something."""
    return self._send(time_ns, again=True)

  def drain_withheld(self, time_ns: int) -> list[Message]:
    """The player's last message while the model's pedal was down."""
    data, self._withheld = self._withheld, None
    return [] if data is None else [Message(time_ns, data)]

  def drop(self) -> None:
    """The model's is up, and nothing is sent."""
    self.down, self._up_ns, self._player_ns = False, None, None
    self._sent = 0

  def drain_lifted(self) -> list[int]:
    """When the model's came up by itself since the last call."""
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
