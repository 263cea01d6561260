"""Input path: the player's messages, from the ports to model and application.

It drops the model's notes that come back in, calibrates velocity and pedal,
and passes the raw message on to the thru port.
"""

from collections.abc import Callable, Mapping

from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.echo import EchoDetector
from magenta_midi.live.io.rtmidi import OutputPort
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import pack_message
from magenta_midi.live.protocol.events import Message, is_note_on, is_sustain
from magenta_midi.live.protocol.messages import (
  EchoFound,
  PortReport,
  shortened,
)

__all__ = ["InputPath"]


class InputPath:
  """Path of each message of the player.

  Attributes:
    thru: The port that messages are passed on to; None: none.
  """

  def __init__(
    self,
    calibration: Calibration,
    performer: Performer,
    echo: EchoDetector,
    rings: Mapping[str, Ring],
    report: Callable[[PortReport], None],
  ):
    """Joins the parts.

    Args:
      calibration: Of the keyboard.
      performer: Receives each message: a shared key is the player's.
      echo: Knows what was sent.
      rings: `to_model`, `received` and `control` are written to.
      report: Sends a report to the application.
    """
    self.thru: OutputPort | None = None
    self._calibration = calibration
    self._velocities = [
      calibration.usual_velocity(velocity) for velocity in range(128)
    ]
    self._performer = performer
    self._echo = echo
    self._rings = rings
    self._report = report

  def receive_control(self, message: Message) -> None:
    """One message of the second controller: for the application only."""
    self._rings["control"].put(pack_message(message))

  def receive(self, message: Message) -> None:
    """One message of the player."""
    if self._echo.is_echo(message):
      if named := self._echo.named:
        self._report(EchoFound(description=shortened(named)))
      for key in self._echo.drain_let_through():
        self._pass_on(Message(message.time_ns, bytes((0x80, key, 64))))
      return
    self._pass_on(message)

  def _pass_on(self, message: Message) -> None:
    """Sends the player's message to performer, model and application."""
    raw = message.data
    if is_sustain(raw):
      down = self._calibration.pedal_is_down(raw[2])
      data = bytes((raw[0], raw[1], 127 * down))
      message = message._replace(data=data)
    elif is_note_on(raw):
      data = bytes((raw[0], raw[1], self._velocities[raw[2]]))
      message = message._replace(data=data)
    self._performer.receive(message)
    if self.thru is not None and (passed := self._performer.through(raw)):
      self.thru.send(passed)
    packed = pack_message(message)
    self._rings["to_model"].put(packed)
    self._rings["received"].put(packed)

  def lift_all(self, now_ns: int) -> None:
    """Every key and the pedal come up: the keyboard was unplugged."""
    for key in self._performer.player_keys:
      self.receive(Message(now_ns, bytes((0x80, key, 64))))
    self.receive(Message(now_ns, bytes((0xB0, 64, 0))))

  @property
  def dropped(self) -> int:
    """Messages that a full ring refused so far."""
    return sum(
      self._rings[name].dropped for name in ("received", "to_model", "control")
    )
