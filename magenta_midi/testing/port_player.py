"""Test player: the other end of a session's real ports."""

import time
from collections.abc import Callable

from magenta_midi.live.io.rtmidi import (
  BackendInput,
  BackendOutput,
  RtMidiBackend,
)
from magenta_midi.live.protocol.events import (
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.io.messages import note_off, note_on

__all__ = ["PortPlayer", "wait_until"]


def wait_until(
  condition: Callable[[], object], timeout_s: float | int = 30
) -> None:
  """Waits for what another process does.

  Raises:
    TimeoutError: It never does.
  """
  end = time.monotonic() + timeout_s
  while not condition():
    if time.monotonic() > end:
      raise TimeoutError(f"it did not come within {timeout_s:g} s")
    time.sleep(0.005)


class PortPlayer:
  """Plays to the virtual ports of a duet and records what comes out.

  Attributes:
    received: What came out, stamped by `time.perf_counter_ns`.
  """

  def __init__(self) -> None:
    self.backend = RtMidiBackend()
    self.received: list[Message] = []
    self._keys: BackendOutput | None = None
    self._synth: BackendInput | None = None

  def connect(self, *, keys: bool = True, synth: bool = True) -> None:
    """Waits for the duet's ports, `in` and `out`, and takes them.

    Raises:
      TimeoutError: They do not come.
    """

    def found(names: tuple[str, ...], end: str) -> list[str]:
      return [name for name in names if name.endswith(f":{end}")]

    # Both are looked for before our own ends of the cables are listed too.
    inputs = outputs = [""]
    if keys:
      wait_until(lambda: found(self.backend.outputs(), "in"))
      outputs = found(self.backend.outputs(), "in")
    if synth:
      wait_until(lambda: found(self.backend.inputs(), "out"))
      inputs = found(self.backend.inputs(), "out")
    if keys:
      self._keys = self.backend.open_output(outputs[0])
    if synth:
      self._synth = self.backend.open_input(inputs[0])

  def make_keyboard(self, label: str = "keys") -> None:
    """A keyboard that a duet can name as its input."""
    self._keys = self.backend.open_virtual_output(label)

  def unplug(self) -> None:
    """Takes the keyboard away."""
    keys, self._keys = self._keys, None
    if keys is not None:
      keys.close()

  def send(self, data: bytes) -> None:
    """One message of the keyboard."""
    if self._keys is None:
      raise ValueError("there is no keyboard: connect or make one first.")
    self._keys.send(data)

  def play(
    self, count: int = 8, gap_s: float = 0.2, *, low: int = 60
  ) -> list[int]:
    """A scale, in real time; returns when each key went down."""
    times = []
    for index in range(count):
      key = low + (0, 2, 4, 5, 7, 9, 11)[index % 7]
      times.append(time.perf_counter_ns())
      self.send(note_on(1, key, 72))
      self.rest(0.8 * gap_s)
      self.send(note_off(1, key))
      self.rest(0.2 * gap_s)
    return times

  def rest(self, seconds: float | int) -> None:
    """Listens for so long."""
    end = time.monotonic() + seconds
    while True:
      self.listen()
      left = end - time.monotonic()
      if left <= 0:
        return
      time.sleep(min(left, 0.005))

  def listen(self) -> int:
    """Takes the messages that came; returns how many there are."""
    if self._synth is not None:
      self.received += [Message(*got) for got in self._synth.poll()]
    return len(self.received)

  @property
  def onsets(self) -> list[Message]:
    """Notes that began."""
    self.listen()
    return [message for message in self.received if is_note_on(message.data)]

  @property
  def sounding(self) -> set[tuple[int, int]]:
    """Status and key of what began and did not end."""
    self.listen()
    down: set[tuple[int, int]] = set()
    for _, data in self.received:
      if is_note_on(data):
        down.add((data[0] & 15, data[1]))
      elif is_note_off(data):
        down.discard((data[0] & 15, data[1]))
    return down

  @property
  def pedal_down(self) -> bool:
    """Whether the pedal was left down."""
    self.listen()
    moves = [data[2] for _, data in self.received if is_sustain(data)]
    return bool(moves) and moves[-1] >= 64

  def close(self) -> None:
    """Leaves the ports."""
    self.unplug()
    synth, self._synth = self._synth, None
    if synth is not None:
      synth.close()
    self.backend.close()
