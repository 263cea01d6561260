"""Messages of the tracks of a MIDI file, also of damaged ones.

Symusic 0.6.0 was measured and not taken for reading: it drops notes that
are never released and the pedal of a track without notes, loses the
channels, splits a track at a program change, wraps ticks at 32 bits and
refuses SMPTE division and every illegal byte. Here, runs of channel messages
are found by NumPy: between two metas every message has exactly three bytes
below 128 (the end of its delta time and two data bytes), so that their
places alone tell where each message begins.

What is no message is skipped up to where the next one begins for certain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from magenta_midi.bounded_files import MIDI_MESSAGES
from magenta_midi.midi.io.chunks import BadMidiError
from magenta_midi.midi.io.names import MAX_NAME_BYTES
from magenta_midi.midi.io.resync import next_certain

__all__ = ["MAX_HINTS", "Track", "in_sequence", "read_track"]

# Bytes after each system status byte, as on the wire. No file should hold
# them; others (F4, F5, F9, FD) are undefined.
_SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0} | {
  status: 0 for status in (0xFB, 0xFC, 0xFE)
}

# Bytes looked at for a run of messages. A run that fills them is looked for
# in more: up to what arrays of this size are quick with.
_FIRST_WINDOW, _MAX_WINDOW = 2**10, 2**16
# Messages read one by one before runs are tried again. Where runs stay short,
# twice as many each time: searching costs more than it saves.
_SLOW_MESSAGES, _MAX_SLOW_MESSAGES = 16, 256
_KEPT_NUMBERS = 2**14  # held as Python numbers, four a message

# Programs that keep times in 64 bits have written delta times of ten bytes.
_MAX_DELTA_BYTES = 10
# How far before the present time an event may be, in ticks.
_MAX_BACK = 2**16
_SEEN_METAS = (0x03, 0x2F, 0x51)  # name, end of track, tempo
# Places where damage is skipped before a track counts as no music.
_MAX_PLACES = 20
# Texts kept to guess the encoding of names by.
MAX_HINTS = 32


class Track(NamedTuple):
  """The messages of one track, in order."""

  name: bytes  # as in the file; see `names`
  tick: np.ndarray  # int64, absolute, of each channel message; ascending
  status: np.ndarray  # uint8, 0x80..0xEF
  data1: np.ndarray  # uint8, 0..127
  data2: np.ndarray  # uint8, likewise
  tempo_tick: np.ndarray  # int64
  tempo_us: np.ndarray  # int64, microseconds a quarter note
  length_ticks: int  # where the track ends
  messages: int  # of all kinds
  illegal_bytes: int  # skipped
  clipped: int  # data bytes over 127, taken as 127
  long_deltas: int  # delta times of more than four bytes
  damaged: bool  # ends before its end-of-track message
  hints: tuple[bytes, ...] = ()  # texts beyond ASCII, such as lyrics


@dataclass
class _Reader:
  """The state of reading one track."""

  data: bytes
  at: int = 0
  tick: int = 0
  running: int = 0  # status byte that the next message may leave out
  illegal: int = 0  # bytes
  places: int = 0  # where something was skipped
  clipped: int = 0
  long_deltas: int = 0
  messages: int = 0
  ended: bool = False
  damaged: bool = False
  lost_status: bool = False  # data was found that no status precedes
  name: bytes | None = None
  hints: list[bytes] = field(default_factory=list)
  tempos: list[np.ndarray] = field(default_factory=list)
  # The first `count` rows are filled. A message has two bytes at least.
  count: int = 0
  # Not yet in the columns; four numbers a message, and two a tempo.
  singles: list[int] = field(default_factory=list)
  single_tempos: list[int] = field(default_factory=list)

  def __post_init__(self) -> None:
    room = len(self.data) // 2 + 1
    self.ticks = np.empty(room, np.int64)
    self.columns = np.empty((3, room), np.uint8)

  def usual(self, most: int) -> int:
    """Reads messages one by one as long as nothing about them is unusual.

    Stops before what `message` must see: tempos, names, ends and damage.

    Args:
      most: How many to read at most.

    Returns:
      How many were read.
    """
    data, at, tick, running = self.data, self.at, self.tick, self.running
    length, singles, read = len(data), self.singles, 0
    while read < most and at + 6 < length:
      delta, place = data[at], at + 1
      if delta > 127:
        if data[place] > 127:
          break
        delta = (delta & 127) << 7 | data[place]
        place += 1
      status = data[place]
      if status < 128:
        status = running
      else:
        place += 1
      if status < 128:
        break
      if status < 0xF0:
        if data[place] > 127:
          break
        if 0xC0 <= status < 0xE0:
          place += 1
        elif data[place + 1] > 127:
          break
        else:
          singles += (tick + delta, status, data[place], data[place + 1])
          place += 2
        running = status
      else:
        # Metas and system exclusive messages: their kind, size and body.
        if status == 0xFF:
          kind, place = data[place], place + 1
          if kind in _SEEN_METAS or kind > 127:
            break
        elif status not in (0xF0, 0xF7):
          break
        size, place = data[place], place + 1
        if size > 127 or place + size > length:
          break
        if status == 0xFF and not data[place : place + size].isascii():
          break
        place += size
      at, tick, read = place, tick + delta, read + 1
    self.at, self.tick, self.running = at, tick, running
    return read

  def message(self) -> None:
    """Reads one message of any kind, or skips what is none."""
    start, tick = self.at, self.tick
    if not (self.delta() and self.event()):
      self.skip(start, tick)

  def delta(self) -> bool:
    """Adds a delta time; False if there is none."""
    value, size = 0, 0
    for byte in self.data[self.at : self.at + _MAX_DELTA_BYTES]:
      size += 1
      value = value << 7 | byte & 0x7F
      if byte < 0x80:
        break
    else:
      return False
    self.at += size
    if size > 4:
      # As programs with numbers of 32 bits meant it. Ableton Live 9 begins
      # a track with 8f ff ff ff 00, 128 ticks before zero: its later delta
      # times count from there.
      self.long_deltas += 1
      value &= 0xFFFFFFFF
      value -= (value & 0x80000000) << 1
      if not -_MAX_BACK < value < 2**28:
        value = 0
    self.tick += value
    return True

  def event(self) -> bool:
    """Reads what follows a delta time; False if it is no message."""
    if self.at >= len(self.data):
      return False
    status = self.data[self.at]
    if status < 0x80:
      status = self.running
      if not status:  # data, but no message to belong to
        self.lost_status = True
        return False
    else:
      self.at += 1
    if status < 0xF0:
      return self.channel_message(status)
    if status == 0xFF:
      return self.meta()
    if status in (0xF0, 0xF7):
      size = self.size()
      return size is not None and self.take(size) is not None
    self.illegal += 1
    if status not in _SYSTEM_DATA:
      self.places += 1
      return True
    # As mido reads them; they say nothing about notes.
    return self.take(_SYSTEM_DATA[status]) is not None

  def channel_message(self, status: int) -> bool:
    size = 1 if 0xC0 <= status < 0xE0 else 2
    body = self.data[self.at : self.at + size]
    if len(body) < size:
      return False
    high = sum(byte > 127 for byte in body)
    if high:
      self.clipped += high
      body = bytes(min(byte, 127) for byte in body)
    self.running = status
    self.at += size
    if size == 2:
      self.singles += (self.tick, status, *body)
    return True

  def size(self) -> int | None:
    """The size of a meta or system exclusive message; None if it has none."""
    value = 0
    for byte in self.data[self.at : self.at + 4]:
      self.at += 1
      value = value << 7 | byte & 0x7F
      if byte < 0x80:
        return value
    return None

  def take(self, size: int) -> bytes | None:
    """The next bytes; None if there are fewer."""
    at = self.at
    if at + size > len(self.data):
      return None
    self.at += size
    return self.data[at : self.at]

  def meta(self) -> bool:
    kind = self.data[self.at : self.at + 1]
    self.at += 1
    size = self.size()
    if kind == b"\x2f":  # its length byte is all that may be missing
      # Messages may follow: a quarter of the piano rolls end their tracks
      # before their last note-offs. Padding is none, without a status.
      self.ended, self.running = True, 0
      return True
    if size is None or kind >= b"\x80":
      return False
    body = self.take(size)
    if body is None:
      return False
    if kind == b"\x51" and size == 3:
      self.single_tempos += (max(self.tick, 0), int.from_bytes(body, "big"))
    elif kind == b"\x03" and self.name is None:
      self.name = body[:MAX_NAME_BYTES]
    elif (
      b"\x01" <= kind <= b"\x07"
      and len(self.hints) < MAX_HINTS
      and not body.isascii()
    ):
      self.hints.append(body[:MAX_NAME_BYTES])
    return True

  def skip(self, start: int, tick: int) -> None:
    """Goes on with the next message after bytes that are none.

    Args:
      start: Where the delta time of these bytes begins.
      tick: The time before them.
    """
    if self.ended:  # padding
      self.at = len(self.data)
      return
    self.places += 1
    at = next_certain(self.data, start + 1)
    if at is None:
      self.damaged = True
      return
    # Before data that lost its status stands a sound delta time. Anything
    # else, and a very long one, may have been none.
    if not self.lost_status or self.at - start > 2:
      self.tick = tick
    self.illegal += at - start
    self.at, self.running, self.lost_status = at, 0, False

  def flush_singles(self) -> None:
    if self.singles:
      rows = np.array(self.singles, np.int64).reshape(-1, 4).T
      self.add(rows[0], *rows[1:].astype(np.uint8))
      self.singles = []
    if self.single_tempos:
      self.tempos.append(np.array(self.single_tempos, np.int64).reshape(-1, 2))
      self.single_tempos = []

  def add(self, tick: np.ndarray, *columns: np.ndarray) -> None:
    end = self.count + len(tick)
    self.ticks[self.count : end] = tick
    for own, column in zip(self.columns, columns, strict=True):
      own[self.count : end] = column
    self.count = end

  def run(self, buffer: np.ndarray, window: int) -> int:
    """Reads the channel messages from here on; returns how many."""
    seg = buffer[self.at : self.at + window]
    low = np.flatnonzero(seg < 0x80)
    n = len(low) // 3
    if not n or 0xC0 <= self.running < 0xE0:
      return 0
    low = low[: 3 * n].reshape(n, 3)
    delta_end, data1, data2 = low[:, 0], low[:, 1], low[:, 2]
    start = np.append(0, data2[:-1] + 1)
    delta_size = delta_end - start + 1
    gap = data1 - delta_end
    given = np.where(gap == 2, seg[delta_end + 1], 0).astype(np.uint8)
    # Carry each status byte on to the messages that leave it out.
    source = np.maximum.accumulate(np.where(gap == 2, np.arange(n), -1))
    status = np.where(source < 0, np.uint8(self.running), given[source])
    fine = (
      (delta_size <= 4)
      & (gap <= 2)
      & (data2 == data1 + 1)
      & (status >= 0x80)
      & (status < 0xF0)
      & ((status < 0xC0) | (status >= 0xE0))
    )
    if not fine.all():
      n = int(np.argmin(fine))
      if not n:
        return 0
    delta = seg[delta_end[:n]].astype(np.int64)
    long = np.flatnonzero(delta_size[:n] > 1)
    for more in range(1, 4):
      long = long[delta_size[long] > more]
      byte = seg[delta_end[long] - more].astype(np.int64) & 0x7F
      delta[long] += byte << 7 * more
    tick = self.tick + np.cumsum(delta)
    self.flush_singles()
    self.add(tick, status[:n], seg[data1[:n]], seg[data2[:n]])
    self.tick, self.running = int(tick[-1]), int(status[n - 1])
    self.at += int(data2[n - 1]) + 1
    return n

  def track(self) -> Track:
    n = self.count
    tick = self.ticks[:n]
    if self.long_deltas:  # some may point back
      np.maximum(tick, 0, out=tick)
      np.maximum.accumulate(tick, out=tick)
    tempos = np.concatenate([np.empty((0, 2), np.int64), *self.tempos])
    return Track(
      self.name or b"",
      tick,
      *self.columns[:, :n],
      tempo_tick=tempos[:, 0],
      tempo_us=tempos[:, 1],
      length_ticks=max(self.tick, 0),
      messages=self.messages,
      illegal_bytes=self.illegal,
      clipped=self.clipped,
      long_deltas=self.long_deltas,
      damaged=not self.ended,
      hints=tuple(self.hints),
    )


def read_track(data: bytes, most: int = MIDI_MESSAGES) -> Track:
  """Reads the messages of a track, and skips what is none.

  The time is linear in the data, and so is the memory.

  Args:
    data: The body of the track's chunk.
    most: Messages that are read at most.

  Raises:
    BadMidiError: It is damaged in more than a few places, or has more
      messages.
  """
  buffer = np.frombuffer(data, np.uint8)
  reader = _Reader(data)
  window, slow, pause = _FIRST_WINDOW, 0, _SLOW_MESSAGES
  while reader.at < len(data) and not reader.damaged:
    if reader.ended and reader.places:
      break
    if slow <= 0:
      before = reader.at
      found = reader.run(buffer, window)
      reader.messages += found
      if reader.at - before > window - 16:
        window = min(4 * window, _MAX_WINDOW)
        continue
      window = _FIRST_WINDOW
      if found < _SLOW_MESSAGES:
        slow, pause = pause, min(2 * pause, _MAX_SLOW_MESSAGES)
      else:
        pause = _SLOW_MESSAGES
      if reader.at >= len(data):
        break
    read = reader.usual(slow)
    if read < slow or not slow:
      reader.message()
      read += 1
    reader.messages += read
    slow -= read
    if reader.messages > most:
      break
    if reader.places > _MAX_PLACES + reader.messages // 50:
      raise BadMidiError(
        f"damaged in {reader.places} places of a track: no music to be read"
      )
    if len(reader.singles) + len(reader.single_tempos) >= _KEPT_NUMBERS:
      reader.flush_singles()
  if reader.messages > most:
    raise BadMidiError(f"has more than {MIDI_MESSAGES:,} messages")
  reader.flush_singles()
  return reader.track()


def in_sequence(tracks: list[Track]) -> Track:
  """The tracks of a type-2 file, which are songs, one after the other."""
  shift, shifted, tempos = 0, [], []
  for track in tracks:
    shifted.append(track.tick + shift)
    # Each song begins at 120 bpm unless it says otherwise.
    tempos.append((np.array([shift]), np.array([500_000])))
    tempos.append((track.tempo_tick + shift, track.tempo_us))
    shift += track.length_ticks
  return Track(
    next((t.name for t in tracks if t.name), b""),
    np.concatenate(shifted),
    *(
      np.concatenate([getattr(t, column) for t in tracks])
      for column in ("status", "data1", "data2")
    ),
    tempo_tick=np.concatenate([t for t, _ in tempos]),
    tempo_us=np.concatenate([us for _, us in tempos]),
    length_ticks=shift,
    messages=sum(t.messages for t in tracks),
    illegal_bytes=sum(t.illegal_bytes for t in tracks),
    clipped=sum(t.clipped for t in tracks),
    long_deltas=sum(t.long_deltas for t in tracks),
    damaged=any(t.damaged for t in tracks),
    hints=tuple(hint for t in tracks for hint in t.hints),
  )
