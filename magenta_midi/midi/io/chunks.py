"""The chunks of a MIDI file, also where their lengths are wrong."""

from __future__ import annotations

import struct
from typing import NamedTuple

from magenta_midi.bounded_files import MIDI_TRACKS

__all__ = ["BadMidiError", "MidiChunks", "split_chunks"]

_HEADER, _TRACK = b"MThd", b"MTrk"
_END_OF_TRACK = b"\xff\x2f\0"
# A header and its length: eight bytes that do not stand there by chance.
_CERTAIN_HEADER = b"MThd\0\0\0\6"
# Stray bytes, or a mark of UTF-8, before the header.
_MAX_STRAY = 8
_MAC_BINARY = 128  # bytes before the header, the first of them 0


class BadMidiError(ValueError):
  """The bytes are no MIDI file, or one too damaged to be read."""


class MidiChunks(NamedTuple):
  """A file's header and its tracks' bytes."""

  format: int  # 0, 1 or 2
  division: int  # as in the header: ticks a beat, or SMPTE if 0x8000 is set
  tracks: list[bytes]
  missing: int  # tracks that the header promises and that are not there
  skipped: int  # bytes between chunks that are no chunk
  leading: int  # bytes before the header
  unknown_format: bool  # the header's type is none; read as type 1


def split_chunks(data: bytes) -> MidiChunks:
  """Finds header and tracks, also inside RIFF; skips other chunks.

  The time is linear in the file: every search goes on where the last ended.

  Raises:
    BadMidiError: There is no usable header or no track, or too many tracks.
  """
  if not data:
    raise BadMidiError("the file is empty")
  if data[:4] == b"RIFF" and data[8:12] == b"RMID":
    data = _unwrap_riff(data)
  data, leading = _from_header(data)
  if len(data) < 14:
    raise BadMidiError(f"truncated inside the header ({len(data)} bytes)")
  length, kind, expected, division = struct.unpack(">IHHH", data[4:14])
  if division == 0:
    raise BadMidiError("the header says 0 ticks a beat")
  at = 8 + length
  if data[14:18] == _TRACK:  # whatever the length says
    at = 14
  elif length < 6:
    raise BadMidiError(f"the header is {length} bytes long, expected 6")
  tracks, skipped = [], 0
  while at + 8 <= len(data):
    name, size = struct.unpack_from(">4sI", data, at)
    end = at + 8 + size
    if name == _TRACK:
      start, at = at + 8, _track_end(data, at + 8, end)
      tracks.append(data[start:at])
      if len(tracks) > MIDI_TRACKS:
        raise BadMidiError(f"has more than {MIDI_TRACKS} tracks")
    elif end <= len(data) and all(32 <= c < 127 for c in name):
      at = end
    else:  # no chunk: look for the next track
      found = data.find(_TRACK, at + 1)
      if found < 0:  # trailing bytes
        break
      skipped += found - at
      at = found
  if not tracks:
    raise BadMidiError("there is no track in it")
  unknown = kind > 2
  return MidiChunks(
    format=1 if unknown else kind,
    division=division,
    tracks=tracks,
    missing=max(expected - len(tracks), 0),
    skipped=skipped,
    leading=leading,
    unknown_format=unknown,
  )


def _from_header(data: bytes) -> tuple[bytes, int]:
  """The bytes from the header on, and how many stand before it."""
  if data[:4] == _HEADER:
    return data, 0
  at = data.find(_CERTAIN_HEADER, 0, _MAX_STRAY + len(_CERTAIN_HEADER))
  end = len(data)
  if at < 0 and data[:1] == b"\0" and data.startswith(_HEADER, _MAC_BINARY):
    at = _MAC_BINARY
    # The length of the data; padding and a resource fork follow it.
    size = int.from_bytes(data[83:87])
    if 14 <= size <= len(data) - at:
      end = at + size
  if at < 0:
    raise BadMidiError(
      f"not a MIDI file (begins with {data[:4]!r}, expected b'MThd')"
    )
  return data[at:end], at


def _track_end(data: bytes, start: int, end: int) -> int:
  """Where a track ends: where its length says, unless that is wrong.

  Args:
    data: From the header on.
    start: Where the track's messages begin.
    end: Where they end by the length of the chunk.
  """
  if end > len(data):
    # Too long, or the file was cut: another track may follow inside.
    found = data.find(_END_OF_TRACK + _TRACK, start)
    return found + len(_END_OF_TRACK) if found >= 0 else len(data)
  if end == len(data) or data[max(end - 3, start) : end] == _END_OF_TRACK:
    return end
  if data[end : end + 4] == _TRACK:  # lacks its end-of-track
    return end
  # Too short: its messages go on to the next track.
  found = data.find(_TRACK, end)
  return found if found >= 0 else len(data)


def _unwrap_riff(data: bytes) -> bytes:
  at = 12
  while at + 8 <= len(data):
    name, size = struct.unpack_from("<4sI", data, at)
    if name == b"data":
      return data[at + 8 : at + 8 + size]
    at += 8 + size + size % 2
  raise BadMidiError("RIFF file without MIDI data")
