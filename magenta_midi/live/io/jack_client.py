"""Client of JACK that stays outside its graph: it lists ports, and sees time.

RtMidi's clients join JACK's graph as soon as they are made, ports or not. A
server in synchronous mode waits ten of its timeouts, 5 s, for a client in the
graph that was killed or does not wake up, and all music stops. A client
outside the graph holds nobody up, even if it is killed.

Nor may clients come and go: where a program has one open and opens another,
which gets the number of one that was just closed, by whomever, libjack may
take the old one's semaphore for the new one's, and JACK waits again and again
(docs/decisions.md). So whoever lists ports keeps one client for it.

This module imports nothing else of the package: see `port_lister`.
"""

import ctypes
import importlib
import time
import weakref
from typing import Any

__all__ = ["JackClient"]

_NO_START_SERVER = 1
_MIDI = b"8 bit raw midi"
_IS_INPUT, _IS_OUTPUT = 1, 2
_SHUTDOWN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# What libjack may call, in a thread of its own, as long as the process lives: a
# client that was dropped without `close` is still open there, and calling what
# was freed with it crashed.
_callable: list[Any] = []


def _libjack() -> Any:
  """The library that RtMidi itself is linked with.

  Raises:
    ImportError: python-rtmidi is missing, or was built without JACK.
  """
  # Its symbols are looked up in what the extension depends on, too.
  extension: Any = importlib.import_module("rtmidi._rtmidi")
  library = ctypes.CDLL(extension.__file__)
  client = ctypes.c_void_p
  try:
    for name, result, arguments in (
      ("client_open", client, (ctypes.c_char_p, ctypes.c_int, client)),
      ("client_close", ctypes.c_int, (client,)),
      (
        "get_ports",
        ctypes.POINTER(ctypes.c_char_p),
        (client, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong),
      ),
      ("free", None, (ctypes.c_void_p,)),
      ("last_frame_time", ctypes.c_uint32, (client,)),
      ("on_shutdown", None, (client, _SHUTDOWN, ctypes.c_void_p)),
    ):
      function = getattr(library, f"jack_{name}")
      function.restype, function.argtypes = result, arguments
  except AttributeError as error:
    raise ImportError(f"this python-rtmidi has no JACK ({error})") from None
  return library


class JackClient:
  """A client without ports, open until closed.

  Attributes:
    server_ended: Whether the server is gone. The client then is of no use;
      it must not be closed, which could crash.
  """

  def __init__(self, name: str):
    """Opens it; waits as long as the server stands still.

    Args:
      name: The server adds a number where another client has it.

    Raises:
      ConnectionError: There is no server, or it refuses.
      ImportError: This python-rtmidi has no JACK.
    """
    self._jack = _libjack()
    self.server_ended = False
    self._client = self._jack.jack_client_open(
      name.encode(), _NO_START_SERVER, None
    )
    if not self._client:
      raise ConnectionError("no JACK server answers")
    mine = weakref.WeakMethod(self._end)

    def ended(argument: object) -> None:
      end = mine()
      if end is not None:
        end(argument)

    on_shutdown = _SHUTDOWN(ended)
    _callable.append(on_shutdown)
    self._jack.jack_on_shutdown(self._client, on_shutdown, None)
    # PipeWire's libjack shows no time to clients outside the graph.
    version = getattr(self._jack, "jack_get_version_string", None)
    if version is not None:
      version.restype = ctypes.c_char_p
    self._shows_time = version is None or b"PipeWire" not in (version() or b"")

  def _end(self, argument: object) -> None:
    del argument
    self.server_ended = True

  def ports(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of MIDI ports: what can be read, what can be played to.

    They lie in shared memory, so a server that stands still answers too.
    """
    return self._names(_IS_OUTPUT), self._names(_IS_INPUT)

  def _names(self, flag: int) -> tuple[str, ...]:
    found = self._jack.jack_get_ports(self._client, None, _MIDI, flag)
    if not found:
      return ()
    names: list[str] = []
    while (name := found[len(names)]) is not None:
      names.append(name.decode("utf-8", "replace"))
    self._jack.jack_free(found)
    return tuple(names)

  def runs(self, timeout_s: float) -> bool:
    """Whether a cycle begins from now on: then all sent before is handed on.

    Args:
      timeout_s: Longest wait, s; a cycle takes 1 to 200 ms.
    """
    if self.server_ended or self._client is None:
      return False
    if not self._shows_time:
      return True
    time_of = self._jack.jack_last_frame_time
    end = time.monotonic() + timeout_s
    before = time_of(self._client)
    while time_of(self._client) == before:
      if self.server_ended or time.monotonic() > end:
        return False
      time.sleep(0.001)
    return True

  def close(self) -> None:
    """Leaves the server, unless that has ended."""
    client, self._client = self._client, None
    if client and not self.server_ended:
      self._jack.jack_client_close(client)
