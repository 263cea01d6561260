"""Scan of the MIDI ports, in a process that may hang.

Drivers hang or crash while they are asked. So a child asks and is ended after
a time; `PortWatch` has a helper start such children again and again, so that
nothing is started by the process that plays. This file is also their program:
it imports nothing else of this package.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

__all__ = ["APIS", "PortList", "PortWatch", "compiled_apis", "scan"]

# Names of the systems of MIDI ports, the preferred first, as RtMidi numbers
# them. Whichever of them is there and works is taken.
APIS = {"coremidi": 1, "winmm": 4, "alsa": 2, "jack": 3}
# Chooses one of them, where several work.
API_VARIABLE = "MAGENTA_MIDI_API"
# If no system answers, all are asked once more after this time, s.
AGAIN_S = 0.3


class PortList(NamedTuple):
  """Ports that a scan found.

  Attributes:
    inputs: Names of ports that can be read, such as keyboards.
    outputs: Names of ports that can be played to.
    api: One of `APIS`; empty: none works.
    problem: Why none works, in one line.
    hung: Whether the question was not answered at all, which says nothing
      about ports that are open.
  """

  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  api: str
  problem: str = ""
  hung: bool = False


def scan(timeout_s: float = 5.0, api: str | None = None) -> PortList:
  """Lists the ports; never raises, and never takes longer.

  Args:
    timeout_s: Seconds after which the driver counts as hanging.
    api: One of `APIS`; by default what MAGENTA_MIDI_API names, or else the
      first that works.
  """
  command = [sys.executable, "-I", __file__, *([api] if api else [])]
  try:
    done = subprocess.run(
      command,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      # ALSA and JACK chat there about what they do not find.
      stderr=subprocess.DEVNULL,
      timeout=timeout_s,
      check=False,
    )
  except subprocess.TimeoutExpired:
    return PortList(
      *((), (), ""),
      f"the MIDI system did not answer within {timeout_s:g} s. Unplug the MIDI"
      " devices, or restart JACK if it is in use, and try again",
      hung=True,
    )
  return _parse(done.stdout) or PortList(
    *((), (), ""),
    f"the MIDI system crashed (exit code {done.returncode})",
    hung=True,
  )


def _parse(line: bytes) -> PortList | None:
  try:
    inputs, outputs, *others = json.loads(line)
    return PortList(tuple(inputs), tuple(outputs), *others)
  except (ValueError, TypeError):
    return None


class PortWatch:
  """Scans about once a second until closed; a context manager.

  Attributes:
    count: Scans so far.
    latest: What the last one found; None before the first.
  """

  def __init__(
    self,
    interval_s: float = 1.0,
    timeout_s: float = 2.0,
    api: str | None = None,
  ):
    """Starts a helper process.

    Args:
      interval_s: Seconds from one scan to the next.
      timeout_s: Seconds after which a driver counts as hanging.
      api: As for `scan`.
    """
    self.count = 0
    self.latest: PortList | None = None
    self._process = subprocess.Popen(
      [
        *(sys.executable, "-I", __file__, api or ""),
        *(str(interval_s), str(timeout_s)),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      # Its end is that of its input, not a Ctrl-C that others still clean
      # up after.
      start_new_session=os.name == "posix",
    )
    self._reader = threading.Thread(
      target=self._read, name="port-watch", daemon=True
    )
    self._reader.start()

  def _read(self) -> None:
    assert self._process.stdout is not None
    for line in self._process.stdout:
      if ports := _parse(line):
        self.latest = ports
        self.count += 1  # last: a reader of it sees the new list

  def close(self) -> None:
    """Ends the helper."""
    for stream in (self._process.stdin, self._process.stdout):
      if stream is self._process.stdout:
        with contextlib.suppress(subprocess.TimeoutExpired):
          self._process.wait(2)
        self._process.kill()
        self._process.wait()
        self._reader.join()
      if stream is not None:
        with contextlib.suppress(OSError):
          stream.close()

  def __enter__(self) -> "PortWatch":
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()


# Child processes.


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


_REMEDY = {
  "linux": "On Linux, load ALSA's sequencer (modprobe snd-seq) or start JACK"
  " (jackd -d dummy works without a sound card)",
  "darwin": "Open Audio MIDI Setup and see whether it lists devices",
  "win32": "See whether the device manager lists MIDI devices",
}


def _list_ports(api: str | None) -> PortList:
  """Asks in this process."""
  try:
    rtmidi: Any = importlib.import_module("rtmidi")
  except ImportError as error:
    remedy = "pip install python-rtmidi"
    if "libasound" in str(error):
      remedy = "apt-get install libasound2"
    return PortList(
      *((), (), ""), f"python-rtmidi cannot be loaded ({error}). Try: {remedy}"
    )
  try:
    names = compiled_apis(rtmidi, api)
  except ValueError as error:
    return PortList((), (), "", str(error))
  for attempt, name in enumerate((*names, *names)):
    if attempt == len(names):
      # A busy machine's JACK refuses now and then.
      time.sleep(AGAIN_S)
    try:
      found = []
      for cls in (rtmidi.MidiIn, rtmidi.MidiOut):
        client = cls(APIS[name], name="magenta-midi-scan")
        found.append(tuple(port or "" for port in client.get_ports()))
        client.delete()
      return PortList(found[0], found[1], name)
    except (rtmidi.RtMidiError, RuntimeError):
      continue
  remedy = _REMEDY.get(sys.platform, _REMEDY["linux"])
  return PortList(
    *((), (), ""), f"no MIDI system answers ({', '.join(names)}). {remedy}"
  )


def _watch(api: str | None, interval_s: float, timeout_s: float) -> None:
  """Prints a list after each scan until the input ends."""

  def end() -> None:
    sys.stdin.buffer.read()
    ended.set()

  ended = threading.Event()
  threading.Thread(target=end, daemon=True).start()
  while not ended.is_set():
    started = time.monotonic()
    ports = scan(timeout_s, api)
    try:
      sys.stdout.write(json.dumps(ports) + "\n")
      sys.stdout.flush()
    except OSError:
      break
    taken_s = time.monotonic() - started
    ended.wait(max(interval_s - taken_s, interval_s / 2))
  # Not by way of the thread that reads, nor of what cannot be written.
  os._exit(0)


def _main(args: list[str]) -> None:
  api = args[0] if args and args[0] else None
  if len(args) == 3:
    _watch(api, float(args[1]), float(args[2]))
  else:
    print(json.dumps(_list_ports(api)))


if __name__ == "__main__":
  _main(sys.argv[1:])
