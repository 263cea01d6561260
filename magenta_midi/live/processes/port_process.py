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
import threading
import time
from collections.abc import Sequence
from typing import Literal

from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.echo import EchoDetector
from magenta_midi.live.io.port_scan import PortWatch
from magenta_midi.live.io.reconnecting import (
  ReconnectingInput,
  ReconnectingOutput,
)
from magenta_midi.live.io.rtmidi import RtMidiBackend
from magenta_midi.live.performer.comp import Comp, comp_channel
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.processes.input_path import InputPath
from magenta_midi.live.processes.output_path import OutputPath
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.protocol.events import Message, is_note_on
from magenta_midi.live.protocol.messages import (
  PlayerInput,
  PortChanged,
  PortReport,
  PortRequest,
  PortsFailed,
  PortsReady,
  Quit,
  SetBars,
  SetComp,
  Silence,
  decode,
  encode,
  shortened,
)
from magenta_midi.live.timing.bars import Bars, click_messages
from magenta_midi.live.timing.chart_position import live_chart
from magenta_midi.live.timing.midi_clock import ClockSender
from magenta_midi.midi.harmony.comping import CompHit, comp_hits

__all__ = ["PortConfig", "run_ports"]

# Sleeping is exact to about so much; the rest is spun away.
SPIN_NS = 300_000
# JACK stands still for 5 s where a client of its graph does not answer. So
# long, and some time more, the last messages wait until it takes them, s.
STILL_S = 6.0
# Inputs are looked at so often.
POLL_NS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortConfig:
  """Ports, and settings for playing on them.

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
    quarters: Length of a beat in quarter notes, for the clock.
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
  quarters: float = 1.0
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
    self.echo = EchoDetector()
    self.input = InputPath(
      config.calibration, self.performer, self.echo, self.rings, self.report
    )
    self.output = OutputPath(
      self.performer, self.echo, self.rings, self.report, lambda: self.now_ns()
    )
    self.running = True
    self._watch: PortWatch | None = None
    self._backend: RtMidiBackend | None = None
    self.inputs: list[
      tuple[Literal["player", "control"], ReconnectingInput]
    ] = []
    self._clicks: list[Message] = []
    self._bars: Bars | None = None
    self._clicked_ns = 0
    self._clock: ClockSender | None = None
    self.comp = Comp(comp_channel(config.channel))
    # Its chart as text; and what was made of one, from another thread.
    self._chart = ""
    self._voiced: tuple[str, Sequence[CompHit], int] | None = None

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
        self.input.thru = ReconnectingOutput(backend, config.thru, watch)
      if not config.sound and not config.no_output:
        self.output.port = ReconnectingOutput(backend, config.output, watch)
    if config.sound:
      from magenta_midi.live.io.sound import open_sound

      self.output.port = open_sound()
      if self.input.thru is None:
        self.input.thru = self.output.port

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
      # Before anything new: what was late is not taken for timely.
      self.output.tick(now_ns)
      self._read_inputs()
      self.output.handle_commands()
      self._handle_requests()
      self.output.send_due()
      self._keep_time()
      self.play_comp()
      self.output.send_feedback()
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
          self.input.receive_control(message)
        else:
          self._receive(message)

  def _receive(self, message: Message) -> None:
    self.input.receive(message)
    self.comp.receive(message)

  def _handle_requests(self) -> None:
    for packed in self.rings["port_requests"].drain():
      self._handle(decode(packed))

  def _handle(self, request: PortRequest) -> None:
    match request:
      case PlayerInput(data=data, time_ns=time_ns):
        self._receive(Message(time_ns or self.now_ns(), data))
      case SetBars(bpm=bpm, beats_per_bar=beats, start_ns=start_ns):
        self._set_bars(Bars(bpm, beats, start_ns))
      case SetComp():
        self._set_comp(request)
      case Silence():
        self.output.silence()
        self._silence_comp()
      case Quit():
        self.running = False

  def _set_bars(self, bars: Bars) -> None:
    """The metronome's tempo, count-in first, and the clock's."""
    now_ns = self.now_ns()
    first_ns = bars.count_in_ns() if self._bars is None else now_ns
    self._bars = bars
    # Of clicks that are planned, only their ends are still right.
    self._clicks = [m for m in self._clicks if not is_note_on(m.data)]
    self._clicked_ns = max(first_ns, now_ns)
    self.comp.set_bars(bars, now_ns)
    if not self.config.clock_out:
      return
    if self._clock is None:
      self._clock = ClockSender(bars, self.config.quarters)
      self._clock.start(now_ns)
    else:
      self._clock.retime(bars, now_ns)

  def _set_comp(self, request: SetComp) -> None:
    """Another chart, or on, off and loudness."""
    comp = self.comp
    comp.loudness = request.loudness
    comp.switch(request.on, self.now_ns())
    if request.chords == self._chart:
      return
    self._chart = request.chords
    # Reading and voicing a long chart takes longer than a note may wait.
    threading.Thread(
      target=self._voice_chart,
      args=(request.chords,),
      name="chart",
      daemon=True,
    ).start()

  def _voice_chart(self, text: str) -> None:
    hits: Sequence[CompHit] = ()
    beats = 1
    with contextlib.suppress(ValueError):
      chart = live_chart(text)
      if chart is not None:
        hits, beats = comp_hits(chart), chart.beats
    self._voiced = (text, hits, beats)

  def play_comp(self) -> None:
    """What is due of the chart."""
    voiced, self._voiced = self._voiced, None
    if voiced is not None and voiced[0] == self._chart:
      self.comp.set_chart(*voiced[1:], self.now_ns())
    now_ns = self.now_ns()
    due_ns = self.comp.next_due_ns()
    if due_ns is not None and due_ns <= now_ns:
      self.output.send_comp(self.comp.due(now_ns))

  def _silence_comp(self) -> None:
    self.output.send_comp(self.comp.silence(self.now_ns()))

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
    if self.output.port is not None:
      self.output.port.send(data)

  def _check(self, now_ns: int) -> None:
    """A few times a second: ports, the model, the parent."""
    self.output.watch_model(now_ns)
    for role, port in self.inputs:
      for event in port.take_events():
        self.report(PortChanged(port=event.name, state=event.kind, role=role))
        if event.kind == "lost" and role == "player":
          self.input.lift_all(now_ns)
    if isinstance(self.output.port, ReconnectingOutput):
      for event in self.output.port.take_events():
        self.report(
          PortChanged(port=event.name, state=event.kind, role="output")
        )
        if event.kind == "lost":
          self.performer.lost(now_ns)
          self.output.send_comp(self.comp.lost(now_ns))
        else:
          self.performer.back(now_ns)
          self.comp.back()
    waited = sum(port.dropped for _, port in self.inputs)
    self.report(self.output.take_state(waited + self.input.dropped))
    if self.config.parent and os.getppid() != self.config.parent:
      self.running = False

  def _wait(self) -> None:
    now_ns = self.now_ns()
    times = (self.performer.next_due_ns(), self.comp.next_due_ns())
    due_ns = min((time for time in times if time is not None), default=None)
    until = now_ns + POLL_NS
    if due_ns is not None:
      until = min(until, max(due_ns, now_ns))
    left = until - now_ns
    if left > SPIN_NS:
      time.sleep((left - SPIN_NS) / 1e9)
    if due_ns is not None and due_ns <= until:
      while self.now_ns() < due_ns:
        pass

  def _settle(self) -> bool:
    return self._backend is None or self._backend.settle(STILL_S)

  def close(self) -> None:
    """Ends every note of the model, then closes the ports.

    Where the system of ports stands still, the last messages wait for it as
    long as JACK waits for a client, and the ports with them.
    """
    settled = True
    if self._clock is not None:
      now_ns = self.now_ns()
      self._clock.close(now_ns)
      with contextlib.suppress(Exception):
        for message in self._clock.due(now_ns):
          self._put(message.data)
    with contextlib.suppress(Exception):
      self._silence_comp()
    with contextlib.suppress(Exception):
      for click in self._clicks:
        if not is_note_on(click.data):
          self._put(click.data)
    with contextlib.suppress(Exception):
      settled = self.output.close(self._settle)
    inputs = [port for _, port in self.inputs]
    for port in (*inputs, self.input.thru, self.output.port):
      with contextlib.suppress(Exception):
        if settled or not isinstance(
          port, ReconnectingInput | ReconnectingOutput
        ):
          if port is not None:
            port.close()
        else:
          port.abandon()
    if self._watch is not None:
      self._watch.close()
    if self._backend is not None and settled:
      self._backend.close()
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
        output=getattr(ports.output.port, "name", ""),
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
