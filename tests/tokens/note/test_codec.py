import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from magenta_midi.tokens.frames import Frames, join_frames
from magenta_midi.tokens.note.codec import PEDAL_DOWN, PEDAL_UP, NoteCodec

CODEC = NoteCodec()
MAX_DURATION_S = 10.0


def score_of(*rows, pedal=None, part=0):
  """Rows of onset_s, duration_s, key, velocity."""
  columns = list(zip(*rows, strict=True)) or [()] * 4
  return Score.from_arrays(
    onset_s=np.array(columns[0], float),
    duration_s=np.array(columns[1], float),
    key=np.array(columns[2], int),
    velocity=np.array(columns[3], int),
    pedal=pedal,
    part=part,
  )


def by_place(score):
  """Notes by part, key and onset step."""
  places = {}
  for note in score.notes:
    step = int(CODEC.config.time_to_step(note["onset_s"][None])[0])
    place = (int(note["part"]), int(note["key"]), step)
    places.setdefault(place, []).append(note)
  return places


def check_round_trip(score):
  """Every note and pedal event comes back within the tolerances."""
  encoded = CODEC.encode(score)
  back = CODEC.decode(encoded)
  assert back.part_names == score.part_names
  originals, decoded = by_place(score), by_place(back)
  assert originals.keys() == decoded.keys()
  assert encoded.merged == len(score) - len(originals)
  assert encoded.saturated == sum(
    max(n["duration_s"] for n in notes) > MAX_DURATION_S
    for notes in originals.values()
  )
  for place, notes in originals.items():
    (now,) = decoded[place]
    # Of duplicates the longest is kept; of equally long ones, the loudest.
    was = max(notes, key=lambda n: (n["duration_s"], n["velocity"]))
    assert abs(now["onset_s"] - was["onset_s"]) <= 0.005 + 1e-9
    assert abs(int(now["velocity"]) - int(was["velocity"])) <= 2
    true_s = min(was["duration_s"], MAX_DURATION_S)
    allowed_s = max(0.05 * true_s, 0.010) + 1e-9
    assert abs(now["duration_s"] - true_s) <= allowed_s
  for part in range(score.parts):
    was = score.pedals[score.pedals["part"] == part]
    now = back.pedals[back.pedals["part"] == part]
    np.testing.assert_array_equal(now["down"], was["down"])
    assert np.all(np.abs(now["time_s"] - was["time_s"]) <= 0.005 + 1e-9)
  return encoded, back


def check_layout(score, encoded):
  """Order, chunks and onset codes, frame by frame."""
  codes, step, part = encoded.frames
  assert codes.dtype == step.dtype == part.dtype == np.int32
  assert codes.shape == (len(step), 4)
  assert len(step) == len(score) - encoded.merged + len(score.pedals)
  CODEC.vocabulary.to_ids(codes)
  offsets = encoded.chunk_offsets
  assert offsets[0] == 0 and offsets[-1] == len(step)
  assert encoded.chunks >= score.end_s / 2.0 - 1e-9 - 0.005
  order = [
    (s, c[1] if c[1] < 128 else -1, p if c[1] < 128 else -1)
    for s, c, p in zip(step, codes, part, strict=True)
  ]
  assert order == sorted(order)
  for chunk in range(encoded.chunks):
    frames = encoded.chunk(chunk)
    previous = {}
    for c, s, p in zip(*frames, strict=True):
      assert s // 200 == chunk
      assert c[0] == s - previous.get(p, 200 * chunk)
      previous[p] = s


@given(st.data())
def test_round_trip(draw_score, data):
  score = draw_score(data)
  encoded, back = check_round_trip(score)
  check_layout(score, encoded)
  # Rounded music does not change again, except trimmed notes.
  again = CODEC.encode(back)
  np.testing.assert_array_equal(again.frames.step, encoded.frames.step)
  np.testing.assert_array_equal(again.frames.part, encoded.frames.part)
  np.testing.assert_array_equal(
    again.frames.codes[:, :3], encoded.frames.codes[:, :3]
  )
  assert np.all(again.frames.codes[:, 3] <= encoded.frames.codes[:, 3])
  third = CODEC.encode(CODEC.decode(again))
  np.testing.assert_array_equal(third.frames.codes, again.frames.codes)


