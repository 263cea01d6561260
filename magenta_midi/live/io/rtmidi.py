"""MIDI ports behind a small interface, and RtMidi behind that.

RtMidi speaks to ALSA, JACK, CoreMIDI and Windows' multimedia system. It is
imported when a backend is made.
"""

import collections
import contextlib
import ctypes
import gc
import importlib
import time
from typing import Any, Protocol, runtime_checkable

from magenta_midi.live.io.jack_client import JackClient
from magenta_midi.live.io.port_lister import AGAIN_S, APIS, compiled_apis
from magenta_midi.live.io.port_names import CLIENT_NAME, display_names
from magenta_midi.midi.io.messages import MessageParser

__all__ = [
  "Backend",
  "BackendInput",
  "BackendOutput",
  "InputPort",
  "OutputPort",
  "PortError",
  "RtMidiBackend",
  "RtMidiInput",
  "RtMidiOutput",
]

# Messages that wait to be fetched: a minute of very dense playing.
QUEUE_MESSAGES = 8192
# A callback that has begun has ended after so many turns of Python's lock that
# nobody else took, or so many in all; a turn, s; one that nobody took, s.
FREE_TURNS, TURNS = 5, 40
TURN_S, FREE_TURN_S = 0.001, 0.003
JACK_TRIES = 3
# RtMidi hands JACK's messages over in a ring of 16384 bytes and, once it is
# full, spins until there is room: for ever where the server stands still. So
# no more than this is sent between two signs of life.
_JACK_RING_BYTES = 12_000
_JACK_OVERHEAD_BYTES = 4  # beside each message in the ring


class PortError(OSError):
  """A port is not there, or is in use."""


@runtime_checkable
class InputPort(Protocol):
  """Source of messages."""

  @property
  def name(self) -> str:
    """As it was found."""
    ...

  @property
  def alive(self) -> bool:
    """Whether anything can still come."""
    ...

  @property
  def dropped(self) -> int:
    """Messages lost because nobody fetched them."""
    ...

  def poll(self) -> list[tuple[int, bytes]]:
    """New messages, without waiting: perf_counter_ns() at arrival, message."""
    ...

  def close(self) -> None:
    """Nothing comes any more."""
    ...


@runtime_checkable
class OutputPort(Protocol):
  """Destination of messages."""

  @property
  def name(self) -> str:
    """As it was found."""
    ...

  @property
  def alive(self) -> bool:
    """Whether the port is there, as far as is known."""
    ...

  def send(self, data: bytes) -> bool:
    """Sends one message now; False: it was not sent. Never raises."""
    ...

  def close(self) -> None:
    """Nothing is sent any more."""
    ...


@runtime_checkable
class BackendInput(InputPort, Protocol):
  """An input as a backend opens it."""

  def abandon(self) -> None:
    """Instead of `close`, where the whole system of ports died."""
    ...


@runtime_checkable
class BackendOutput(OutputPort, Protocol):
  """An output as a backend opens it."""

  def abandon(self) -> None:
    """Instead of `close`, where the whole system of ports died."""
    ...

  def confirm(self) -> None:
    """Tells the port that its system was just seen to live."""
    ...


@runtime_checkable
class Backend(Protocol):
  """A system of MIDI ports."""

  def inputs(self) -> tuple[str, ...]:
    """Names of what can be read."""
    ...

  def outputs(self) -> tuple[str, ...]:
    """Names of what can be played to."""
    ...

  def open_input(self, name: str) -> BackendInput:
    """Opens one of `inputs`; raises `PortError` where it is gone."""
    ...

  def open_output(self, name: str) -> BackendOutput:
    """Opens one of `outputs`; raises `PortError` where it is gone."""
    ...

  def open_virtual_input(self, label: str) -> BackendInput:
    """Makes an input that other programs can play to."""
    ...

  def open_virtual_output(self, label: str) -> BackendOutput:
    """Makes an output that other programs can read."""
    ...


def _discard(client: Any) -> None:
  with contextlib.suppress(Exception):
    client.close_port()
  # Virtual ports go with their client only.
  with contextlib.suppress(Exception):
    client.delete()


def _let_callbacks_end() -> None:
  """Lets RtMidi's threads have Python's lock, by turns.

  Closing a client holds the lock and ends its thread. A thread that was about
  to take the lock would be waited for without end (ALSA), or would end with the
  lock half taken, after which nothing runs (JACK; seen when closing amid
  messages beside a thread that computes: docs/decisions.md).
  """
  free = 0
  for _ in range(TURNS):
    began = time.perf_counter()
    time.sleep(TURN_S)
    free += time.perf_counter() - began < FREE_TURN_S
    if free == FREE_TURNS:
      return


