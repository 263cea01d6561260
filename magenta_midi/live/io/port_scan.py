"""Scan of the MIDI ports, in a process that may hang.

Drivers hang or crash while they are asked. So a child asks and is ended after
a time; `PortWatch` has a helper ask such a child again and again
(`port_lister`).
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import Any, NamedTuple

from magenta_midi.live.io import port_lister

__all__ = ["PortList", "PortWatch", "scan"]


class PortList(NamedTuple):
  """Ports that a scan found.

  Attributes:
    inputs: Names of ports that can be read, such as keyboards.
    outputs: Names of ports that can be played to.
    api: One of `port_lister.APIS`; empty: none works.
    problem: Why none works, in one line.
    hung: Whether the question was not answered at all, which says nothing
      about ports that are open.
  """

  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  api: str
  problem: str = ""
  hung: bool = False


def scan(timeout_s: float = 10.0, api: str | None = None) -> PortList:
  """Lists the ports; never raises, and never takes longer.

  Args:
    timeout_s: Seconds after which the driver counts as hanging.
    api: One of `port_lister.APIS`; by default what MAGENTA_MIDI_API names, or
      else the first that works.
  """
  try:
    done = subprocess.run(
      [*_program("answer"), api or ""],
      input=b"\n",
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


def _program(name: str) -> list[str]:
  return [sys.executable, "-I", port_lister.__file__, name]


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
      timeout_s: Seconds after which a driver counts as hanging that answered
        before.
      api: As for `scan`.
    """
    self.count = 0
    self.latest: PortList | None = None
    self._process = subprocess.Popen(
      [
        *(*_program("watch"), api or ""),
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