@pytest.mark.parametrize("density", [10, 100, 1000, 10_000])
def test_round_trip_at_any_density(density):
  rng = np.random.default_rng(density)
  score = Score.from_arrays(
    onset_s=rng.uniform(0, 4, density),
    duration_s=rng.exponential(0.5, density) + 0.001,
    key=rng.integers(0, 128, density),
    velocity=rng.integers(1, 128, density),
    part=rng.integers(0, 2, density),
  )
  check_round_trip(score)


def test_all_codes_of_a_note():
  encoded = CODEC.encode(score_of((2.504, 0.5, 60, 70), pedal=[(2.4, True)]))
  np.testing.assert_array_equal(
    encoded.frames.codes, [[40, PEDAL_DOWN, -1, -1], [10, 60, 17, 27]]
  )
  np.testing.assert_array_equal(encoded.frames.step, [240, 250])
  np.testing.assert_array_equal(encoded.chunk_offsets, [0, 0, 2])


def test_the_rounded_step_decides_the_chunk():
  encoded = CODEC.encode(score_of((1.9949, 0.004, 60, 70), (1.9951, 1, 62, 9)))
  np.testing.assert_array_equal(encoded.frames.step, [199, 200])
  np.testing.assert_array_equal(encoded.frames.codes[:, 0], [199, 0])
  np.testing.assert_array_equal(encoded.chunk_offsets, [0, 1, 2])


def test_pedal_precedes_notes_of_its_step_and_keys_ascend():
  score = score_of(
    (1.0, 1, 64, 70), (0.997, 1, 67, 70), (1.002, 1, 60, 70),
    pedal=[(0.9, True), (1.001, False), (1.004, True)],
  )  # fmt: skip
  codes = CODEC.encode(score).frames.codes
  expected = [PEDAL_DOWN, PEDAL_UP, PEDAL_DOWN, 60, 64, 67]
  assert codes[:, 1].tolist() == expected
  assert codes[:, 0].tolist() == [90, 10, 0, 0, 0, 0]


def test_pedal_flutter_inside_a_step_survives():
  pedal = [(1.0 + i / 4000, i % 2 == 0) for i in range(17)]
  score = score_of((0.5, 3, 60, 60), pedal=pedal)
  back = CODEC.decode(CODEC.encode(score))
  assert len(back.pedals) == 17
  # Cropping moves the times and keeps them different.
  assert len(back.crop(0.6).pedals) == 17


def test_duplicates_are_merged_and_counted():
  score = score_of(
    (1.000, 0.002, 60, 10), (1.003, 2.0, 60, 90), (1.000, 1, 61, 50)
  )
  encoded = CODEC.encode(score)
  assert encoded.merged == 1
  notes = CODEC.decode(encoded).notes
  assert notes["key"].tolist() == [60, 61]
  assert notes["velocity"].tolist() == [90, 50]
  assert notes["duration_s"][0] == pytest.approx(2.0, rel=0.05)


def test_the_same_key_in_two_parts_is_not_a_duplicate():
  score = score_of((1, 1, 60, 60), (1, 1, 60, 80), part=[0, 1])
  encoded = CODEC.encode(score)
  assert encoded.merged == 0
  assert encoded.frames.part.tolist() == [0, 1]
  # Each part counts from its previous frame.
  assert encoded.frames.codes[:, 0].tolist() == [100, 100]


def test_rounding_up_does_not_reach_into_the_next_note():
  score = score_of((0.0, 1.20, 60, 60), (1.20, 1.0, 60, 60))
  back = CODEC.decode(CODEC.encode(score))
  assert back.notes["duration_s"][0] == 1.20
  assert back.repairs.overlaps_trimmed == 0


