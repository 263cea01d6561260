"""Notes from posteriors."""

import numpy as np
import pytest

from magenta_midi.transcribe.note_tracker import NoteTracker, TrackerConfig

CONFIG = TrackerConfig(onset=0.5, sounding=0.3, patience=5, shortest=3)


def posteriors(frames, rows=3):
  return np.zeros((3, frames, rows))


def track(arrays, sizes=(10_000,)):
  tracker = NoteTracker(arrays.shape[2], CONFIG)
  notes, start = [], 0
  for size in sizes:
    notes += tracker.feed(*arrays[:, start : start + size])
    start += size
  return sorted(notes + tracker.feed(*arrays[:, start:]) + tracker.finish())


def strike(arrays, row, onset, offset, level=1.0):
  arrays[0, onset, row] = 0.9
  arrays[1, onset:offset, row] = 0.8
  arrays[2, onset + 2, row] = level


def test_a_note_has_its_onset_offset_key_and_level():
  arrays = posteriors(50)
  strike(arrays, 1, 10, 30, level=7.0)
  (note,) = track(arrays)
  assert note == (10.0, 30.0, 1, 7.0)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_size_of_blocks_has_no_effect(size):
  random = np.random.default_rng(3)
  arrays = random.random((3, 300, 4))
  arrays[0] **= 2
  whole = track(arrays)
  assert len(whole) > 20
  assert track(arrays, sizes=[size] * (300 // size)) == whole


@pytest.mark.parametrize(
  ("left", "right", "place"), [(0.6, 0.2, -1), (0.2, 0.6, 1)]
)
def test_an_onset_lies_between_frames_where_its_neighbors_say(
  left, right, place
):
  arrays = posteriors(40)
  strike(arrays, 0, 10, 30)
  arrays[0, 9, 0], arrays[0, 11, 0] = left, right
  (note,) = track(arrays)
  assert 0.1 < place * (note.onset - 10) < 0.5


def test_a_struck_key_that_sounds_begins_again():
  arrays = posteriors(60)
  strike(arrays, 2, 10, 40)
  strike(arrays, 2, 25, 40)
  first, second = track(arrays)
  assert (first.onset, first.offset) == (10.0, 25.0)
  assert (second.onset, second.offset) == (25.0, 40.0)


def test_a_gap_shorter_than_the_patience_is_bridged_and_a_longer_one_ends():
  arrays = posteriors(60)
  strike(arrays, 0, 10, 40)
  arrays[1, 20:24, 0] = 0.0
  assert track(arrays)[0].offset == 40.0
  arrays[1, 20:26, 0] = 0.0
  assert [note.offset for note in track(arrays)] == [20.0]


def test_what_is_too_short_or_has_no_onset_is_no_note():
  arrays = posteriors(60)
  strike(arrays, 0, 10, 12)
  arrays[1, 5:50, 1] = 0.9
  strike(arrays, 2, 30, 33)
  assert [note.row for note in track(arrays)] == [2]


def test_what_still_sounds_ends_with_the_audio():
  arrays = posteriors(20)
  strike(arrays, 0, 10, 20)
  (note,) = track(arrays)
  assert note.offset == 20.0


def test_an_onset_in_the_first_and_in_the_last_frame_counts():
  arrays = posteriors(20)
  strike(arrays, 0, 0, 10)
  arrays[0, 19, 1], arrays[1, 19, 1] = 0.9, 0.9
  notes = track(arrays)
  assert [note.onset for note in notes] == [0.0]  # the last one is too short
