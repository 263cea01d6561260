"""Child processes of the server: JSON lines to them, and from them.

What computes for long runs in a child of lower priority, so that it never
delays a note. A child ends when the server does: its input then ends.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Child", "ChildSide"]

_NICE = 10
_TERM_S = 5.0
# One line; a chunk of 2 s has at most some hundred notes.
_LINE_BYTES = 2**20


class Child:
  """The server's end of a child.

  Args:
    module: Of the package; it is run as a program.
  """

  def __init__(self, module: str):
    self._module = module
    self._process: asyncio.subprocess.Process | None = None

  @property
  def running(self) -> bool:
    """Whether it is."""
    process = self._process
    return process is not None and process.returncode is None

  async def start(self) -> None:
    """Starts it, if it does not run."""
    if not self.running:
      self._process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        self._module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
      )

  async def send(self, message: dict[str, Any]) -> None:
    """Sends a line.

    Raises:
      OSError: It has ended.
    """
    process = self._process
    assert process is not None and process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    await process.stdin.drain()

  async def receive(self) -> dict[str, Any] | None:
    """Its next line; None: it has ended."""
    process = self._process
    assert process is not None and process.stdout is not None
    try:
      line = await process.stdout.readline()
    except ValueError:  # longer than any line of ours
      return None
    return json.loads(line) if line.endswith(b"\n") else None

  async def end(self, patience_s: float | int = _TERM_S) -> None:
    """Ends it: by the end of its input, else by force.

    Args:
      patience_s: It has so long to save what it has.
    """
    process, self._process = self._process, None
    if process is None or process.returncode is not None:
      return
    if process.stdin is not None:
      process.stdin.close()
    with contextlib.suppress(TimeoutError):
      async with asyncio.timeout(patience_s):
        await process.wait()
        return
    with contextlib.suppress(ProcessLookupError):
      process.kill()
    await process.wait()


class ChildSide:
  """A child's own end.

  Args:
    on_cancel: Called from another thread when the line `{"cancel": true}` has
      come, or the input has ended.
  """

  def __init__(self, on_cancel: Callable[[], None]):
    os.nice(_NICE)
    # Ctrl-C in a terminal reaches children too; the server ends them in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not come between the lines.
    self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    self._on_cancel = on_cancel
    self._lines: list[dict[str, Any]] = []
    self._arrived = threading.Condition()
    self._ended = False
    threading.Thread(target=self._read, daemon=True).start()

  def _read(self) -> None:
    for text in sys.stdin:
      message = json.loads(text)
      if message.get("cancel"):
        self._on_cancel()
        continue
      with self._arrived:
        self._lines.append(message)
        self._arrived.notify()
    self._on_cancel()
    with self._arrived:
      self._ended = True
      self._arrived.notify()

  def receive(self) -> dict[str, Any] | None:
    """The next line; None: the server has ended."""
    with self._arrived:
      while not self._lines and not self._ended:
        self._arrived.wait()
      return self._lines.pop(0) if self._lines else None

  def send(self, message: dict[str, Any]) -> None:
    """Sends a line; nothing where nobody reads any more."""
    with contextlib.suppress(OSError):
      self._out.write(json.dumps(message) + "\n")
      self._out.flush()
