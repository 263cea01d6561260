import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magenta_midi.midi.io.chunks import BadMidiError
from magenta_midi.midi.io.smf import read_track

END = b"\0\xff\x2f\0"


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


def test_realtime_bytes_are_no_damage():
  # Active sensing and clock between notes, as mido and symusic read them.
  track = read_track(b"\0\xf8\0\xfe\0\x90\x3c\x40" * 50 + END)
  assert len(track.tick) == 50
  assert track.illegal_bytes == 100


def test_too_much_damage_is_refused():
  # Undefined status bytes, one after the other.
  with pytest.raises(BadMidiError, match="damaged in 21 places of a track"):
    read_track(b"\0\xf4" * 50 + END)


def test_more_messages_than_the_limit_are_refused(monkeypatch):
  data = b"\0\x90\x3c\x40" * 30 + b"\0\xff\1\0" * 30 + END
  assert read_track(data, most=61).messages == 61
  with pytest.raises(BadMidiError, match="has more than 2,097,152 messages"):
    read_track(data, most=60)


NOTES = (
  "00 90 3c 40 10 80 3c 00 00 90 3e 40 10 80 3e 00 00 90 40 40 10 80 40 00"
)
NOTE_ROWS = [
  (0, 0x90, 0x3C, 0x40),
  (16, 0x80, 0x3C, 0),
  (16, 0x90, 0x3E, 0x40),
  (32, 0x80, 0x3E, 0),
  (32, 0x90, 0x40, 0x40),
  (48, 0x80, 0x40, 0),
]


@pytest.mark.parametrize(
  ("damage", "ticks"),
  [
    ("00 3c 40", 0),  # data without a status; mido and symusic refuse
    ("05 3c 40", 5),  # its delta time counts: an event stood there
    ("f0 9f 80 80 80 90 90 90 90 90 90", 0),  # no delta time is so long
    ("00 ff 01 ff 7f 41 42", 0),  # a text longer than its track
    ("00 f0 83 00 41", 0),  # so a system exclusive message
    ("00 ff ff 00", 0),  # no kind of meta
    ("81 ff ff ff ff ff ff ff ff ff ff ff", 0),
  ],
)
def test_reading_goes_on_where_a_message_is_certain(bytes_of, damage, ticks):
  damage = bytes_of(damage)
  track = read_track(damage + bytes_of(NOTES) + END)
  assert columns(track) == [(t + ticks, *row) for t, *row in NOTE_ROWS]
  assert track.illegal_bytes == len(damage)
  assert not track.damaged
  # And between notes, whose last status may not be left out now. Data would
  # be running status there.
  if damage[1] != 0x3C:
    track = read_track(bytes_of(NOTES) + damage + bytes_of(NOTES) + END)
    expected = NOTE_ROWS + [(t + 48, *row) for t, *row in NOTE_ROWS]
    assert columns(track) == expected
    assert track.illegal_bytes == len(damage)


def test_what_follows_is_not_guessed(bytes_of):
  # A lone note-on in garbage is no certain place.
  garbage = "00 ff ff 00 90 3c 40 f4 f5 f4 f5 f9"
  track = read_track(bytes_of(NOTES + garbage))
  assert columns(track) == NOTE_ROWS
  assert track.damaged


@pytest.mark.parametrize(
  ("delta", "ticks"),
  [
    ("80 80 80 80 10", 16),  # padded
    ("82 80 80 80 80 80 80 80 0f", 15),  # 2**57 + 15 by Ardour
    ("80 80 80 80 80 80 80 80 80 05", 5),
    ("88 80 80 80 00", 0),  # the largest negative number of 32 bits: none
    ("81 80 80 80 00", 0),  # 2**28: none either
  ],
)
def test_long_delta_times_are_those_of_32_bits(bytes_of, delta, ticks):
  track = read_track(bytes_of(delta + NOTES[2:]) + END)
  assert columns(track) == [(t + ticks, *row) for t, *row in NOTE_ROWS]
  assert track.long_deltas == 1
  assert not track.damaged
  assert track.length_ticks >= 0


def test_a_negative_delta_time_is_caught_up_with(bytes_of):
  # Ableton Live 9: the first event is 128 ticks before zero.
  track = read_track(
    bytes_of("""
      8f ff ff ff 00 ff 51 03 07 a1 20
      40 90 3c 40  # at -64
      81 00 80 3c 00  # at 64
      40 90 3e 40  # at 128
    """)
    + END
  )
  assert track.tick.tolist() == [0, 64, 128]
  assert track.tempo_tick.tolist() == [0]
  assert track.long_deltas == 1


def test_data_over_127_is_clipped_as_others_do(bytes_of):
  track = read_track(
    bytes_of("""
      00 90 3c c8  # velocity
      00 90 c8 40  # key
      00 e0 ff ff  # pitch bend
      00 c0 ff  # program
      00 90 40 90  00 90 43 bf  # a chord, all too loud
      10 80 3c ff  # release velocity
      00 3c 40  # running status is as it was
    """)
    + END
  )
  assert columns(track) == [
    (0, 0x90, 0x3C, 127),
    (0, 0x90, 127, 0x40),
    (0, 0xE0, 127, 127),
    (0, 0x90, 0x40, 127),
    (0, 0x90, 0x43, 127),
    (16, 0x80, 0x3C, 127),
    (16, 0x80, 0x3C, 0x40),
  ]
  assert track.clipped == 8
  assert track.illegal_bytes == 0


@given(tracks(), st.integers(1, 30), st.data())
def test_garbage_before_a_track_loses_no_more_than_itself(drawn, size, data):
  garbage = bytes(
    data.draw(
      st.lists(st.sampled_from([0xF4, 0xF5, 0xFF]), min_size=1, max_size=size)
    )
  )
  music = b"\0\x91\x3c\x40\0\x81\x3c\0\0\x91\x3e\x40\0\x81\x3e\0"
  track = read_track(b"\0\xff\xff" + garbage + music + drawn[0])
  rows = columns(track)[: 4 + len(drawn[1])]
  assert [row[1:] for row in rows[:4]] == [
    (0x91, 0x3C, 0x40),
    (0x81, 0x3C, 0),
    (0x91, 0x3E, 0x40),
    (0x81, 0x3E, 0),
  ]
  assert [row[1:] for row in rows[4:]] == [row[1:] for row in drawn[1]]


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
