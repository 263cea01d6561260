import struct
import time

import pytest

from magenta_midi.midi.io.chunks import BadMidiError, split_chunks


def chunk(name, body, size=None):
  return name + struct.pack(">I", len(body) if size is None else size) + body


HEADER = chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96]))
END = b"\0\xff\x2f\0"


def test_other_chunks_and_long_headers_are_skipped():
  long_header = chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96, 9, 9]))
  for header in (HEADER, long_header):
    chunks = split_chunks(header + chunk(b"Junk", b"abc") + chunk(b"MTrk", END))
    assert chunks.tracks == [END]
    assert (chunks.format, chunks.division, chunks.missing) == (1, 96, 0)
    assert (chunks.skipped, chunks.leading) == (0, 0)


def test_riff_is_unwrapped():
  inner = HEADER + chunk(b"MTrk", END)
  riff = b"RIFF\0\0\0\0RMID"
  riff += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # odd sizes are padded
  riff += b"data" + struct.pack("<I", len(inner)) + inner
  assert split_chunks(riff).tracks == [END]
  with pytest.raises(BadMidiError, match="RIFF file without MIDI data"):
    split_chunks(b"RIFF\0\0\0\0RMID")


NOTES = b"\0\x90\x3c\x40\x10\x80\x3c\0" + END


@pytest.mark.parametrize("size", [0, 3, len(NOTES) - 1, 5000, 2**32 - 1])
def test_a_wrong_track_length_loses_no_track(size):
  data = HEADER + chunk(b"MTrk", NOTES, size) + chunk(b"MTrk", END)
  chunks = split_chunks(data)
  assert chunks.tracks == [NOTES, END]
  assert (chunks.missing, chunks.skipped) == (0, 0)
  assert split_chunks(HEADER + chunk(b"MTrk", NOTES, size)).tracks == [NOTES]


def test_bytes_between_tracks_are_counted():
  track = chunk(b"MTrk", NOTES)
  chunks = split_chunks(HEADER + track + b"\1\2\3\4\xff\0\0\0\0" + track)
  assert chunks.tracks == [NOTES, NOTES]
  assert chunks.skipped == 9
  # What follows the last track is padding.
  assert split_chunks(HEADER + track + bytes(500)).skipped == 0


def test_missing_tracks_are_counted():
  header = chunk(b"MThd", bytes([0, 1, 0, 5, 0, 96]))
  assert split_chunks(header + chunk(b"MTrk", END)).missing == 4


@pytest.mark.parametrize("stray", [b"\0", b"\xef\xbb\xbf", b"\r\n"])
def test_stray_bytes_before_the_header_are_skipped(stray):
  chunks = split_chunks(stray + HEADER + chunk(b"MTrk", NOTES))
  assert chunks.tracks == [NOTES]
  assert chunks.leading == len(stray)


def test_mac_binary_is_unwrapped():
  inner = HEADER + chunk(b"MTrk", NOTES)
  header = bytearray(128)
  header[1:7] = b"\5a.mid"
  header[65:69] = b"Midi"
  after = bytes(60) + b"MTrk a resource fork"
  # Without its length, as a plain 128 bytes of something.
  assert split_chunks(bytes(header) + inner).tracks == [NOTES]
  header[83:87] = struct.pack(">I", len(inner))
  chunks = split_chunks(bytes(header) + inner + after)
  assert chunks.tracks == [NOTES]
  assert chunks.leading == 128


def test_a_header_inside_other_data_is_no_midi_file():
  inner = HEADER + chunk(b"MTrk", NOTES)
  for before in (b"PK\3\4" + bytes(36), b"x" * 128):
    with pytest.raises(BadMidiError, match="not a MIDI file"):
      split_chunks(before + inner)


def test_an_unknown_type_is_type_1():
  header = chunk(b"MThd", bytes([0x74, 0x01, 0, 1, 0, 96]))
  chunks = split_chunks(header + chunk(b"MTrk", NOTES))
  assert (chunks.format, chunks.unknown_format) == (1, True)
  assert chunks.tracks == [NOTES]
  header = chunk(b"MThd", bytes([0, 2, 0, 1, 0, 96]))
  chunks = split_chunks(header + chunk(b"MTrk", NOTES))
  assert (chunks.format, chunks.unknown_format) == (2, False)


def test_a_wrong_header_length_loses_no_track():
  for size in (0, 5, 9, 2**32 - 1):
    header = chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96]), size)
    assert split_chunks(header + chunk(b"MTrk", NOTES)).tracks == [NOTES]


def test_too_many_tracks_are_refused():
  track = chunk(b"MTrk", END)
  assert len(split_chunks(HEADER + track * 4096).tracks) == 4096
  with pytest.raises(BadMidiError, match="has more than 4096 tracks"):
    split_chunks(HEADER + track * 4097)


@pytest.mark.parametrize(
  "unit",
  [
    b"MTrk\0\0\0\0\1\2\3\4\xff\xff\xff\xff",
    b"MTrk\xff\xff\xff\xff",
    b"MTrk\0\0\0\1\0",
    b"\1\2\3\4\0\0\0\0MTr",
    b"Junk\0\0\0\0",
  ],
)
def test_the_time_is_linear_in_the_file(unit):
  """Quadratic, 8 MB would take from minutes to hours; now it is a second."""
  data = HEADER + unit * (8 * 2**20 // len(unit))
  start = time.process_time()
  try:
    assert sum(map(len, split_chunks(data).tracks)) <= len(data)
  except BadMidiError as error:
    assert "4096 tracks" in str(error) or "no track" in str(error)
  assert time.process_time() - start < 40


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "the file is empty"),
    (b"GIF89a", "not a MIDI file"),
    (b"MThd", "truncated inside the header"),
    (HEADER, "no track"),
    (HEADER + b"MTr", "no track"),
    (chunk(b"MThd", bytes([0, 1, 0, 1, 0, 0])), "0 ticks a beat"),
    (chunk(b"MThd", bytes([0, 1, 0, 1, 0, 96]), 2), "2 bytes long"),
  ],
)
def test_what_is_no_midi_file_is_refused(data, message):
  with pytest.raises(BadMidiError, match=message):
    split_chunks(data)
