"""Standard MIDI files as bytes: chunks and messages, also of damaged files.

Symusic 0.6.0 was measured and not taken for reading: it drops notes that
are never released and the pedal of a track without notes, loses the
channels, splits a track at a program change, wraps ticks at 32 bits and
refuses SMPTE division and every illegal byte. Here, runs of channel messages
are found by NumPy: between two metas every message has exactly three bytes
below 128 (the end of its delta time and two data bytes), so that their
places alone tell where each message begins.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# Bytes after each system status byte, as on the wire.
_SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1}

_FIRST_WINDOW = 1024  # bytes looked at for a run of messages
_SLOW_MESSAGES = 16  # read one by one before runs are tried again

MAX_TRACKS = 4096


class BadMidiError(ValueError):
  """The bytes are no MIDI file, or one too damaged to be read."""


class Track(NamedTuple):
  """The messages of one track, in order."""

  name: str
  tick: np.ndarray  # int64, absolute, of each channel message
  status: np.ndarray  # uint8, 0x80..0xEF
  data1: np.ndarray  # uint8; 128 and over is out of range
  data2: np.ndarray  # uint8; likewise
  tempo_tick: np.ndarray  # int64
  tempo_us: np.ndarray  # int64, microseconds a quarter note
  length_ticks: int  # where the track ends
  illegal_bytes: int
  damaged: bool  # ends before its end-of-track message


class MidiChunks(NamedTuple):
  """A file's header and its tracks' bytes."""

  format: int  # 0, 1 or 2
  division: int  # as in the header: ticks a beat, or SMPTE if 0x8000 is set
  tracks: list[bytes]
  damaged: int  # tracks cut short or missing


def split_chunks(data: bytes) -> MidiChunks:
  """Finds header and tracks, also inside RIFF; skips other chunks.

  Raises:
    BadMidiError: There is no usable header or no track.
  """
  if not data:
    raise BadMidiError("the file is empty")
  if data[:4] == b"RIFF" and data[8:12] == b"RMID":
    data = _unwrap_riff(data)
  if data[:4] != b"MThd":
    raise BadMidiError(
      f"not a MIDI file (begins with {data[:4]!r}, expected b'MThd')"
    )
  if len(data) < 14:
    raise BadMidiError(f"truncated inside the header ({len(data)} bytes)")
  length, kind, expected, division = struct.unpack(">IHHH", data[4:14])
  if kind > 2:
    raise BadMidiError(f"unknown MIDI file type {kind}, expected 0, 1 or 2")
  if division == 0:
    raise BadMidiError("the header says 0 ticks a beat")
  if length < 6:
    raise BadMidiError(f"the header is {length} bytes long, expected 6")
  tracks, damaged, at = [], 0, 8 + length
  while at + 8 <= len(data):
    name, size = struct.unpack(">4sI", data[at : at + 8])
    body = data[at + 8 : at + 8 + size]
    if name == b"MTrk":
      tracks.append(body)
      at += 8 + size
    elif all(32 <= c < 127 for c in name) and len(body) == size:
      at += 8 + size
    else:  # a wrong length led astray: look for the next track
      at = data.find(b"MTrk", at + 1)
      damaged += 1
      if at < 0:
        break
  if not tracks:
    raise BadMidiError("there is no track in it")
  if len(tracks) > MAX_TRACKS:
    raise BadMidiError(
      f"has {len(tracks)} tracks, at most {MAX_TRACKS} are read"
    )
  return MidiChunks(
    kind, division, tracks, damaged + max(expected - len(tracks), 0)
  )


def _unwrap_riff(data: bytes) -> bytes:
  at = 12
  while at + 8 <= len(data):
    name, size = struct.unpack("<4sI", data[at : at + 8])
    if name == b"data":
      return data[at + 8 : at + 8 + size]
    at += 8 + size + size % 2
  raise BadMidiError("RIFF file without MIDI data")


@dataclass
class _Reader:
  """The state of reading one track."""

  data: bytes
  at: int = 0
  tick: int = 0
  running: int = 0  # status byte that the next message may leave out
  illegal: int = 0
  ended: bool = False
  damaged: bool = False
  name: str | None = None
  tempos: list[tuple[int, int]] = field(default_factory=list)
  # Columns tick, status, data1, data2 of finished runs.
  runs: list[tuple[np.ndarray, ...]] = field(default_factory=list)
  singles: list[tuple[int, int, int, int]] = field(default_factory=list)

  def number(self) -> int | None:
    """A variable-length quantity, or None where it is cut or too long."""
    value = 0
    for byte in self.data[self.at : self.at + 4]:
      self.at += 1
      value = value << 7 | byte & 0x7F
      if byte < 0x80:
        return value
    return None

  def message(self) -> None:
    """Reads one message of any kind; sets `ended` or `damaged` at the end."""
    delta = self.number()
    if delta is None or self.at >= len(self.data):
      self.damaged = True
      return
    self.tick += delta
    status = self.data[self.at]
    if status < 0x80:
      status = self.running
    else:
      self.at += 1
    if status < 0x80:  # data, but no message to belong to
      self.damaged = True
    elif status < 0xF0:
      self.running = status
      size = 1 if 0xC0 <= status < 0xE0 else 2
      body = self.data[self.at : self.at + size]
      self.at += size
      if len(body) < size:
        self.damaged = True
        return
      self.illegal += sum(byte > 127 for byte in body)
      if size == 2:
        self.singles.append((self.tick, status, body[0], body[1]))
    elif status == 0xFF:
      self.meta()
    elif status in (0xF0, 0xF7):
      size = self.number()
      self.at += size or 0
      self.damaged = size is None or self.at > len(self.data)
    else:
      self.illegal += 1
      self.at += _SYSTEM_DATA.get(status, 0)

  def meta(self) -> None:
    kind = self.data[self.at : self.at + 1]
    self.at += 1
    size = self.number()
    if kind == b"\x2f":  # its length byte is all that may be missing
      # Messages may follow: a quarter of the piano rolls end their tracks
      # before their last note-offs. Padding is none, without a status.
      self.ended, self.running = True, 0
      return
    if size is None or self.at + size > len(self.data):
      self.damaged = True
      return
    body = self.data[self.at : self.at + size]
    self.at += size
    if kind == b"\x51" and size == 3:
      self.tempos.append((self.tick, int.from_bytes(body, "big")))
    elif kind == b"\x03" and self.name is None:
      self.name = _text(body)

  def flush_singles(self) -> None:
    if self.singles:
      columns = np.array(self.singles, np.int64).T
      self.runs.append((columns[0], *columns[1:].astype(np.uint8)))
      self.singles = []

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
    self.runs.append((tick, status[:n], seg[data1[:n]], seg[data2[:n]]))
    self.tick, self.running = int(tick[-1]), int(status[n - 1])
    self.at += int(data2[n - 1]) + 1
    return n


def read_track(data: bytes) -> Track:
  """Reads the messages of a track as far as they can be read.

  Args:
    data: The body of the track's chunk.

  Raises:
    BadMidiError: More than a few bytes cannot be what they are.
  """
  buffer = np.frombuffer(data, np.uint8)
  reader = _Reader(data)
  window, slow, messages = _FIRST_WINDOW, 0, 0
  while reader.at < len(data) and not reader.damaged:
    if reader.ended and reader.illegal:
      break
    if slow:
      slow -= 1
    else:
      before = reader.at
      found = reader.run(buffer, window)
      messages += found
      if reader.at - before > window - 16:
        window *= 4
        continue
      window = _FIRST_WINDOW
      # If runs are short, searching for one costs more than it saves.
      slow = _SLOW_MESSAGES if found < _SLOW_MESSAGES else 0
      if reader.at >= len(data):
        break
    reader.message()
    messages += 1
  if reader.illegal > 20 + messages // 50:
    raise BadMidiError(f"damaged: {reader.illegal} illegal bytes in a track")
  reader.flush_singles()
  empty = (np.empty(0, np.int64), *[np.empty(0, np.uint8)] * 3)
  columns = [np.concatenate(c) for c in zip(empty, *reader.runs, strict=True)]
  tempos = np.array(reader.tempos, np.int64).reshape(-1, 2)
  return Track(
    reader.name or "",
    *columns,
    tempo_tick=tempos[:, 0],
    tempo_us=tempos[:, 1],
    length_ticks=reader.tick,
    illegal_bytes=reader.illegal,
    damaged=not reader.ended,
  )


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
    next((t.name for t in tracks if t.name), ""),
    np.concatenate(shifted),
    *(
      np.concatenate([getattr(t, column) for t in tracks])
      for column in ("status", "data1", "data2")
    ),
    tempo_tick=np.concatenate([t for t, _ in tempos]),
    tempo_us=np.concatenate([us for _, us in tempos]),
    length_ticks=shift,
    illegal_bytes=sum(t.illegal_bytes for t in tracks),
    damaged=any(t.damaged for t in tracks),
  )


def _text(body: bytes) -> str:
  try:
    text = body.decode()
  except UnicodeDecodeError:
    text = body.decode("latin-1")
  return " ".join("".join(c if c.isprintable() else " " for c in text).split())
