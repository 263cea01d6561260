"""Frames of notes, as the guide's tables have them."""

import struct

import pytest

from magenta_midi.live.protocol.events import Message
from magenta_midi.server.duets.note_frames import (
  MAX_RECORDS,
  MODEL,
  TimedBytes,
  pack_notes,
  unpack_notes,
)


def frame(*records, kind=1, who=0, count=None):
  count = len(records) if count is None else count
  rows = b"".join(struct.pack("<dB3s", *record) for record in records)
  return struct.pack("<BBH", kind, who, count) + rows


def test_a_frame_has_the_bytes_of_the_guide():
  found = pack_notes(MODEL, [Message(1_500_000_000, b"\x91\x3c\x50")])
  assert found == [
    b"\x01\x01\x01\x00"  # kind, the model, one record
    b"\x00\x00\x00\x00\x00\x00\xf8\x3f"  # 1.5 s
    b"\x03\x91\x3c\x50"  # three bytes: note-on
  ]


def test_many_messages_take_several_frames():
  messages = [Message(n, b"\x90\x3c\x01") for n in range(MAX_RECORDS + 1)]
  frames = pack_notes(MODEL, messages)
  assert [len(f) for f in frames] == [4 + 12 * MAX_RECORDS, 16]


def test_a_clients_notes_are_on_the_first_channel():
  found = unpack_notes(frame((2.0, 3, b"\x95\x3c\x50")))
  assert found == [TimedBytes(2.0, b"\x90\x3c\x50")]


def test_no_time_is_now():
  (found,) = unpack_notes(frame((float("nan"), 3, b"\x90\x3c\x50")))
  assert found.time_s is None


@pytest.mark.parametrize(
  "data", [b"\xf8\0\0", b"\x3c\x50\0", b"\x90\xff\x50", b"\xc0\x01\0"]
)
def test_other_messages_are_left_out(data):
  assert unpack_notes(frame((0.0, 3, data))) == []


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"\x01\x00\x01",
    frame(kind=2),
    frame((0.0, 3, b"\x90\x3c\x50"), who=1),
    frame((0.0, 3, b"\x90\x3c\x50"), count=2),
    frame((0.0, 3, b"\x90\x3c\x50")) + b"x",
    frame(*[(0.0, 3, b"\x90\x3c\x50")] * (MAX_RECORDS + 1)),
  ],
)
def test_what_is_no_such_frame_is_refused(data):
  with pytest.raises(ValueError, match="frame"):
    unpack_notes(data)
