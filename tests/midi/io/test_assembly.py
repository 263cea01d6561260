"""From bytes to scores: odd files, each written out."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi import Repairs, Score
from magenta_midi.midi.io.chunks import BadMidiError

BEAT_S = 0.5  # 0x60 ticks at 120 bpm


def rows(score):
  n = score.notes
  return [
    (round(o / BEAT_S, 6), round(d / BEAT_S, 6), k, v, p)
    for o, d, k, v, p in n.tolist()
  ]


def test_a_plain_file(midi):
  score = Score.from_bytes(
    midi(
      "00 ff 51 03 0f 42 40",  # 60 bpm
      """
      00 ff 03 05 72 69 67 68 74  # named "right"
      00 90 3c 50
      30 b0 40 7f  # pedal after half a beat
      30 80 3c 00
      30 b0 40 00
      """,
    )
  )
  assert score.notes.tolist() == [(0, 1, 0x3C, 0x50, 0)]
  assert score.pedals.tolist() == [(0.5, True, 0), (1.5, False, 0)]
  assert score.part_names == ("right",)
  assert score.tempo.bpm.tolist() == [60]
  assert score.repairs == Repairs()


def test_tempo_changes_in_any_track(midi):
  score = Score.from_bytes(
    midi(
      "60 ff 51 03 0f 42 40",  # 60 bpm from beat 1
      "60 90 3c 50 60 80 3c 00 00 90 3e 50 60 80 3e 00",
      "81 40 ff 51 03 07 a1 20",  # 120 bpm from beat 2
    )
  )
  assert score.notes["onset_s"].tolist() == [0.5, 1.5]
  assert score.notes["duration_s"].tolist() == [1, 0.5]


def test_channels_of_type_0_are_parts_and_drums_are_left_out(midi):
  score = Score.from_bytes(
    midi(
      """
      00 c0 05  # a program change splits nothing
      00 90 3c 50  00 93 3e 50  00 99 24 50  00 99 26 50
      30 c0 06
      30 80 3c 00  00 83 3e 00  00 89 24 00
      00 b3 40 7f  00 b9 40 7f
      """,
      kind=0,
    )
  )
  assert rows(score) == [(0, 1, 0x3C, 0x50, 0), (0, 1, 0x3E, 0x50, 1)]
  assert score.part_names == ("track 1, channel 1", "track 1, channel 4")
  assert score.pedals.tolist() == [(0.5, True, 1)]
  assert score.repairs == Repairs(drums_left_out=2)
  assert score.repairs.messages() == ["drums (channel 10) left out: 2 notes"]


def test_nothing_but_drums_is_an_empty_score(midi):
  score = Score.from_bytes(midi("00 99 24 50 10 89 24 00"))
  assert len(score) == 0
  assert score.parts == 1
  assert score.repairs.drums_left_out == 1


NOTE = "00 90 3c 50 60 80 3c 00"
OTHER = "00 91 40 50 60 81 40 00"


@pytest.mark.parametrize(
  ("tracks", "parts_with_pedal"),
  [
    # In a track of its own, on the channel of the first part.
    ((NOTE, OTHER, "00 b0 40 7f"), [0]),
    # In a track and on a channel of its own: for everybody.
    ((NOTE, OTHER, "00 b5 40 7f"), [0, 1]),
    # Two hands on one channel, the pedal written with one of them.
    ((NOTE + "00 b0 40 7f", NOTE.replace("3c", "40")), [0, 1]),
    # Each part with its own.
    ((NOTE + "00 b0 40 7f", OTHER + "00 b1 40 7f"), [0, 1]),
    # One part has a pedal of its own, the other has none.
    ((NOTE, OTHER + "00 b1 40 7f"), [1]),
    ((NOTE, OTHER, "00 b9 40 7f"), []),
  ],
)
def test_the_pedal_goes_to_the_notes_it_belongs_to(
  midi, tracks, parts_with_pedal
):
  score = Score.from_bytes(midi(*tracks))
  assert score.parts == 2
  assert score.pedals["part"].tolist() == parts_with_pedal


def test_up_and_down_of_the_pedal_on_one_tick_are_both_read(midi):
  score = Score.from_bytes(
    midi(
      NOTE
      + "00 b0 40 7f"  # down at beat 1
      + "60 b0 40 00 00 b0 40 7f"  # anew at beat 2
      + "60 b0 40 00"  # up at beat 3
      + "60 b0 40 7f 00 b0 40 00"  # a touch at beat 4
      + "60 b0 40 7f 00 b0 40 00 00 b0 40 7f"  # down at beat 5
    )
  )
  assert score.pedals["down"].tolist() == [True, False] * 3 + [True]
  np.testing.assert_allclose(
    score.pedals["time_s"], [0.5, 1, 1.001, 1.5, 2, 2.001, 2.5], atol=1e-9
  )
  # And so it comes back from what is written.
  back = Score.from_bytes(score.to_bytes())
  np.testing.assert_array_equal(back.pedals["down"], score.pedals["down"])
  np.testing.assert_allclose(
    back.pedals["time_s"], score.pedals["time_s"], atol=1e-4
  )


def test_pedal_changes_a_tick_later_stay_in_order(midi):
  # 32,640 ticks a beat: a tick is 15 us, less than what is moved.
  score = Score.from_bytes(
    midi(
      NOTE + "00 b0 40 7f 01 b0 40 00 00 b0 40 7f 01 b0 40 00", division=0x7F80
    )
  )
  assert score.pedals["down"].tolist() == [True, False, True, False]
  assert (np.diff(score.pedals["time_s"]) > 1e-6).all()


def test_reset_of_controllers_lifts_the_pedal(midi):
  score = Score.from_bytes(midi(NOTE + "00 b0 40 7f 60 b0 79 00"))
  assert score.pedals["time_s"].tolist() == [0.5, 1.0]


def test_overlaps_end_at_the_later_onset(midi):
  score = Score.from_bytes(
    midi("00 90 3c 50  30 90 3c 60  30 80 3c 00  60 80 3c 00")
  )
  assert rows(score) == [(0, 0.5, 0x3C, 0x50, 0), (0.5, 1.5, 0x3C, 0x60, 0)]
  assert score.repairs == Repairs(overlaps_trimmed=1)


def test_exact_duplicates_become_one(midi):
  score = Score.from_bytes(
    midi("00 90 3c 50  00 90 3c 60  30 80 3c 00  30 80 3c 00")
  )
  assert rows(score) == [(0, 1, 0x3C, 0x60, 0)]
  assert score.repairs == Repairs(duplicates=1)


def test_zero_length_notes_last_10_ms(midi):
  score = Score.from_bytes(midi("00 90 3c 50  00 80 3c 00  60 90 3e 50"))
  assert score.notes["duration_s"].tolist() == [0.01, 1.0]
  assert score.repairs == Repairs(zero_length=1, unreleased=1)


def test_unreleased_notes_end_with_the_music(midi):
  score = Score.from_bytes(
    midi(
      """
      00 90 3c 50
      60 90 40 50  83 00 80 40 00  # a last note-off at beat 5
      ff 7f ff 2f 00  # long silence
      """,
      end=False,
    )
  )
  assert rows(score)[0] == (0, 5, 0x3C, 0x50, 0)
  assert score.repairs == Repairs(unreleased=1)


def test_unreleased_notes_end_after_4_s(midi):
  """In the middle of a damaged file: others would ring to its end."""
  later = "8c 00 90 40 50 60 80 40 00"  # 16 beats: 8 s
  score = Score.from_bytes(midi("00 90 3c 50" + later * 4))
  assert score.notes["duration_s"].tolist() == [4, 0.5, 0.5, 0.5, 0.5]
  assert score.repairs == Repairs(unreleased=1)
  assert score.repairs.messages() == [
    "notes never released, ended after 4 s at most: 1"
  ]
  # A final chord lasts to the last note-off.
  score = Score.from_bytes(midi("00 90 3c 50 00 90 40 50 83 00 80 40 00"))
  assert score.notes["duration_s"].tolist() == [2, 2]


def test_unreleased_notes_end_at_the_next_silence_of_their_own(midi):
  """Silences of other channels and earlier ones do not count."""
  score = Score.from_bytes(
    midi(
      """
      00 b0 7b 00
      00 90 3c 50  00 91 3c 50
      30 b1 7b 00  # ends the second
      30 b0 78 00  # ends the first
      30 b0 7b 00  30 b1 7b 00
      00 90 3e 50  60 80 3e 00
      """,
      "18 b0 7b 00",  # another track's
    )
  )
  assert [row[:3] for row in rows(score)] == [
    (0, 1, 0x3C),
    (0, 0.5, 0x3C),
    (2, 1, 0x3E),
  ]


def test_a_silence_days_later_does_not_make_a_note_last(midi):
  score = Score.from_bytes(midi("00 90 3c 50 ff ff ff 7f b0 7b 00"))
  assert score.notes["duration_s"].tolist() == [4]
  assert len(Score.from_bytes(score.to_bytes())) == 1


def test_unreleased_notes_end_at_their_next_onset(midi):
  score = Score.from_bytes(midi("00 90 3c 50  60 90 3c 50  30 80 3c 00"))
  assert rows(score) == [(0, 1, 0x3C, 0x50, 0), (1, 0.5, 0x3C, 0x50, 0)]
  assert score.repairs == Repairs(unreleased=1)


def test_all_notes_off_releases(midi):
  score = Score.from_bytes(
    midi("00 90 3c 50  60 b0 7b 00  83 00 90 3e 50  60 80 3e 00")
  )
  assert rows(score)[0] == (0, 1, 0x3C, 0x50, 0)


def test_values_over_127(midi):
  score = Score.from_bytes(
    midi(
      """
      00 90 3c c8  # velocity 200
      60 80 3c 00
      00 90 c8 50  # key 200
      60 80 c8 00
      00 b0 40 ff  # pedal 255: down
      """
    )
  )
  assert rows(score) == [(0, 1, 0x3C, 127, 0), (1, 1, 127, 0x50, 0)]
  assert score.pedals["down"].tolist() == [True]
  assert score.repairs == Repairs(out_of_range=4)
  assert score.repairs.messages() == ["data bytes over 127 taken as 127: 4"]
  assert score.repairs.damage() == []  # nothing is missing


def test_a_file_of_values_over_127_alone_is_read(midi):
  """More than half of the notes too loud, with running status."""
  chord = "00 90 3c c8 00 40 ff 00 43 80 60 3c 00 00 40 00 00 43 00"
  score = Score.from_bytes(midi(chord * 40))
  assert len(score) == 120
  assert set(score.notes["velocity"].tolist()) == {127}
  assert set(score.notes["duration_s"].round(9).tolist()) == {BEAT_S}
  assert score.repairs == Repairs(out_of_range=120)


def test_note_offs_have_velocities_of_their_own(midi):
  score = Score.from_bytes(midi("00 90 3c 50 60 80 3c 05 00 90 3e 50 60 3e 00"))
  assert rows(score) == [(0, 1, 0x3C, 0x50, 0), (1, 1, 0x3E, 0x50, 0)]
  assert score.repairs == Repairs()


@pytest.mark.parametrize(
  ("division", "ticks_a_second"),
  [
    (0xE728, 1000),  # 25 frames of 40
    (0xE80A, 240),  # 24 of 10
    (0xE250, 2400),  # 30 of 80
    (0xE364, 100 * 30000 / 1001),  # 29.97 of 100
  ],
)
def test_smpte_division_ignores_tempo(midi, division, ticks_a_second):
  score = Score.from_bytes(
    midi("00 ff 51 03 0f 42 40 60" + NOTE[2:], division=division)
  )
  np.testing.assert_allclose(score.notes["onset_s"], 0x60 / ticks_a_second)
  np.testing.assert_allclose(score.notes["duration_s"], 0x60 / ticks_a_second)


def test_unknown_smpte_division_is_refused(midi):
  with pytest.raises(BadMidiError, match="unknown SMPTE division 0xf628"):
    Score.from_bytes(midi(NOTE, division=0xF628))


def test_type_2_songs_follow_one_another(midi):
  score = Score.from_bytes(
    midi(
      "00 ff 51 03 0f 42 40" + NOTE,  # a beat at 60 bpm
      NOTE.replace("3c", "3e"),  # its own tempo: 120 bpm
      NOTE.replace("3c", "40"),
      kind=2,
    )
  )
  assert score.notes["onset_s"].tolist() == [0, 1, 1.5]
  assert score.notes["duration_s"].tolist() == [1, 0.5, 0.5]
  assert score.parts == 1


def test_impossible_tempo_is_ignored(midi):
  score = Score.from_bytes(midi("00 ff 51 03 00 00 00" + NOTE))
  assert rows(score) == [(0, 1, 0x3C, 0x50, 0)]
  assert score.repairs == Repairs(bad_tempos=1)


def test_what_lasts_for_days_is_refused(midi):
  with pytest.raises(BadMidiError, match="lasts 388 hours, at most 24"):
    Score.from_bytes(midi("00 90 3c 50 ff ff ff 7f 80 3c 00"))


def test_long_silence_at_the_end_is_no_music(midi):
  score = Score.from_bytes(midi(NOTE + "ff ff ff 7f ff 2f 00", end=False))
  assert score.end_s == BEAT_S


def test_a_missing_track_is_said(midi):
  data = midi(NOTE, OTHER)
  score = Score.from_bytes(data[: data.rindex(b"MTrk")])
  assert rows(score) == [(0, 1, 0x3C, 0x50, 0)]
  assert score.repairs == Repairs(damaged_tracks=1)
  assert "tracks damaged" in score.repairs.messages()[0]


def test_damage_before_the_first_note_is_refused(midi):
  with pytest.raises(BadMidiError, match="damaged before its first note"):
    Score.from_bytes(midi("00 3c 3c", end=False))


def test_what_is_skipped_is_said_in_one_line_each(midi):
  plain = midi(NOTE, OTHER)
  damaged = midi(
    "8f ff ff ff 00" + NOTE[2:],  # 128 ticks before zero: ends before it
    "00 ff ff 00 00" + OTHER * 3,
    "80 80 80 80 10" + NOTE[2:],
  )
  score = Score.from_bytes(b"\xef\xbb\xbf" + damaged)
  assert score.repairs == Repairs(
    illegal_bytes=5, long_deltas=2, leading_bytes=3, zero_length=1
  )
  assert score.repairs.messages() == [
    "illegal bytes skipped: 5",
    "delta times of more than four bytes: 2",
    "bytes before the header skipped: 3",
    "notes of no length made 10 ms long: 1",
  ]
  assert score.repairs.damage() == ["illegal bytes skipped: 5"]
  typed = bytearray(plain)
  typed[8:10] = b"\x74\x01"
  score = Score.from_bytes(bytes(typed))
  np.testing.assert_array_equal(score.notes, Score.from_bytes(plain).notes)
  assert score.repairs.messages() == [
    "the header has an unknown type, read as type 1"
  ]


def test_names_are_read_in_the_encoding_of_their_file(midi):
  def named(name, encoding):
    body = name.encode(encoding)
    return f"00 ff 03 {len(body):02x} {body.hex()}"

  tracks = [
    named("오른손", "cp949") + NOTE,
    named("왼손", "cp949") + OTHER,
    named("Pedal", "ascii") + OTHER.replace("40 50", "45 50"),
  ]
  score = Score.from_bytes(midi(*tracks))
  assert score.part_names == ("오른손", "왼손", "Pedal")
  data = score.to_bytes()
  assert "왼손".encode() in data
  assert Score.from_bytes(data).part_names == score.part_names


def test_a_long_name_is_cut(midi):
  name = "00 ff 03 84 00" + "41" * 512
  notes = " ".join(f"00 9{channel:x} 3c 50" for channel in range(9))
  names = Score.from_bytes(midi(name + notes)).part_names
  assert len(names) == 9
  assert max(map(len, names)) == 256 + len(", channel 9")


def test_part_names_are_one_line(midi):
  score = Score.from_bytes(midi("00 ff 03 05 41 0a e9 00 42" + NOTE))
  assert score.part_names == ("A é B",)


@given(data=st.data())
def test_any_damage_is_read_or_refused(midi, data):
  whole = midi(
    "00 ff 51 03 0f 42 40 00 ff 03 01 41",
    NOTE * 3 + "00 b0 40 7f 10 b0 40 00 00 c0 01 00 f0 03 7e 7f f7",
    OTHER * 3,
  )
  damaged = bytearray(whole)
  for _ in range(data.draw(st.integers(1, 6))):
    if not damaged:
      break
    at = data.draw(st.integers(0, len(damaged) - 1))
    kind = data.draw(st.sampled_from(["set", "insert", "delete", "cut"]))
    byte = data.draw(st.integers(0, 255) | st.sampled_from([0xFF, 0x7F, 0]))
    if kind == "set":
      damaged[at] = byte
    elif kind == "insert":
      damaged.insert(at, byte)
    elif kind == "delete":
      del damaged[at]
    else:
      del damaged[at:]
  try:
    score = Score.from_bytes(bytes(damaged))
  except BadMidiError as error:
    assert "\n" not in str(error)
    return
  assert score.end_s < 25 * 3600
  assert len(score) <= len(damaged)


def test_hanging_notes_and_many_silences_take_linear_time(midi):
  """One search a note took minutes: 30,600 notes, a million silences."""
  tracks = [
    "".join(
      f"00 {0x90 | channel:02x} 00 40"
      + "".join(f"00 {key:02x} 40" for key in range(1, 120))
      for channel in range(15)
      if channel != 9
    )
    for _ in range(18)
  ]
  flood = "00 b9 7b 00" + "00 7b 00" * 10**6
  start = time.process_time()
  score = Score.from_bytes(midi(*tracks, flood.replace("b9", "b0")))
  assert len(score) == score.repairs.unreleased == 18 * 14 * 120
  assert set(score.notes["duration_s"].tolist()) == {1.0}
  assert time.process_time() - start < 40


def test_one_pedal_for_very_many_parts_is_refused(midi):
  """238 parts times 20,000 changes: more memory than the file by 1000."""
  tracks = [
    "".join(f"00 {0x90 | c:02x} 3c 40" for c in range(16) if c not in (5, 9))
    for _ in range(17)
  ]
  pedal = "00 b5 40 7f" + "01 40 00 01 40 7f" * 10**4
  with pytest.raises(BadMidiError, match="2,097,152 changes of the pedals"):
    Score.from_bytes(midi(*tracks, pedal))
  assert len(Score.from_bytes(midi(*tracks[:2], pedal)).pedals) == 28 * 20_001
