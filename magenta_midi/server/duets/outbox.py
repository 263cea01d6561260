"""Outbox of one socket: what waits to be sent, of bounded size.

A session's thread puts, the socket's task takes. Display updates have slots: a
newer one takes the place of the one that waits. Everything else is sent in
order; where too much of it waits, the client does not read, and the socket is
given up.
"""

import asyncio
import contextlib
import threading
from collections import deque

__all__ = ["Outbox", "OutboxFull"]

MAX_ITEMS = 4000
MAX_BYTES = 512 * 1024


class OutboxFull(Exception):
  """The client does not read."""


class Outbox:
  """Messages for one socket; `put` may be called from any thread.

  Attributes:
    closed: Whether nothing more is taken.
  """

  def __init__(self, loop: asyncio.AbstractEventLoop):
    """For a socket of this loop."""
    self.closed = False
    self._loop = loop
    self._lock = threading.Lock()
    self._items: deque[str | bytes] = deque()
    self._slots: dict[str, str | bytes] = {}
    self._bytes = 0
    self._full = False
    self._woken = False
    self._event = asyncio.Event()
    # Code and last message with which the socket is closed.
    self._end: int | None = None

  def put(self, item: str | bytes, *, slot: str | None = None) -> None:
    """Adds a message.

    Args:
      item: Text, or a binary frame.
      slot: Of a display update: it replaces one that waits there.
    """
    with self._lock:
      if self.closed or self._full:
        return
      if slot is not None:
        self._slots[slot] = item
      else:
        self._items.append(item)
        self._bytes += len(item)
        if len(self._items) > MAX_ITEMS or self._bytes > MAX_BYTES:
          self._full = True
      self._wake()

  def close(self, code: int) -> None:
    """Nothing more comes; what waits is sent, then the socket is closed."""
    with self._lock:
      if self._end is None:
        self._end = code
      self.closed = True
      self._wake()

  def _wake(self) -> None:
    if not self._woken:
      self._woken = True
      with contextlib.suppress(RuntimeError):  # the loop has ended
        self._loop.call_soon_threadsafe(self._event.set)

  async def get(self) -> str | bytes | int:
    """The next message, or at the end the code to close the socket with.

    Raises:
      OutboxFull: The client does not read.
    """
    while True:
      with self._lock:
        if self._full:
          raise OutboxFull
        if self._items:
          item = self._items.popleft()
          self._bytes -= len(item)
          return item
        if self._end is not None:
          return self._end
        if self._slots:
          return self._slots.pop(next(iter(self._slots)))
        self._woken = False
        self._event.clear()
      await self._event.wait()

  @property
  def full(self) -> bool:
    """Whether too much waits."""
    return self._full
