"""Journal file: grows line by line while music plays, and never waits.

The playing thread puts bytes into a queue; another thread writes them. That
thread holds the interpreter only between system calls, and a slow disk blocks
only inside these calls.
"""

import contextlib
import os
import queue
import threading
from pathlib import Path

from magenta_midi.midi.folder_lock import lock_file

__all__ = ["STOPPED", "Journal", "in_use", "write_all"]

# How every message begins that says so; a session shows one of them.
STOPPED = "recording stopped"

# Limit of bytes that wait for the disk: an hour of dense playing.
_MAX_WAITING_BYTES = 8 * 2**20


def in_use(path: Path) -> bool:
  """Whether a running process writes this journal."""
  try:
    fd = os.open(path, os.O_RDWR)
  except OSError:
    return False
  try:
    return lock_file(fd) is False
  finally:
    os.close(fd)


class Journal:
  """Appends to a new file.

  Attributes:
    error: Why it no longer writes; None while it does.
  """

  def __init__(self, path: Path, header: bytes):
    """Makes the file and writes its header, to the disk.

    Raises:
      OSError: It is there already, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    self.error: OSError | None = None
    try:
      lock_file(self._fd)
      write_all(self._fd, header)
      os.fsync(self._fd)
    except BaseException:
      os.close(self._fd)
      with contextlib.suppress(OSError):
        path.unlink()
      raise
    self._queue: queue.SimpleQueue[tuple[bytes, bool] | None] = (
      queue.SimpleQueue()
    )
    # Each is counted by one thread only.
    self._given_bytes = self._written_bytes = 0
    self._thread = threading.Thread(
      target=self._run, name="journal", daemon=True
    )
    self._thread.start()

  def write(self, data: bytes, *, to_disk: bool) -> None:
    """Hands over whole lines; never waits, never raises.

    Args:
      data: What to append.
      to_disk: Whether to have the system write it down now, so that it is
        there even after a power cut.
    """
    waiting = self._given_bytes - self._written_bytes
    if self.error is None and waiting > _MAX_WAITING_BYTES:
      self.error = TimeoutError(None, "the disk does not answer")
    if self.error is None:
      self._given_bytes += len(data)
      self._queue.put((data, to_disk))

  def close(self, timeout_s: float | int = 5) -> None:
    """Waits until all is written; a second time does nothing."""
    if self._thread is None:
      return
    self._queue.put(None)
    self._thread.join(timeout_s)
    if self._thread.is_alive():
      # Its file stays open: the disk may come back.
      self.error = TimeoutError(None, "the disk does not answer")
    else:
      os.close(self._fd)
    self._thread = None

  def _run(self) -> None:
    while (batch := self._queue.get()) is not None:
      data, to_disk = batch
      if self.error is not None:
        continue
      try:
        write_all(self._fd, data)
        if to_disk:
          os.fsync(self._fd)
        self._written_bytes += len(data)
      except OSError as error:
        self.error = error


def write_all(fd: int, data: bytes) -> None:
  """Writes all of it, in as many calls as the system needs.

  Raises:
    OSError: The disk is full, for one; a part of it may be written.
  """
  while data:
    data = data[os.write(fd, data) :]