def _leak(client: Any) -> None:
  """Keeps a client from ever being destroyed, even at exit.

  Measured: closing a client of a JACK server that died takes a second and,
  once there is a new server, crashes the process.
  """
  ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


class RtMidiInput:
  """An open input; see `InputPort`.

  Args:
    client: An `rtmidi.MidiIn` with an open port.
    name: Its name.
  """

  def __init__(self, client: Any, name: str):
    self.name = name
    self.dropped = 0
    self._client = client
    self._parser = MessageParser()
    self._queue: collections.deque[tuple[int, bytes]] = collections.deque()
    # Without these, MIDI clock would never be seen.
    client.ignore_types(sysex=True, timing=False, active_sense=True)
    client.set_callback(self._take)
    # RtMidi's thread borrows the callback, and cancelling frees it even while
    # that thread waits for Python's lock to call it, which crashed. What the
    # client holds is held here too.
    self._borrowed = gc.get_referents(client)

  def _take(self, event: tuple[list[int], float], data: object = None) -> None:
    """Called by RtMidi in a thread of its own."""
    del data
    now_ns = time.perf_counter_ns()
    for message in self._parser.feed(bytes(event[0])):
      if len(self._queue) >= QUEUE_MESSAGES:
        self.dropped += 1  # bounded, and told
      else:
        self._queue.append((now_ns, message))
    # The driver hands over whole messages.
    self._parser.flush()

  @property
  def alive(self) -> bool:
    """Whether it is open; that a device is gone, only a scan can tell."""
    return self._client is not None

  @property
  def garbage(self) -> int:
    """Bytes that were no message."""
    return self._parser.garbage

  def poll(self) -> list[tuple[int, bytes]]:
    """Messages since the last call, oldest first; never waits."""
    queue = self._queue
    return [queue.popleft() for _ in range(len(queue))]

  def close(self) -> None:
    """Closes the port; what came before can still be fetched."""
    client, self._client = self._client, None
    if client is not None:
      with contextlib.suppress(Exception):
        client.cancel_callback()
      _let_callbacks_end()
      _discard(client)

  def abandon(self) -> None:
    """Leaves the port to a system that died."""
    client, self._client = self._client, None
    if client is not None:
      _leak(client)


class RtMidiOutput:
  """An open output; see `OutputPort`.

  Args:
    client: An `rtmidi.MidiOut` with an open port.
    name: Its name.
    guarded: Whether sending could wait for ever (JACK). From the first
      `confirm` on, it then stops sending if no further one comes.
  """

  def __init__(self, client: Any, name: str, *, guarded: bool = False):
    self.name = name
    self._client = client
    self._guarded = guarded
    self._room: float = float("inf")

  @property
  def alive(self) -> bool:
    """Whether it is open and was never seen to fail."""
    return self._client is not None

  def send(self, data: bytes) -> bool:
    """Sends one message now.

    Returns:
      False where it was not sent: the port is lost, or does not take more.
    """
    client = self._client
    size = len(data) + _JACK_OVERHEAD_BYTES
    if client is None or self._room < size:
      return False
    try:
      client.send_message(data)
    except ValueError:  # no whole message, or more than one
      return False
    except Exception:  # RtMidi's own, whatever they derive from
      self.close()
      return False
    self._room -= size
    return True

  def confirm(self) -> None:
    """The system of ports was just seen to live."""
    if self._guarded:
      self._room = float(_JACK_RING_BYTES)

  def close(self) -> None:
    """Closes the port."""
    client, self._client = self._client, None
    if client is not None:
      _discard(client)

  def abandon(self) -> None:
    """Leaves the port to a system that died."""
    client, self._client = self._client, None
    if client is not None:
      _leak(client)


