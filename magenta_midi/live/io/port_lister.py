"""Programs that list the MIDI ports, for `port_scan` to start.

`answer` lists them once for each line that it reads. It keeps its clients open
where that works: JACK suffers from clients that come and go (`jack_client`),
and no process need be started each second. `watch` has such a child answer
again and again and replaces it where it hangs or dies, so that nothing is
started by the process that plays.

These files are run by their paths, and import nothing else of this package.
"""

import contextlib
import importlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

__all__ = ["AGAIN_S", "APIS", "API_VARIABLE", "compiled_apis"]

# Names of the systems of MIDI ports, the preferred first, as RtMidi numbers
# them. Whichever of them is there and works is taken.
APIS = {"coremidi": 1, "winmm": 4, "alsa": 2, "jack": 3}
# Chooses one of them, where several work.
API_VARIABLE = "MAGENTA_MIDI_API"
# A client of these sees new ports as long as it is open. CoreMIDI's sees none
# in a process without a run loop, and Windows' lists may be those of the
# process's start: there each list is a new process's.
LASTING = ("alsa", "jack")
CLIENT_NAME = "magenta-midi-scan"
# If no system answers, all are asked once more after this time, s.
AGAIN_S = 0.3
# A JACK server without a cycle for so long stands still, s.
STILL_S = 1.0
# A child may take so long for its first answer, s: a busy machine starts
# programs slowly.
START_S = 10.0
# A child that is asked to end gets so long, s.
END_S = 0.5

_REMEDY = {
  "linux": "On Linux, load ALSA's sequencer (modprobe snd-seq) or start JACK"
  " (jackd -d dummy works without a sound card)",
  "darwin": "Open Audio MIDI Setup and see whether it lists devices",
  "win32": "See whether the device manager lists MIDI devices",
}

# Inputs, outputs, system, problem, whether it hung: see `port_scan.PortList`.
Ports = tuple[tuple[str, ...], tuple[str, ...], str, str, bool]


def compiled_apis(rtmidi: Any, wanted: str | None = None) -> list[str]:
  """Names of `APIS` that RtMidi was built with, the preferred first.

  Raises:
    ValueError: The wanted one is unknown, or not among them.
  """
  built = rtmidi.get_compiled_api()
  names = [name for name, number in APIS.items() if number in built]
  wanted = wanted or os.environ.get(API_VARIABLE) or None
  if wanted is None:
    return names
  if wanted not in names:
    raise ValueError(
      f"no MIDI system {wanted!r} here: expected one of {', '.join(names)}"
    )
  return [wanted]


# The child that answers.


class _JackPorts:
  """JACK's ports."""

  def __init__(self) -> None:
    # Beside this file, which may have been run by its path.
    sys.path.append(str(Path(__file__).parent))
    self._client: Any = importlib.import_module("jack_client").JackClient(
      CLIENT_NAME
    )

  def list(self) -> Ports | None:
    """The ports; None where the server has ended."""
    hung = not self._client.runs(STILL_S)
    if self._client.server_ended:
      return None
    problem = "JACK stands still" if hung else ""
    return *self._client.ports(), "jack", problem, hung

  def close(self) -> None:
    self._client.close()


class _RtMidiPorts:
  """Ports of another system."""

  def __init__(self, rtmidi: Any, api: str):
    self._api = api
    self._clients = [
      cls(APIS[api], name=CLIENT_NAME)
      for cls in (rtmidi.MidiIn, rtmidi.MidiOut)
    ]

  def list(self) -> Ports | None:
    inputs, outputs = (
      tuple(name or "" for name in client.get_ports())
      for client in self._clients
    )
    return inputs, outputs, self._api, "", False

  def close(self) -> None:
    for client in self._clients:
      client.delete()


_Listing = _JackPorts | _RtMidiPorts


def _find(rtmidi: Any, names: list[str]) -> tuple[_Listing, Ports] | None:
  """The first system that works, and its ports."""
  for attempt, name in enumerate((*names, *names)):
    if attempt == len(names):
      # A busy machine's JACK refuses now and then.
      time.sleep(AGAIN_S)
    with contextlib.suppress(
      rtmidi.RtMidiError, RuntimeError, OSError, ImportError
    ):
      found = _JackPorts() if name == "jack" else _RtMidiPorts(rtmidi, name)
      if (ports := found.list()) is not None:
        return found, ports
  return None


def _nothing(problem: str, *, hung: bool = False) -> Ports:
  return (), (), "", problem, hung


