"""A ring between two processes: one puts records, the other takes them.

One writer and one reader, no locks: the writer alone moves the head, the
reader alone the tail, and each is one aligned 8-byte store. A record is
written before the head that shows it. That order holds on x86 by itself; on
ARM, CPython's own bookkeeping between the two stores has always been enough in
practice, and a reader checks each record's number, so that one seen too early
is simply not taken yet.
"""

import struct
from multiprocessing import shared_memory

__all__ = ["Ring"]

_NUMBER = struct.Struct("<Q")
_HEADER = struct.Struct("<QQQQ")
# Head and tail on cache lines of their own.
_HEAD_AT, _TAIL_AT, _SHAPE_AT, _DATA_AT = 0, 64, 128, 192
_LENGTH = struct.Struct("<I")


class Ring:
  """A bounded ring of records in shared memory; see the module.

  Attributes:
    dropped: Records refused by a full ring, of this process.
  """

  def __init__(
    self, memory: shared_memory.SharedMemory, capacity: int, size: int
  ):
    self._memory = memory
    self._capacity = capacity
    self._size = size
    # The record's number and length come before it.
    self._stride = (_NUMBER.size + _LENGTH.size + size + 7) // 8 * 8
    self._head = self._number(_HEAD_AT)
    self._tail = self._number(_TAIL_AT)
    self.dropped = 0

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
    stride = (_NUMBER.size + _LENGTH.size + record_size + 7) // 8 * 8
    memory = shared_memory.SharedMemory(
      create=True, size=_DATA_AT + capacity * stride
    )
    view = memory.buf
    assert view is not None
    view[:] = bytes(len(view))
    struct.pack_into("<QQ", view, _SHAPE_AT, capacity, record_size)
    return cls(memory, capacity, record_size)

  @classmethod
  def attach(cls, name: str) -> "Ring":
    """A ring that the process which started this one made.

    Raises:
      OSError: There is none of that name.
    """
    memory = shared_memory.SharedMemory(name=name)
    assert memory.buf is not None
    capacity, size = struct.unpack_from("<QQ", memory.buf, _SHAPE_AT)
    return cls(memory, capacity, size)

  @property
  def name(self) -> str:
    """What `attach` takes."""
    return self._memory.name

  def _number(self, at: int) -> int:
    assert self._memory.buf is not None
    return _NUMBER.unpack_from(self._memory.buf, at)[0]

  def put(self, record: bytes) -> bool:
    """Adds a record; False where the ring is full.

    Raises:
      ValueError: It is longer than the ring's records.
    """
    if len(record) > self._size:
      raise ValueError(
        f"a record has at most {self._size} bytes, got {len(record)}."
      )
    view = self._memory.buf
    assert view is not None
    if self._head - self._number(_TAIL_AT) >= self._capacity:
      self.dropped += 1
      return False
    at = _DATA_AT + self._head % self._capacity * self._stride
    _LENGTH.pack_into(view, at + _NUMBER.size, len(record))
    start = at + _NUMBER.size + _LENGTH.size
    view[start : start + len(record)] = record
    self._head += 1
    _NUMBER.pack_into(view, at, self._head)
    _NUMBER.pack_into(view, _HEAD_AT, self._head)
    return True

  def get(self) -> bytes | None:
    """Takes the oldest record; None where there is none."""
    view = self._memory.buf
    assert view is not None
    if self._tail >= self._number(_HEAD_AT):
      return None
    at = _DATA_AT + self._tail % self._capacity * self._stride
    if _NUMBER.unpack_from(view, at)[0] != self._tail + 1:
      return None
    (length,) = _LENGTH.unpack_from(view, at + _NUMBER.size)
    start = at + _NUMBER.size + _LENGTH.size
    record = bytes(view[start : start + length])
    self._tail += 1
    _NUMBER.pack_into(view, _TAIL_AT, self._tail)
    return record

  def drain(self) -> list[bytes]:
    """Takes all that is there, oldest first."""
    records = []
    while (record := self.get()) is not None:
      records.append(record)
    return records

  def clear_for_new_consumer(self) -> None:
    """Drops what waits, for a reader that takes the place of a dead one."""
    self._tail = self._number(_HEAD_AT)
    assert self._memory.buf is not None
    _NUMBER.pack_into(self._memory.buf, _TAIL_AT, self._tail)

  def close(self) -> None:
    """Lets go of the memory; the ring stays for others."""
    self._memory.close()

  def unlink(self) -> None:
    """Removes it; its maker's last call."""
    self._memory.unlink()