def test_empty_score():
  encoded = CODEC.encode(Score.empty())
  assert encoded.chunks == 0
  assert (encoded.merged, encoded.saturated) == (0, 0)
  assert encoded.frames.codes.shape == (0, 4)
  back = CODEC.decode(encoded)
  assert len(back) == 0 and back.end_s == 0


def test_silence_is_empty_chunks():
  score = score_of((9.0, 0.5, 60, 60))
  encoded = CODEC.encode(score)
  np.testing.assert_array_equal(encoded.chunk_offsets, [0, 0, 0, 0, 0, 1])
  # The chunks cover a long last note.
  assert CODEC.encode(score_of((0.0, 7.0, 60, 60))).chunks == 4


def test_end_frames_are_left_out():
  encoded = CODEC.encode(score_of((0.5, 1, 60, 60), (2.5, 1, 62, 60)))
  end = Frames(
    CODEC.end_frame()[None], np.array([199], np.int32), np.zeros(1, np.int32)
  )
  with_end = dataclasses.replace(
    encoded,
    frames=join_frames(encoded.chunk(0), end, encoded.chunk(1)),
    chunk_offsets=np.array([0, 2, 3]),
  )
  assert CODEC.decode(with_end).equals(CODEC.decode(encoded))


def test_onset_codes_are_enough_to_decode():
  encoded = CODEC.encode(score_of((0.5, 1, 60, 60), (2.5, 1, 62, 60)))
  forgotten = encoded.frames._replace(step=np.zeros(2, np.int32))
  again = CODEC.decode(dataclasses.replace(encoded, frames=forgotten))
  assert again.notes["onset_s"].tolist() == [0.5, 2.5]


def frames_of(codes, step):
  codes = np.array(codes, np.int32).reshape(-1, 4)
  step = np.array(step, np.int32)
  return Frames(codes, step, np.zeros_like(step))


def test_decoding_a_stream_with_its_origin():
  frames = frames_of([[5, PEDAL_UP, -1, -1], [5, 60, 10, 20]], [5, 10])
  held = CODEC.decode_frames(frames, origin_s=3.0, pedal_down=True)
  np.testing.assert_allclose(held.pedals["time_s"], [3.0, 3.05])
  assert held.pedals["down"].tolist() == [True, False]
  assert held.notes["onset_s"] == pytest.approx(3.1)
  # The pedal is up already: the change has no effect.
  assert len(CODEC.decode_frames(frames).pedals) == 0


def test_decoding_merges_and_trims_what_overlaps():
  frames = frames_of(
    [[0, 60, 9, 50], [0, 60, 20, 60], [50, 60, 9, 9]], [0, 0, 50]
  )
  notes = CODEC.decode_frames(frames).notes
  assert notes["onset_s"].tolist() == [0, 0.5]
  assert notes["duration_s"].tolist() == [0.5, 0.1]
  assert notes["velocity"].tolist() == [82, 38]


@pytest.mark.parametrize(
  ("codes", "step", "message"),
  [
    ([0, 60, 9, 63], 0, "to have a length, got 63"),
    ([0, 60, -1, 5], 0, "frames must use every level"),
    ([0, -1, -1, -1], 0, "frames must use every level"),
    ([0, 130, 3, 3], 0, r"'key' must be in -1\.\.129, got 130"),
    ([0, 60, 3, 3], -7, "0 s or later, got step -7"),
  ],
)
def test_impossible_frames_are_refused(codes, step, message):
  with pytest.raises(ValueError, match=message):
    CODEC.decode_frames(frames_of(codes, [step]))


def test_parts_without_a_name_are_refused():
  frames = frames_of([0, 60, 9, 3], [0])._replace(part=np.array([2], np.int32))
  with pytest.raises(ValueError, match="every part, got 1 for part 2"):
    CODEC.decode_frames(frames, part_names=("piano",))


def test_joining_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one Frames, got none"):
    join_frames()
