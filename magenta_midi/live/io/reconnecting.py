"""Ports that reconnect after they were unplugged.

Scanning is a `PortWatch`'s: these wrappers look at its last list whenever
they are used, and never wait. Taking a port up again is one call of the
driver, some milliseconds, once.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import (
  Generic,
  Literal,
  NamedTuple,
  Protocol,
  TypeVar,
  runtime_checkable,
)

from magenta_midi.live.io.port_names import display_names, find_port
from magenta_midi.live.io.port_scan import PortList
from magenta_midi.live.io.rtmidi import Backend, BackendInput, BackendOutput

__all__ = ["PortEvent", "ReconnectingInput", "ReconnectingOutput", "Watch"]

# A busy machine's JACK refuses a scan now and then while all ports live: the
# system of ports is dead after so many in a row.
DEAD_SCANS = 3

_P = TypeVar("_P", BackendInput, BackendOutput)


class PortEvent(NamedTuple):
  """A port was lost, or is back.

  On the loss of an input its held keys and pedal are to be lifted; on the
  return of an output, what should sound is to be sent again.

  Attributes:
    kind: `lost` or `back`.
    name: As a person reads it.
    is_input: Whether messages come from it.
  """

  kind: Literal["lost", "back"]
  name: str
  is_input: bool


@runtime_checkable
class Watch(Protocol):
  """Scans again and again: a `PortWatch`, or a fake of it."""

  @property
  def count(self) -> int:
    """Scans so far."""
    ...

  @property
  def latest(self) -> PortList | None:
    """Result of the last scan; None before the first."""
    ...


class _Reconnecting(Generic[_P]):
  """Common part of inputs and outputs."""

  _is_input: bool

  def __init__(
    self,
    wanted: str | None,
    names: Callable[[], Iterable[str]],
    open_port: Callable[[str], _P],
    watch: Watch,
  ):
    kind = "input port" if self._is_input else "output port"
    # Virtual ports are there as long as the system of ports is.
    self._virtual = wanted is None
    self._found = (
      "" if wanted is None else find_port(wanted, names(), kind=kind)
    )
    self._open = open_port
    self._watch = watch
    self._seen = watch.count
    self._refused = 0
    self._port: _P | None = open_port(self._found)
    # The watch may have scanned already, and not do so for a while.
    self._confirm(self._port)
    self._events: list[PortEvent] = []
    self._shown = display_names([self._port.name])[0]

  @property
  def name(self) -> str:
    """As a person reads it."""
    return self._shown

  @property
  def alive(self) -> bool:
    """Whether it is there."""
    return self._port is not None

  def take_events(self) -> list[PortEvent]:
    """Events of the port since the last call, oldest first."""
    self.check()
    events, self._events = self._events, []
    return events

  def check(self) -> None:
    """Looks at the last scan; call it often."""
    if self._watch.count == self._seen:
      return
    self._seen, ports = self._watch.count, self._watch.latest
    if ports is None or ports.hung:
      return
    self._refused = 0 if ports.api else self._refused + 1
    if 0 < self._refused < DEAD_SCANS:
      return
    name = self._present(ports)
    if self._port is not None:
      if name == self._found and self._port.alive:
        self._confirm(self._port)
        return
      self._lose(system_died=not ports.api)
      # Not at once: JACK may mix up a client that was just closed and one that
      # gets its number.
      return
    if name is not None:
      # Gone again, or not ready yet: the next scan will tell.
      with contextlib.suppress(OSError):
        self._port = self._open(name)
        self._found = name
        self._add_event("back")
        self._confirm(self._port)

  def _present(self, ports: PortList) -> str | None:
    """The port's present name; ALSA's numbers may be others now."""
    if self._virtual:
      return self._found if ports.api else None
    names = ports.inputs if self._is_input else ports.outputs
    if self._found in names:
      return self._found
    short = [display_names([name])[0] for name in names]
    before = display_names([self._found])[0]
    return names[short.index(before)] if before in short else None

  def _add_event(self, kind: Literal["lost", "back"]) -> None:
    self._events.append(PortEvent(kind, self._shown, self._is_input))

  def _lose(self, *, system_died: bool) -> None:
    port, self._port = self._port, None
    assert port is not None
    self._leave(port)
    if system_died:
      port.abandon()
    else:
      port.close()
    self._add_event("lost")

  def _leave(self, port: _P) -> None:
    """Takes what is left in a port."""

  def _confirm(self, port: _P) -> None:
    """Its system was seen to live."""

  def close(self) -> None:
    """Closes the port and stops waiting for it."""
    self._seen = self._watch.count
    port, self._port = self._port, None
    if port is not None:
      port.close()

  def abandon(self) -> None:
    """Instead of `close`, where the whole system of ports stands still."""
    self._seen = self._watch.count
    port, self._port = self._port, None
    if port is not None:
      port.abandon()


class ReconnectingInput(_Reconnecting[BackendInput]):
  """An `InputPort` that comes back."""

  _is_input = True

  def __init__(
    self,
    backend: Backend,
    wanted: str | None,
    watch: Watch,
    *,
    virtual: str = "in",
  ):
    """Opens it.

    Args:
      backend: Whose port.
      wanted: A unique part of its name; None: a virtual port.
      watch: Scans of the same system of ports.
      virtual: Label of the virtual port.

    Raises:
      ValueError: No port or several match.
      PortError: It cannot be opened.
    """
    self._left: list[tuple[int, bytes]] = []
    self._dropped = 0
    super().__init__(
      wanted,
      backend.inputs,
      lambda name: (
        backend.open_virtual_input(virtual)
        if wanted is None
        else backend.open_input(name)
      ),
      watch,
    )

  @property
  def dropped(self) -> int:
    """Messages lost because nobody fetched them."""
    return self._dropped + (self._port.dropped if self._port else 0)

  def poll(self) -> list[tuple[int, bytes]]:
    """Messages since the last call: time.perf_counter_ns(), message."""
    self.check()
    messages, self._left = self._left, []
    if self._port is not None:
      messages += self._port.poll()
    return messages

  def _leave(self, port: BackendInput) -> None:
    self._left += port.poll()
    self._dropped += port.dropped


class ReconnectingOutput(_Reconnecting[BackendOutput]):
  """An `OutputPort` that comes back."""

  _is_input = False

  def __init__(
    self,
    backend: Backend,
    wanted: str | None,
    watch: Watch,
    *,
    virtual: str = "out",
  ):
    """Opens it; see `ReconnectingInput`."""
    super().__init__(
      wanted,
      backend.outputs,
      lambda name: (
        backend.open_virtual_output(virtual)
        if wanted is None
        else backend.open_output(name)
      ),
      watch,
    )

  def send(self, data: bytes) -> bool:
    """Sends one message now; False: it was not sent. Never raises."""
    self.check()
    port = self._port
    if port is None:
      return False
    sent = port.send(data)
    if not sent and not port.alive:
      self._lose(system_died=False)
    return sent

  def confirm(self) -> None:
    """Its system was just seen to live: it takes more."""
    if self._port is not None:
      self._port.confirm()

  def _confirm(self, port: BackendOutput) -> None:
    port.confirm()
