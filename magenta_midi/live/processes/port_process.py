"""Process of the ports: MIDI in and out, and the plan that is played.

It imports neither JAX nor the model, so nothing in it takes long. If the
model's process is late or gone, the newest plan plays out.
"""

import contextlib
import dataclasses
import gc
import os
import signal
import sys
import time
from typing import Any, Literal

from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.echo import EchoDetector
from magenta_midi.live.io.port_scan import PortWatch
from magenta_midi.live.io.reconnecting import (
  ReconnectingInput,
  ReconnectingOutput,
)
from magenta_midi.live.io.rtmidi import OutputPort, RtMidiBackend
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import (
  pack_message,
  pack_sounded,
  unpack_command,
)
from magenta_midi.live.protocol.events import Message, is_note_on, is_sustain
from magenta_midi.live.protocol.messages import (
  EchoFound,
  MessageUnsent,
  PlanReceived,
  PlayerInput,
  PortChanged,
  PortReport,
  PortRequest,
  PortsFailed,
  PortsReady,
  PortsState,
  Quit,
  SetBars,
  Silence,
  decode,
  encode,
  shortened,
)
from magenta_midi.live.timing.bars import Bars, click_messages
from magenta_midi.live.timing.midi_clock import ClockSender

__all__ = ["PortConfig", "RingNames", "run_ports"]

# Sleeping is exact to about so much; the rest is spun away.
SPIN_NS = 300_000
# Inputs are looked at so often.
POLL_NS = 1_000_000
# A model that sends nothing for so long is not waited for.
SILENT_NS = 1_500_000_000
# How things stand is noted so often, and of so many times at most.
TICK_NS, MAX_TICKS = 125_000_000, 40


class RingNames(dict[str, str]):
  """Names of the rings between the processes.

  The model's process gets `to_model`, `feedback` and `model_requests`, and
  sends `commands` and `model_reports`. The ports' process gets `commands` and
  `port_requests`; the application gets from it the player's messages,
  `received`, the model's, `sent`, those of the second controller, `control`,
  and `port_reports`.
  """


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortConfig:
  """Which ports, and how they are played.

  Attributes:
    api: The system of ports.
    input: The keyboard's port, or a part of its name; None: a virtual one.
    output: The instrument's; None: a virtual one.
    thru: A port that the keyboard is passed on to.
    control: A second controller.
    channel: The model's, 1 to 16.
    shared: Whether player and model play one instrument.
    sound: Play through a built-in synthesizer instead of `output`.
    metronome: Click once there is a tempo.
    clock_out: Send MIDI clock, likewise.
    no_input: No keyboard: the application plays in.
    no_output: Nothing is sent to any port.
    t0_ns: `perf_counter_ns` at the session's time 0.
    calibration: Of the keyboard: its touch, its pedal's polarity and
      half-pedal point.
    parent: Process that this one must not outlive.
  """

  api: str | None = None
  input: str | None = None
  output: str | None = None
  thru: str | None = None
  control: str | None = None
  channel: int = 2
  shared: bool = False
  sound: bool = False
  metronome: bool = False
  clock_out: bool = False
  no_input: bool = False
  no_output: bool = False
  calibration: Calibration = dataclasses.field(default_factory=Calibration)
  t0_ns: int = 0
  parent: int = 0


