"""MIDI ports that exist in memory only, plugged and played by a test."""

from magenta_midi.live.io.port_scan import PortList
from magenta_midi.live.io.rtmidi import PortError
from magenta_midi.midi.io.messages import control_change, note_off, note_on

__all__ = ["FakeBackend", "FakeInput", "FakeOutput"]


class FakeInput:
  """An `InputPort` to which a test plays."""

  def __init__(self, name: str = "Fake Piano"):
    self.name = name
    self.alive = True
    self.dropped = 0
    self._queue: list[tuple[int, bytes]] = []

  def inject(self, time_ns: int, data: bytes) -> None:
    """A message comes; after the port was lost nothing does."""
    if self.alive:
      self._queue.append((time_ns, data))

  def press(
    self,
    time_ns: int,
    key: int,
    velocity: int = 64,
    *,
    duration_ns: int | None = None,
    channel: int = 1,
  ) -> None:
    """A key goes down and, if a duration is given, comes up after it."""
    self.inject(time_ns, note_on(channel, key, velocity))
    if duration_ns is not None:
      self.release(time_ns + duration_ns, key, channel=channel)

  def release(self, time_ns: int, key: int, *, channel: int = 1) -> None:
    """A key comes up."""
    self.inject(time_ns, note_off(channel, key))

  def pedal(self, time_ns: int, value: int, *, channel: int = 1) -> None:
    """The sustain pedal moves, 0 to 127."""
    self.inject(time_ns, control_change(channel, 64, value))

  def poll(self, now_ns: int | None = None) -> list[tuple[int, bytes]]:
    """Messages since the last call.

    Args:
      now_ns: What is later stays for another time; None: everything.
    """
    due = [m for m in self._queue if now_ns is None or m[0] <= now_ns]
    self._queue = [m for m in self._queue if m not in due]
    return sorted(due, key=lambda message: message[0])

  def close(self) -> None:
    """Nothing comes any more."""
    self.alive = False

  def abandon(self) -> None:
    """Likewise."""
    self.close()


class FakeOutput:
  """An `OutputPort` that remembers.

  Attributes:
    sent: Every message that went out, oldest first.
    blocked: Whether it takes nothing more, though it is there.
  """

  def __init__(self, name: str = "Fake Synth"):
    self.name = name
    self.alive = True
    self.blocked = False
    self.sent: list[bytes] = []
    self.confirmed = 0

  def send(self, data: bytes) -> bool:
    """Remembers a message; False where the port is lost or blocked."""
    if self.blocked or not self.alive:
      return False
    self.sent.append(data)
    return True

  def confirm(self) -> None:
    """Counts signs of life."""
    self.confirmed += 1

  def close(self) -> None:
    """Takes nothing any more."""
    self.alive = False

  def abandon(self) -> None:
    """Likewise."""
    self.close()


class FakeBackend:
  """A `Backend` and, in one, the `Watch` of its ports.

  The last port opened under a name, or made under a label, is found in
  `opened_inputs` and `opened_outputs`.

  Args:
    inputs: Names of what can be read.
    outputs: Names of what can be played to.
  """

  api = "fake"

  def __init__(
    self,
    inputs: tuple[str, ...] = ("Fake Piano",),
    outputs: tuple[str, ...] = ("Fake Synth",),
  ):
    self.opened_inputs: dict[str, FakeInput] = {}
    self.opened_outputs: dict[str, FakeOutput] = {}
    self.count = 0
    self._inputs = list(inputs)
    self._outputs = list(outputs)
    self._running = True

  @property
  def latest(self) -> PortList | None:
    """Result of a scan now; None before the first."""
    if not self.count:
      return None
    if not self._running:
      return PortList((), (), "", "no MIDI system answers")
    return PortList(tuple(self._inputs), tuple(self._outputs), self.api)

  def scan(self) -> None:
    """Looks once more, as the watch does once a second."""
    self.count += 1

  def unplug(self, name: str) -> None:
    """A device disappears and is missed by the next scan."""
    self._inputs = [n for n in self._inputs if n != name]
    self._outputs = [n for n in self._outputs if n != name]
    for opened in (self.opened_inputs, self.opened_outputs):
      if name in opened:
        opened[name].alive = False
    self.scan()

  def plug_input(self, name: str) -> None:
    """A keyboard appears and is seen."""
    self._inputs.append(name)
    self.scan()

  def plug_output(self, name: str) -> None:
    """An instrument appears and is seen."""
    self._outputs.append(name)
    self.scan()

  def stop(self) -> None:
    """The system of ports dies, with every port."""
    self._running = False
    for port in (*self.opened_inputs.values(), *self.opened_outputs.values()):
      port.alive = False
    self.scan()

  def start(self) -> None:
    """The system of ports is there again."""
    self._running = True
    self.scan()

  def inputs(self) -> tuple[str, ...]:
    """Names of what can be read."""
    return tuple(self._inputs) if self._running else ()

  def outputs(self) -> tuple[str, ...]:
    """Names of what can be played to."""
    return tuple(self._outputs) if self._running else ()

  def open_input(self, name: str) -> FakeInput:
    """Opens one of `inputs`."""
    if name not in self.inputs():
      raise PortError(f"the port {name} is gone")
    return self.open_virtual_input(name)

  def open_output(self, name: str) -> FakeOutput:
    """Opens one of `outputs`."""
    if name not in self.outputs():
      raise PortError(f"the port {name} is gone")
    return self.open_virtual_output(name)

  def open_virtual_input(self, label: str) -> FakeInput:
    """Makes an input of any name."""
    self.opened_inputs[label] = FakeInput(label)
    return self.opened_inputs[label]

  def open_virtual_output(self, label: str) -> FakeOutput:
    """Makes an output of any name."""
    self.opened_outputs[label] = FakeOutput(label)
    return self.opened_outputs[label]
