"""Output path: the model's commands, from its process to the output port.

The newest plan lies in the performer; each note is sent when it is due.
"""

from collections.abc import Callable, Mapping
from typing import Any

from magenta_midi.live.io.echo import EchoDetector
from magenta_midi.live.io.reconnecting import ReconnectingOutput
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import (
  pack_message,
  pack_sounded,
  unpack_command,
)
from magenta_midi.live.protocol.events import Message, is_note_off, is_note_on
from magenta_midi.live.protocol.messages import (
  MessageUnsent,
  PlanReceived,
  PortReport,
  PortsState,
)

__all__ = ["OutputPath"]

# The age of the plan is sampled so often; at most so many samples wait.
TICK_NS, MAX_TICKS = 125_000_000, 40
# Of a state's report.
MAX_LATE = 60
# Controllers that end something at 0: pedal, all sound off, all notes off.
ENDING = (64, 120, 123)


def _ends(data: bytes) -> bool:
  """Whether a message ends notes or lifts a pedal."""
  if is_note_off(data):
    return True
  return data[0] >> 4 == 0xB and data[1] in ENDING and data[2] == 0


class OutputPath:
  """Commands, the plan, and what is sent of it.

  Attributes:
    port: Where notes are sent: an output port or a synthesizer; None: nowhere.
  """

  def __init__(
    self,
    performer: Performer,
    echo: EchoDetector,
    rings: Mapping[str, Ring],
    report: Callable[[PortReport], None],
    now_ns: Callable[[], int],
  ):
    """Joins the parts.

    Args:
      performer: Keeps the plan.
      echo: Is given what is sent.
      rings: `commands` is read; `sent`, `comp` and `feedback` are written to.
      report: Sends a report to the application.
      now_ns: The session's time.
    """
    self.port: Any = None
    self._performer = performer
    self._echo = echo
    self._rings = rings
    self._report = report
    self._now_ns = now_ns
    self._heartbeat_ns = 0
    self._late_ns: list[int] = []
    # Messages that end something and that the port did not take yet.
    self._refused: list[bytes] = []
    self._planned_ns: int | None = None
    self._tick_ns = 0
    self._ticks: list[tuple[int, int, bool]] = []

  def handle_commands(self) -> None:
    """Takes every command of the model that waits."""
    performer = self._performer
    for packed in self._rings["commands"].drain():
      self._heartbeat_ns = self._now_ns()
      command = unpack_command(packed)
      match command.kind:
        case "plan":
          performer.plan(command.from_ns, command.events)
          self._planned_ns = now_ns = self._now_ns()
          for time_ns in command.reacts_to:
            self._report(
              PlanReceived(
                compute_ns=now_ns - time_ns, now_ns=now_ns, why=command.why
              )
            )
        case "release":
          performer.release(
            self._now_ns(), within_ns=command.within_ns, keys=command.keys
          )
        case "end":
          performer.end(self._now_ns())
        case "panic":
          self.silence()

  def send_due(self) -> None:
    """Sends the notes that are due."""
    self._send_refused()
    now_ns = self._now_ns()
    due_ns = self._performer.next_due_ns()
    if due_ns is None or due_ns > now_ns:
      return
    self._send(self._performer.due(now_ns))

  def _send_refused(self) -> None:
    """Ends what a port that stood still, or was lost then, left sounding."""
    while self._refused and self.port.send(self._refused[0]):
      del self._refused[0]

  def silence(self) -> None:
    """Every note of the model ends now."""
    self._send(self._performer.panic(self._now_ns()))

  def close(self, settle: Callable[[], bool]) -> bool:
    """Ends every note, for good.

    Args:
      settle: Waits until the port has handed on what it took; False: its
        system stands still, or has ended.

    Returns:
      The last answer of `settle`.
    """
    self._send(self._performer.close(self._now_ns()))
    self.send_feedback()
    settled = settle()
    if settled and self._refused:
      # It stood still before, and takes more now.
      if isinstance(self.port, ReconnectingOutput):
        self.port.confirm()
      self._send_refused()
      settled = settle()
    return settled

  def _send(self, messages: list[Message]) -> None:
    for message in messages:
      if self.port is not None and not self._take(message.data):
        self._report(MessageUnsent(data=message.data))
      now_ns = self._now_ns()
      if is_note_on(message.data):
        self._late_ns.append(now_ns - message.time_ns)
      self._echo.sent(Message(now_ns, message.data))
      self._rings["sent"].put(pack_message(Message(now_ns, message.data)))

  def send_comp(self, messages: list[Message]) -> None:
    """Sends notes of the comp; the model does not hear them."""
    for message in messages:
      if self.port is not None:
        self._take(message.data)
      now_ns = self._now_ns()
      self._echo.sent(Message(now_ns, message.data))
      self._rings["comp"].put(pack_message(Message(now_ns, message.data)))

  def _take(self, data: bytes) -> bool:
    """Whether the port takes a message; one that ends something waits."""
    if not self._refused and self.port.send(data):
      return True
    if getattr(self.port, "alive", True) and _ends(data):
      self._refused.append(data)
    return False

  def send_feedback(self) -> None:
    """Reports to the model what became of its notes."""
    for sounded in self._performer.feedback():
      self._rings["feedback"].put(pack_sounded(sounded))

  def tick(self, now_ns: int) -> None:
    """Samples the plan's age, and whether anything sounds or will."""
    if now_ns < self._tick_ns:
      return
    plays = self._performer.next_due_ns() is not None
    # Of a time that was slept through, a few samples are enough.
    min_ns = now_ns - MAX_TICKS * TICK_NS
    self._tick_ns = max(self._tick_ns or now_ns, min_ns)
    while self._tick_ns <= now_ns:
      if self._planned_ns is not None:
        at_ns = self._tick_ns
        self._ticks.append((at_ns, max(0, at_ns - self._planned_ns), plays))
      self._tick_ns += TICK_NS
    del self._ticks[:-MAX_TICKS]

  def watch_model(self, now_ns: int) -> None:
    """Lets the plan end where the model has been silent for long."""
    self._performer.watchdog(now_ns, self._heartbeat_ns)

  def take_state(self, dropped: int) -> PortsState:
    """The figures since the last call.

    Args:
      dropped: Messages of the player that were lost so far.
    """
    late, self._late_ns = self._late_ns, []
    ticks, self._ticks = self._ticks, []
    return PortsState(
      late_ns=late[:MAX_LATE],
      clips=dict(self._performer.clips),
      dropped=dropped,
      ticks=ticks,
    )