class _Ports:
  """The loop's state."""

  def __init__(self, config: PortConfig, rings: dict[str, str]):
    self.config = config
    self.rings = {name: Ring.attach(value) for name, value in rings.items()}
    self.performer = Performer(
      limits=Limits(), channel=config.channel, shared=config.shared
    )
    self._velocities = [
      config.calibration.usual_velocity(velocity) for velocity in range(128)
    ]
    self.echo = EchoDetector()
    self.running = True
    self._heartbeat_ns = 0
    self._late_ns: list[int] = []
    self._planned_ns: int | None = None
    self._tick_ns = 0
    self._ticks: list[tuple[int, int, bool]] = []
    self._watch: PortWatch | None = None
    self._backend: RtMidiBackend | None = None
    self.inputs: list[
      tuple[Literal["player", "control"], ReconnectingInput]
    ] = []
    self.output: Any = None
    self.thru: OutputPort | None = None
    self._clicks: list[Message] = []
    self._bars: Bars | None = None
    self._clicked_ns = 0
    self._clock: ClockSender | None = None

  def open(self) -> None:
    """Opens what the configuration names.

    Raises:
      ValueError: A name matches no port or several.
      OSError: A port cannot be opened.
    """
    config = self.config
    needs_ports = not (config.no_input and (config.sound or config.no_output))
    if needs_ports:
      backend = self._backend = RtMidiBackend(config.api)
      watch = self._watch = PortWatch(api=backend.api)
      if not config.no_input:
        self.inputs.append(
          ("player", ReconnectingInput(backend, config.input, watch))
        )
      if config.control:
        self.inputs.append(
          ("control", ReconnectingInput(backend, config.control, watch))
        )
      if config.thru:
        self.thru = ReconnectingOutput(backend, config.thru, watch)
      if not config.sound and not config.no_output:
        self.output = ReconnectingOutput(backend, config.output, watch)
    if config.sound:
      from magenta_midi.live.io.sound import open_sound

      self.output = open_sound()
      if self.thru is None:
        self.thru = self.output

  def report(self, report: PortReport) -> None:
    """Sends a report to the application."""
    self.rings["port_reports"].put(encode(report))

  def now_ns(self) -> int:
    return time.perf_counter_ns() - self.config.t0_ns

  def run(self) -> None:
    """Until asked to end."""
    checked_ns = 0
    while self.running:
      now_ns = self.now_ns()
      if now_ns >= self._tick_ns:
        # Before anything new: what was late is not taken for timely.
        self._tick(now_ns)
      self._read_inputs()
      self._handle_commands()
      self._handle_requests()
      self._send_due()
      self._keep_time()
      self._send_feedback()
      if now_ns - checked_ns > 200_000_000:
        checked_ns = now_ns
        self._check(now_ns)
      self._wait()

  def _read_inputs(self) -> None:
    t0_ns = self.config.t0_ns
    for role, port in self.inputs:
      for stamp_ns, data in port.poll():
        message = Message(stamp_ns - t0_ns, data)
        if role == "control":
          self.rings["control"].put(pack_message(message))
          continue
        self.receive(message)

  def receive(self, message: Message) -> None:
    """One message of the player."""
    if self.echo.is_echo(message):
      if named := self.echo.named:
        self.report(EchoFound(description=shortened(named)))
      for key in self.echo.drain_let_through():
        self._pass_on(Message(message.time_ns, bytes((0x80, key, 64))))
      return
    self._pass_on(message)

  def _pass_on(self, message: Message) -> None:
    """Sends the player's message to performer, model and application."""
    raw = message.data
    if is_sustain(raw):
      down = self.config.calibration.pedal_is_down(raw[2])
      data = bytes((raw[0], raw[1], 127 * down))
      message = message._replace(data=data)
    elif is_note_on(raw):
      data = bytes((raw[0], raw[1], self._velocities[raw[2]]))
      message = message._replace(data=data)
    self.performer.receive(message)
    if self.thru is not None and (passed := self.performer.through(raw)):
      self.thru.send(passed)
    packed = pack_message(message)
    self.rings["to_model"].put(packed)
    self.rings["received"].put(packed)

  def _handle_commands(self) -> None:
    performer = self.performer
    for packed in self.rings["commands"].drain():
      self._heartbeat_ns = self.now_ns()
      command = unpack_command(packed)
      match command.kind:
        case "plan":
          performer.plan(command.from_ns, command.events)
          self._planned_ns = now_ns = self.now_ns()
          for time_ns in command.reacts_to:
            self.report(
              PlanReceived(
                compute_ns=now_ns - time_ns, now_ns=now_ns, why=command.why
              )
            )
        case "release":
          performer.release(
            self.now_ns(), within_ns=command.within_ns, keys=command.keys
          )
        case "end":
          performer.end(self.now_ns())
        case "panic":
          self._emit(performer.panic(self.now_ns()))

  def _handle_requests(self) -> None:
    for packed in self.rings["port_requests"].drain():
      self._handle(decode(packed))

  def _handle(self, request: PortRequest) -> None:
    match request:
      case PlayerInput(data=data, time_ns=time_ns):
        self.receive(Message(time_ns or self.now_ns(), data))
      case SetBars(bpm=bpm, beats_per_bar=beats, start_ns=start_ns):
        self._set_bars(Bars(bpm, beats, start_ns))
      case Silence():
        self._emit(self.performer.panic(self.now_ns()))
      case Quit():
        self.running = False

  def _set_bars(self, bars: Bars) -> None:
    """The metronome's tempo, count-in first, and the clock's."""
    self._bars = bars
    self._clicked_ns = bars.count_in_ns()
    if self.config.clock_out:
      self._clock = ClockSender(bars)
      self._clock.start(self.now_ns())

  def _keep_time(self) -> None:
    """Clicks and clock that are due."""
    now_ns = self.now_ns()
    if self._bars is not None and self.config.metronome:
      # Half a second ahead: that many are looked through each time.
      ahead_ns = now_ns + 500_000_000
      if ahead_ns > self._clicked_ns:
        for click in self._bars.metronome(self._clicked_ns, ahead_ns):
          self._clicks += click_messages(click)
        self._clicks.sort()
        self._clicked_ns = ahead_ns
    while self._clicks and self._clicks[0].time_ns <= now_ns:
      self._put(self._clicks.pop(0).data)
    if self._clock is not None:
      for message in self._clock.due(now_ns):
        self._put(message.data)

  def _put(self, data: bytes) -> None:
    if self.output is not None:
      self.output.send(data)

  def _send_due(self) -> None:
    now_ns = self.now_ns()
    due_ns = self.performer.next_due_ns()
    if due_ns is None or due_ns > now_ns:
      return
    self._emit(self.performer.due(now_ns))

  def _emit(self, messages: list[Message]) -> None:
    for message in messages:
      if self.output is not None and not self.output.send(message.data):
        self.report(MessageUnsent(data=message.data))
      now_ns = self.now_ns()
      if is_note_on(message.data):
        self._late_ns.append(now_ns - message.time_ns)
      self.echo.sent(Message(now_ns, message.data))
      self.rings["sent"].put(pack_message(Message(now_ns, message.data)))

  def _send_feedback(self) -> None:
    for sounded in self.performer.feedback():
      self.rings["feedback"].put(pack_sounded(sounded))

  def _tick(self, now_ns: int) -> None:
    """Notes how old the plan is, and whether anything sounds or will."""
    plays = self.performer.next_due_ns() is not None
    # Of a time that was slept through, a few samples are enough.
    min_ns = now_ns - MAX_TICKS * TICK_NS
    self._tick_ns = max(self._tick_ns or now_ns, min_ns)
    while self._tick_ns <= now_ns:
      if self._planned_ns is not None:
        at_ns = self._tick_ns
        self._ticks.append((at_ns, max(0, at_ns - self._planned_ns), plays))
      self._tick_ns += TICK_NS
    del self._ticks[:-MAX_TICKS]

  def _check(self, now_ns: int) -> None:
    """A few times a second: ports, the model, the parent."""
    self.performer.watchdog(now_ns, self._heartbeat_ns)
    for role, port in self.inputs:
      for event in port.take_events():
        self.report(PortChanged(port=event.name, state=event.kind, role=role))
        if event.kind == "lost" and role == "player":
          self._lift_player(now_ns)
    if isinstance(self.output, ReconnectingOutput):
      for event in self.output.take_events():
        self.report(
          PortChanged(port=event.name, state=event.kind, role="output")
        )
        if event.kind == "lost":
          self.performer.lost(now_ns)
        else:
          self.performer.back(now_ns)
    late, self._late_ns = self._late_ns, []
    ticks, self._ticks = self._ticks, []
    self.report(
      PortsState(
        late_ns=late[:60],
        clips=dict(self.performer.clips),
        dropped=self._dropped(),
        ticks=ticks,
      )
    )
    if self.config.parent and os.getppid() != self.config.parent:
      self.running = False

  def _dropped(self) -> int:
    """Messages of the player that were lost because nobody took them."""
    waited = sum(port.dropped for _, port in self.inputs)
    return waited + sum(
      self.rings[name].dropped for name in ("received", "to_model", "control")
    )

  def _lift_player(self, now_ns: int) -> None:
    for key in self.performer.player_keys:
      self.receive(Message(now_ns, bytes((0x80, key, 64))))
    self.receive(Message(now_ns, bytes((0xB0, 64, 0))))

  def _wait(self) -> None:
    now_ns = self.now_ns()
    due_ns = self.performer.next_due_ns()
    until = now_ns + POLL_NS
    if due_ns is not None:
      until = min(until, max(due_ns, now_ns))
    left = until - now_ns
    if left > SPIN_NS:
      time.sleep((left - SPIN_NS) / 1e9)
    if due_ns is not None and due_ns <= until:
      while self.now_ns() < due_ns:
        pass

  def close(self) -> None:
    """Everything of ours falls silent, whatever happened."""
    with contextlib.suppress(Exception):
      self._emit(self.performer.close(self.now_ns()))
      self._send_feedback()
    for port in (*(p for _, p in self.inputs), self.thru, self.output):
      if port is not None:
        with contextlib.suppress(Exception):
          port.close()
    if self._watch is not None:
      self._watch.close()
    for ring in self.rings.values():
      ring.close()


def run_ports(config: PortConfig, rings: dict[str, str]) -> None:
  """The process's main function."""
  # Ctrl-C is the application's: it asks us to end.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  ports = _Ports(config, rings)

  def stop(number: int, frame: object) -> None:
    ports.running = False

  signal.signal(signal.SIGTERM, stop)
  try:
    try:
      ports.open()
    except (ValueError, OSError) as error:
      ports.report(PortsFailed(problem=shortened(error)))
      return
    with contextlib.suppress(OSError, AttributeError):
      os.nice(-5)
    # RtMidi stamps inputs in a thread of its own, which waits for ours.
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.disable()
    ports.report(
      PortsReady(
        inputs=[port.name for _, port in ports.inputs],
        output=getattr(ports.output, "name", ""),
      )
    )
    ports.run()
  except BaseException as error:
    problem = shortened(f"{type(error).__name__}: {error}")
    ports.report(PortsFailed(problem=problem))
    raise
  finally:
    ports.close()
    sys.stdout.flush()
