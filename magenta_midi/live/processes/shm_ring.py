"""Ring in shared memory: one process puts records, another takes them.

One writer and one reader, no locks: the writer alone moves the head, the
reader alone the tail. Both are aligned 8-byte numbers of the machine's own
byte order (little on x86 and ARM64), moved by one assignment to a memoryview
cast to `Q`, which CPython carries out as one 8-byte store: nobody sees half of
it. (`struct` with `<Q` would store byte by byte.)

The writer stores a record before the head that shows it. x86 keeps that order;
ARM64 need not, so each record carries a checksum of its bytes and its number,
and one that does not match is not there yet. The reader moves the tail only
after that check, so the writer cannot overwrite what is still being read.
"""

import contextlib
import sys
import threading
import zlib
from multiprocessing import resource_tracker, shared_memory

__all__ = ["Ring"]

# Places in the memory, in 8 bytes: what the writer writes and what the reader
# writes on cache lines of their own.
_HEAD, _DROPPED = 0, 1
_TAIL = 8
_CAPACITY, _SIZE, _MARK = 16, 17, 18
_RECORDS = 24
_IS_RING = 0x676E6952_696469AD
_CHECKSUM = 0xFFFFFFFF
_attaching = threading.Lock()


def _places(record_size: int) -> int:
  """Of one record: its length and checksum, and its bytes."""
  return 1 + (record_size + 7) // 8


def _attach(name: str) -> shared_memory.SharedMemory:
  """Shared memory that another process made, and that it will remove."""
  if sys.version_info >= (3, 13):
    return shared_memory.SharedMemory(name=name, track=False)
  # Before Python 3.13 an attaching process is registered as an owner: if it has
  # its own tracker, it would remove the memory when it ends.
  with _attaching:
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
      return shared_memory.SharedMemory(name=name)
    finally:
      resource_tracker.register = register


class Ring:
  """A bounded ring of records in shared memory; see the module."""

  def __init__(self, memory: shared_memory.SharedMemory):
    """Takes memory laid out as a ring; see `create` and `attach`."""
    self._memory = memory
    assert memory.buf is not None
    self._bytes = memory.buf
    places = len(memory.buf) // 8
    self._whole = memory.buf[: 8 * places]
    self._numbers = self._whole.cast("Q")
    if places <= _RECORDS or self._numbers[_MARK] != _IS_RING:
      name = memory.name
      self.close()
      raise ValueError(f"the shared memory {name} is no ring.")
    self.capacity: int = self._numbers[_CAPACITY]
    self.record_size: int = self._numbers[_SIZE]
    self._stride = _places(self.record_size)

  @classmethod
  def create(cls, capacity: int, record_size: int) -> "Ring":
    """A new, empty ring.

    Args:
      capacity: Most records that wait.
      record_size: Most bytes of one.

    Raises:
      ValueError: One of them is not above 0.
      OSError: There is no shared memory left.
    """
    if capacity < 1 or record_size < 1:
      raise ValueError(
        "capacity and record_size must be above 0, got"
        f" {capacity} and {record_size}."
      )
    places = _RECORDS + capacity * _places(record_size)
    memory = shared_memory.SharedMemory(create=True, size=8 * places)
    assert memory.buf is not None
    # Every page is touched now, not while somebody plays.
    memory.buf[:] = bytes(len(memory.buf))
    with memory.buf[: 8 * places] as whole, whole.cast("Q") as numbers:
      numbers[_CAPACITY], numbers[_SIZE] = capacity, record_size
      numbers[_MARK] = _IS_RING
    return cls(memory)

  @classmethod
  def attach(cls, name: str) -> "Ring":
    """A ring that some process made, which is to outlive this use of it.

    Raises:
      OSError: There is none of that name.
      ValueError: What has that name is no ring.
    """
    return cls(_attach(name))

  @property
  def name(self) -> str:
    """Name for `attach`."""
    return self._memory.name

  @property
  def dropped(self) -> int:
    """Records refused because the ring was full, so far."""
    return self._numbers[_DROPPED]

  def __len__(self) -> int:
    """How many records wait."""
    # The tail first: to a third process it may pass a head read before it.
    tail = self._numbers[_TAIL]
    return self._numbers[_HEAD] - tail

  def put(self, record: bytes) -> bool:
    """Adds a record; False, and counted, where the ring is full.

    Raises:
      ValueError: It is longer than the ring's records.
    """
    length = len(record)
    if length > self.record_size:
      raise ValueError(
        f"a record has at most {self.record_size} bytes, got {length}."
      )
    numbers = self._numbers
    head = numbers[_HEAD]
    if head - numbers[_TAIL] >= self.capacity:
      numbers[_DROPPED] += 1
      return False
    place = _RECORDS + head % self.capacity * self._stride
    start = 8 * (place + 1)
    self._bytes[start : start + length] = record
    checksum = zlib.crc32(record, head & _CHECKSUM)
    numbers[place] = length << 32 | checksum
    numbers[_HEAD] = head + 1
    return True

  def get(self) -> bytes | None:
    """Takes the oldest record; None where there is none."""
    numbers = self._numbers
    tail = numbers[_TAIL]
    if tail >= numbers[_HEAD]:
      return None
    place = _RECORDS + tail % self.capacity * self._stride
    head_of_record = numbers[place]
    length = min(head_of_record >> 32, self.record_size)
    start = 8 * (place + 1)
    record = bytes(self._bytes[start : start + length])
    if zlib.crc32(record, tail & _CHECKSUM) != head_of_record & _CHECKSUM:
      return None
    numbers[_TAIL] = tail + 1
    return record

  def drain(self) -> list[bytes]:
    """Takes all that is there now, oldest first."""
    records = []
    for _ in range(len(self)):
      record = self.get()
      if record is None:
        break
      records.append(record)
    return records

  def clear_for_new_consumer(self) -> int:
    """Drops what waits, for a reader that takes the place of a dead one.

    Only while nobody reads. A writer needs nothing of the kind: one that
    takes the place of another goes on where that one stopped.

    Returns:
      How many records were dropped.
    """
    waiting = len(self)
    self._numbers[_TAIL] += waiting
    return waiting

  def close(self) -> None:
    """Lets go of the memory; the ring stays for others."""
    # Views first: memory that is looked at cannot be closed.
    for view in (self._numbers, self._whole):
      view.release()
    self._memory.close()

  def __del__(self) -> None:
    # Nothing to close where there was never any memory.
    with contextlib.suppress(AttributeError):
      self.close()

  def unlink(self) -> None:
    """Removes it; its maker's last call."""
    self._memory.unlink()
