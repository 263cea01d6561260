import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magenta_midi.midi.io.smf import BadMidiError, read_track, split_chunks


def columns(track):
  """Rows of tick, status, data, data."""
  return list(
    zip(
      *(
        getattr(track, name).tolist()
        for name in ("tick", "status", "data1", "data2")
      ),
      strict=True,
    )
  )


def vlq(number):
  out = [number & 0x7F]
  while number := number >> 7:
    out.append(number & 0x7F | 0x80)
  return bytes(out[::-1])


@st.composite
def tracks(draw):
  """A track's bytes, with running status at whim, and its messages."""
  byte = st.integers(0, 127)
  data, rows, tick, running = b"", [], 0, 0
  kinds = draw(st.lists(st.sampled_from("nnnnnnpxms"), max_size=30)) * draw(
    st.sampled_from([1, 1, 9])
  )
  for kind in kinds:
    delta = draw(st.integers(0, 200) | st.integers(0, 2**28 - 1))
    tick += delta
    data += vlq(delta)
    if kind == "x":  # system exclusive
      size = draw(st.sampled_from([0, 3, 150]))
      data += b"\xf0" + vlq(size) + bytes(size)
    elif kind == "m":
      data += b"\xff\x01\x02hi"
    elif kind == "s":
      data += b"\xff\x51\x03\x07\xa1\x20"
    else:
      status = draw(
        st.integers(0xC0, 0xDF)
        if kind == "p"
        else st.integers(0x80, 0xBF) | st.integers(0xE0, 0xEF)
      )
      body = draw(st.tuples(byte, byte))[: 1 if kind == "p" else 2]
      if status != running or draw(st.booleans()):
        data += bytes([status])
      running = status
      data += bytes(body)
      if kind == "n":
        rows.append((tick, status, *body))
  return data + b"\0\xff\x2f\0", rows, tick


@given(tracks())
def test_messages_are_found_by_vector_as_one_by_one(drawn):
  data, rows, tick = drawn
  track = read_track(data)
  assert columns(track) == rows
  assert track.length_ticks == tick
  assert not track.damaged
  assert not track.illegal_bytes


def test_long_runs_cross_the_window():
  # 5000 notes with running status and delta times of one to four bytes.
  rng = np.random.default_rng(0)
  deltas = rng.choice([1, 200, 20_000, 3_000_000], 5000)
  data = b"".join(
    vlq(int(d)) + (b"\x93" if i % 7 == 0 else b"") + bytes([i % 128, 64])
    for i, d in enumerate(deltas)
  )
  track = read_track(data + b"\0\xff\x2f\0")
  assert track.tick.tolist() == np.cumsum(deltas).tolist()
  assert track.data1.tolist() == [i % 128 for i in range(5000)]
  assert set(track.status.tolist()) == {0x93}


@given(st.binary(max_size=400))
@example(b"\xff")
@example(b"\0\xf0\xff\xff\xff\x7f")
@example(b"\xff\xff\xff\xff\xff")
def test_any_bytes_are_a_track_or_refused(data):
  try:
    track = read_track(data)
  except BadMidiError:
    return
  assert (np.diff(track.tick) >= 0).all()
  assert ((track.status >= 0x80) & (track.status < 0xF0)).all()


def test_running_status_survives_meta_and_sysex(bytes_of):
  track = read_track(
    bytes_of("""
      00 90 3c 40
      10 3c 00  # running status: a note-off
      00 f0 03 7e 7f f7  # system exclusive
      00 3e 40
      00 ff 01 01 41  # text
      10 3e 00
      00 ff 2f 00
    """)
  )
  assert [row[:3] for row in columns(track)] == [
    (0, 0x90, 0x3C),
    (16, 0x90, 0x3C),
    (16, 0x90, 0x3E),
    (32, 0x90, 0x3E),
  ]


def test_messages_after_the_end_of_track_are_read(bytes_of):
  track = read_track(
    bytes_of("""
      00 90 3c 40
      00 ff 2f 00  # too early
      10 80 3c 00
      00 ff 2f 00
      00 00 00 00 00  # padding
    """)
  )
  assert len(track.tick) == 2
  assert not track.damaged


def test_illegal_status_bytes_are_skipped_with_their_data(bytes_of):
  track = read_track(
    bytes_of("""
      00 f1 7f   00 f2 7f 7f   00 f3 7f   00 f4   00 f8   00 fe
      00 90 3c 40
      10 80 3c 00
      00 ff 2f 00
    """)
  )
  assert len(track.tick) == 2
  assert track.illegal_bytes == 6


def test_too_many_illegal_bytes_are_refused():
  with pytest.raises(BadMidiError, match="damaged: 50 illegal bytes"):
    read_track(b"\0\xf8" * 50 + b"\0\xff\x2f\0")


@pytest.mark.parametrize(
  "tail",
  [
    "",
    "00",
    "ff",
    "ff ff ff ff ff",
    "00 90",
    "00 90 3c",
    "00 ff 01 09 41",
    "00 f0 05 00",
    "00 ff",
  ],
)
def test_a_cut_track_is_read_up_to_the_cut(bytes_of, tail):
  track = read_track(bytes_of("00 90 3c 40 10 80 3c 00" + tail))
  assert len(track.tick) == 2
  assert track.damaged


def chunk(name, body, size=None):
  return name + struct.pack(">I", len(body) if size is None else size) + body


HEADER = chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96]))
END = b"\0\xff\x2f\0"


def test_other_chunks_and_long_headers_are_skipped():
  long_header = chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96, 9, 9]))
  for header in (HEADER, long_header):
    chunks = split_chunks(header + chunk(b"Junk", b"abc") + chunk(b"MTrk", END))
    assert chunks.tracks == [END]
    assert (chunks.format, chunks.division, chunks.damaged) == (1, 96, 0)


def test_riff_is_unwrapped():
  inner = HEADER + chunk(b"MTrk", END)
  riff = b"RIFF\0\0\0\0RMID"
  riff += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # odd sizes are padded
  riff += b"data" + struct.pack("<I", len(inner)) + inner
  assert split_chunks(riff).tracks == [END]
  with pytest.raises(BadMidiError, match="RIFF file without MIDI data"):
    split_chunks(b"RIFF\0\0\0\0RMID")


def test_a_wrong_track_length_does_not_lose_the_next_track():
  data = HEADER + chunk(b"MTrk", END + b"\xf7\xf7", 3) + chunk(b"MTrk", END)
  chunks = split_chunks(data)
  assert chunks.tracks == [END[:3], END]
  assert chunks.damaged == 1


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "the file is empty"),
    (b"GIF89a", "not a MIDI file"),
    (b"MThd", "truncated inside the header"),
    (HEADER, "no track"),
    (HEADER + b"MTr", "no track"),
    (chunk(b"MThd", bytes([0, 9, 0, 1, 0, 96])), "unknown MIDI file type 9"),
    (chunk(b"MThd", bytes([0, 1, 0, 1, 0, 0])), "0 ticks a beat"),
    (chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96]), 2), "2 bytes long"),
  ],
)
def test_what_is_no_midi_file_is_refused(data, message):
  with pytest.raises(BadMidiError, match=message):
    split_chunks(data)