class RtMidiBackend:
  """Ports of ALSA, JACK, CoreMIDI or Windows.

  JACK's ports are listed by one client that stays open until `close`. Others
  that come and go could halt the server, see `jack_client`.

  Attributes:
    api: Which: one of `port_lister.APIS`.
  """

  def __init__(self, api: str | None = None):
    """Finds a system of ports that works.

    Args:
      api: One of `port_lister.APIS`; by default what MAGENTA_MIDI_API names, or
        else the first that works. A hanging driver would hang here too, so
        scan first and give what that found.

    Raises:
      PortError: None works.
      ValueError: There is no system of that name here.
    """
    try:
      # Its extension module is opaque to type checkers.
      rtmidi: Any = importlib.import_module("rtmidi")
    except ImportError as error:
      raise PortError(
        f"python-rtmidi cannot be loaded ({error}); see: magenta-midi ports"
      ) from None
    self._rtmidi = rtmidi
    self._jack: JackClient | None = None
    names = compiled_apis(rtmidi, api)
    for name in names:
      self.api = name
      with contextlib.suppress(PortError):
        if name == "jack":
          self._open_jack()
        else:
          _discard(self._new(rtmidi.MidiIn))
        return
    raise PortError(
      f"no MIDI system answers ({', '.join(names)}); see: magenta-midi ports"
    )

  def _new(self, cls: Any) -> Any:
    # A JACK server refuses a client whose process is slow for 2 s, as on a busy
    # machine.
    for left in reversed(range(JACK_TRIES if self.api == "jack" else 1)):
      try:
        return cls(APIS[self.api], name=CLIENT_NAME)
      except (self._rtmidi.RtMidiError, RuntimeError) as error:
        if not left or (self._jack is not None and self._jack.server_ended):
          raise PortError(
            f"the MIDI system {self.api} fails: {error}"
          ) from None
      time.sleep(AGAIN_S)

  def _open_jack(self) -> JackClient:
    """The client that lists; another one after the server was another one."""
    if self._jack is None or self._jack.server_ended:
      try:
        self._jack = JackClient(f"{CLIENT_NAME}-list")
      except (OSError, ImportError) as error:
        raise PortError(f"the MIDI system jack fails: {error}") from None
    return self._jack

  def _names(self, cls: Any) -> tuple[str, ...]:
    if self.api == "jack":
      found = self._open_jack().ports()
      return found[0] if cls is self._rtmidi.MidiIn else found[1]
    client = self._new(cls)
    try:
      return tuple(name or "" for name in client.get_ports())
    finally:
      _discard(client)

  def inputs(self) -> tuple[str, ...]:
    """Names of what can be read."""
    return self._names(self._rtmidi.MidiIn)

  def outputs(self) -> tuple[str, ...]:
    """Names of what can be played to."""
    return self._names(self._rtmidi.MidiOut)

  def settle(self, timeout_s: float) -> bool:
    """Waits until what was sent has been handed on.

    Args:
      timeout_s: Longest wait, s.

    Returns:
      Whether it has; False where the system stands still or has ended: then
      closing a port could wait without end.
    """
    # The others hand on at once.
    return self._jack is None or self._jack.runs(timeout_s)

  def close(self) -> None:
    """Lists no more; ports that are open stay open."""
    jack, self._jack = self._jack, None
    if jack is not None:
      jack.close()

  def _open(self, cls: Any, name: str, label: str) -> Any:
    gone = PortError(f"the port {display_names([name])[0]} is gone")
    if self.api == "jack" and name not in self._names(cls):
      raise gone  # without a client that comes and goes
    client = self._new(cls)
    try:
      names = [found or "" for found in client.get_ports()]
      client.open_port(names.index(name), label)
    except ValueError:
      _discard(client)
      raise gone from None
    except Exception as error:
      _discard(client)
      raise PortError(
        f"the port {display_names([name])[0]} cannot be opened ({error})."
        " Close the program that uses it."
      ) from None
    return client

  def open_input(self, name: str) -> RtMidiInput:
    """Opens one of `inputs`.

    Raises:
      PortError: It is gone, or in use.
    """
    return RtMidiInput(self._open(self._rtmidi.MidiIn, name, "in"), name)

  def open_output(self, name: str) -> RtMidiOutput:
    """Opens one of `outputs`.

    Raises:
      PortError: It is gone, or in use.
    """
    client = self._open(self._rtmidi.MidiOut, name, "out")
    return RtMidiOutput(client, name, guarded=self.api == "jack")

  def _open_virtual(self, cls: Any, label: str) -> Any:
    if self.api == "winmm":
      raise PortError(
        "Windows has no virtual ports of its own. Install loopMIDI, make a"
        " port there, and give its name instead."
      )
    client = self._new(cls)
    try:
      client.open_virtual_port(label)
    except Exception as error:
      _discard(client)
      raise PortError(
        f"the virtual port {label} cannot be made: {error}"
      ) from None
    return client

  def open_virtual_input(self, label: str) -> RtMidiInput:
    """Makes an input that other programs can play to.

    Raises:
      PortError: The system has no such thing.
    """
    client = self._open_virtual(self._rtmidi.MidiIn, label)
    return RtMidiInput(client, f"{CLIENT_NAME}:{label}")

  def open_virtual_output(self, label: str) -> RtMidiOutput:
    """Makes an output that other programs can read.

    Raises:
      PortError: The system has no such thing.
    """
    client = self._open_virtual(self._rtmidi.MidiOut, label)
    name = f"{CLIENT_NAME}:{label}"
    return RtMidiOutput(client, name, guarded=self.api == "jack")