def _answers(api: str | None) -> Generator[Ports, None, None]:
  """A list each time that the next one is asked for, while that makes sense."""
  try:
    rtmidi: Any = importlib.import_module("rtmidi")
  except ImportError as error:
    remedy = "pip install python-rtmidi"
    if "libasound" in str(error):
      remedy = "apt-get install libasound2"
    yield _nothing(f"python-rtmidi cannot be loaded ({error}). Try: {remedy}")
    return
  try:
    names = compiled_apis(rtmidi, api)
  except ValueError as error:
    yield _nothing(str(error))
    return
  found = _find(rtmidi, names)
  if found is None:
    remedy = _REMEDY.get(sys.platform, _REMEDY["linux"])
    yield _nothing(f"no MIDI system answers ({', '.join(names)}). {remedy}")
    return
  listing, ports = found
  try:
    yield ports
    # Of a server that ended, a new process knows more.
    while ports[2] in LASTING and (again := listing.list()) is not None:
      yield again
  finally:
    listing.close()


def _answer(api: str | None) -> None:
  """A list for each line, until there are no more lines."""
  # libjack writes there too, if the server was started with --verbose.
  lists = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  answers = _answers(api)
  with contextlib.suppress(OSError), contextlib.closing(answers):
    for _ in sys.stdin:
      ports = next(answers, None)
      if ports is None:
        return
      lists.write(json.dumps(ports) + "\n")
      lists.flush()


# The helper that asks.


class _Child:
  """A child that answers."""

  def __init__(self, api: str):
    self._process = subprocess.Popen(
      [sys.executable, "-I", __file__, "answer", api],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      # ALSA and JACK chat there about what they do not find.
      stderr=subprocess.DEVNULL,
    )
    # None at its end.
    self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=self._read, daemon=True).start()
    self.answered = False

  def _read(self) -> None:
    assert self._process.stdout is not None
    for line in self._process.stdout:
      self._lines.put(line)
    self._lines.put(None)

  def ask(self, timeout_s: float) -> bytes | None:
    """Its answer; None: it ended.

    Raises:
      queue.Empty: It does not answer in time.
    """
    assert self._process.stdin is not None
    with contextlib.suppress(OSError):
      self._process.stdin.write(b"\n")
      self._process.stdin.flush()
    line = self._lines.get(timeout=timeout_s)
    self.answered = self.answered or line is not None
    return line

  def end(self) -> int:
    """Ends it; its exit code."""
    assert self._process.stdin is not None
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    try:
      return self._process.wait(END_S)
    except subprocess.TimeoutExpired:
      self._process.kill()
      return self._process.wait()


class _Asker:
  """Asks a child, and another one where that hangs or has ended."""

  def __init__(self, api: str, timeout_s: float):
    self._api = api
    self._timeout_s = timeout_s
    self._child: _Child | None = None

  def ask(self) -> bytes:
    """A line to print."""
    while True:
      child = self._child = self._child or _Child(self._api)
      before = child.answered
      timeout_s = self._timeout_s if before else START_S
      try:
        line = child.ask(timeout_s)
      except queue.Empty:
        self.end()
        return _line(
          _nothing(
            f"the MIDI system did not answer within {timeout_s:g} s",
            hung=True,
          )
        )
      if line is not None:
        return line
      code = self.end()
      if not before:
        return _line(
          _nothing(f"the MIDI system crashed (exit code {code})", hung=True)
        )

  def end(self) -> int:
    child, self._child = self._child, None
    return 0 if child is None else child.end()


def _line(ports: Ports) -> bytes:
  return json.dumps(ports).encode() + b"\n"


def _watch(api: str, interval_s: float, timeout_s: float) -> None:
  """Prints a list again and again until the input ends."""

  def end() -> None:
    sys.stdin.buffer.read()
    ended.set()
    # Its child may hang.
    asker.end()
    os._exit(0)

  ended = threading.Event()
  asker = _Asker(api, timeout_s)
  ender = threading.Thread(target=end, daemon=True)
  ender.start()
  while not ended.is_set():
    started = time.monotonic()
    line = asker.ask()
    try:
      sys.stdout.buffer.write(line)
      sys.stdout.buffer.flush()
    except OSError:
      break
    taken_s = time.monotonic() - started
    ended.wait(max(interval_s - taken_s, interval_s / 2))
  if ended.is_set():
    ender.join()
  asker.end()
  # Not by way of the thread that reads, nor of what cannot be written.
  os._exit(0)


def _main(program: str, api: str, *times: str) -> None:
  if program == "watch":
    _watch(api, *map(float, times))
  else:
    _answer(api or None)


if __name__ == "__main__":
  _main(*sys.argv[1:])
