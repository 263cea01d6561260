"""Bytes to messages and back."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.io.messages import (
  MessageParser,
  all_notes_off,
  control_change,
  note_off,
  note_on,
)


def parse(*parts: bytes) -> tuple[list[bytes], int]:
  parser = MessageParser()
  messages = [message for part in parts for message in parser.feed(part)]
  return messages, parser.garbage


@st.composite
def whole_messages(draw):
  status = draw(st.integers(0x80, 0xEF))
  count = 1 if status >> 4 in (0xC, 0xD) else 2
  data = st.integers(0, 127)
  return bytes((status, *(draw(data) for _ in range(count))))


clock = st.sampled_from([b"\xf8", b"\xfa", b"\xfb", b"\xfc", b"\xfe", b"\xff"])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_any_split_gives_the_same(stream, cuts):
  edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
  parts = [stream[a:b] for a, b in itertools.pairwise(edges)]
  assert parse(*parts) == parse(stream)


@given(st.binary(max_size=300))
def test_garbage_gives_whole_messages_only(stream):
  messages, garbage = parse(stream)
  assert 0 <= garbage <= len(stream)
  for message in messages:
    assert message[0] >= 0x80
    assert all(byte < 0x80 for byte in message[1:])
    # Each is one that the parser takes for itself.
    assert parse(message) == ([message], 0)


@given(st.lists(whole_messages()), st.data())
def test_clock_between_any_bytes_changes_nothing(messages, data):
  stream = bytearray()
  ticks = 0
  for byte in b"".join(messages):
    if data.draw(st.booleans()):
      stream += data.draw(clock)
      ticks += 1
    stream.append(byte)
  found, garbage = parse(bytes(stream))
  assert [m for m in found if m[0] < 0xF8] == messages
  assert sum(m[0] >= 0xF8 for m in found) == ticks
  assert garbage == 0


@given(st.lists(whole_messages()))
def test_running_status_is_written_out(messages):
  stream, status = bytearray(), 0
  for message in messages:
    stream += message[1:] if message[0] == status else message
    status = message[0]
  assert parse(bytes(stream)) == (messages, 0)


@given(st.binary(max_size=20), whole_messages())
def test_a_message_after_garbage_is_found(stream, message):
  assert parse(stream, message)[0][-1] == message


def test_system_messages():
  # Sysex with a clock tick inside; song position; tune request.
  messages, garbage = parse(bytes.fromhex("F0 7E F8 01 F7 F2 01 02 F6"))
  assert messages == [b"\xf8", b"\xf2\x01\x02", b"\xf6"]
  assert garbage == 0
  # Running status does not outlive a system message.
  assert parse(bytes.fromhex("90 3C 40 F6 3C 40"))[1] == 2
  # A sysex that is cut off by a note.
  assert parse(bytes.fromhex("F0 01 02 90 3C 40")) == ([b"\x90\x3c\x40"], 0)


@pytest.mark.parametrize(
  ("stream", "count"),
  [
    ("3C 40", 2),  # data of nothing
    ("90 3C 80 3C 40", 2),  # cut off after its key
    ("90 80 3C 40", 1),  # a status alone
    ("90 3C 40 3D F6", 1),  # the rest of a running status
    ("F7", 1),
    ("F4 F5 F9 FD", 4),  # undefined
  ],
)
def test_garbage_is_counted(stream, count):
  assert parse(bytes.fromhex(stream))[1] == count


def test_flush_ends_a_packet():
  parser = MessageParser()
  assert parser.feed(b"\x90\x3c\x40\x3d") == [b"\x90\x3c\x40"]
  parser.flush()
  assert parser.garbage == 1
  # No running status from one packet to the next.
  assert parser.feed(b"\x3d\x40") == []
  assert parser.garbage == 3
  parser.feed(b"\xf0\x01")
  parser.flush()
  assert parser.feed(b"\x90\x3c\x40") == [b"\x90\x3c\x40"]


def test_messages_made():
  assert note_on(1, 60, 100) == b"\x90\x3c\x64"
  assert note_off(2, 60) == b"\x81\x3c\x40"
  assert control_change(16, 64, 127) == b"\xbf\x40\x7f"
  assert all_notes_off(2) == b"\xb1\x7b\x00"


@pytest.mark.parametrize(
  ("make", "match"),
  [
    (lambda: note_on(0, 60, 64), r"channel must be in 1\.\.16, got 0"),
    (lambda: note_off(17, 60), r"channel must be in 1\.\.16, got 17"),
    (lambda: note_on(1, 128, 64), r"key must be in 0\.\.127, got 128"),
    (lambda: note_on(1, 60, 0), r"velocity must be in 1\.\.127, got 0"),
    (lambda: control_change(1, 64, -1), r"value must be in 0\.\.127, got -1"),
  ],
)
def test_numbers_out_of_range(make, match):
  with pytest.raises(ValueError, match=match):
    make()
