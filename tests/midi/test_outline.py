"""Outlines: beats and chords of a piece, at any tempo and in any key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.outline import Outline

CHORDS = st.lists(
  st.tuples(
    st.integers(0, 100_000),
    st.integers(0, 11),
    st.integers(0, 11),
    st.frozensets(st.integers(0, 11), min_size=1).map(tuple),
  ),
  max_size=8,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
BEATS = st.lists(st.integers(0, 100_000), max_size=20).map(
  lambda times: [(time, i % 3, 3) for i, time in enumerate(sorted(times))]
)


def rows(outline):
  return [getattr(outline, name).tolist() for name in vars(outline)]


@given(BEATS, CHORDS, st.integers(-30, 30), st.integers(-9000, 9000))
def test_what_is_moved_comes_back(beats, chords, up, by_ms):
  outline = Outline.of(beats, chords)
  there = outline.moved(by_ms=by_ms, tempo=2.0, up=up)
  back = there.moved(by_ms=-by_ms).moved(tempo=0.5, up=-up)
  assert rows(back) == rows(outline)


@given(CHORDS, st.integers(0, 11))
def test_a_transposed_chord_has_its_classes_over_its_root(chords, up):
  outline = Outline.of((), [row for row in chords])
  moved = outline.moved(up=up)
  for index in range(len(chords)):
    before, after = (
      (np.flatnonzero(o.classes[index]) - o.root[index]) % 12
      for o in (outline, moved)
    )
    assert set(before) == set(after)
    assert (moved.bass[index] - outline.bass[index] - up) % 12 == 0


def test_no_chord_has_no_key():
  moved = Outline.of((), [(0, -1, -1, ())]).moved(up=5)
  assert (moved.root[0], moved.bass[0]) == (-1, -1)


@given(BEATS, CHORDS, st.integers(0, 100_000), st.integers(0, 50_000))
def test_a_stretch_has_its_beats_and_the_chord_that_sounds(
  beats, chords, from_ms, length_ms
):
  outline = Outline.of(beats, chords)
  part = outline.between(from_ms, from_ms + length_ms)
  times = [time for time, *_ in beats if 0 <= time - from_ms < length_ms]
  assert part.beat_ms.tolist() == times
  begun = [time for time, *_ in chords if time <= from_ms]
  later = [t for t, *_ in chords if from_ms < t < from_ms + length_ms]
  assert part.chord_ms.tolist()[-len(later) :] == later or not later
  if begun and length_ms:
    assert part.chord_ms[0] == begun[-1]


def test_beats_and_chords_can_be_left_out():
  outline = Outline.of([(0, 0, 4)], [(0, 0, 0, (0, 4, 7))])
  assert not len(outline.without(beats=True).beat_ms)
  assert len(outline.without(beats=True).root) == 1
  assert not len(outline.without(chords=True).classes)


@pytest.mark.parametrize(
  ("beats", "chords", "words"),
  [
    ([(0, 4, 4)], (), "inside its bar"),
    ([(0, 0, 9)], (), "1..8 beats"),
    ([(5, 0, 4), (4, 1, 4)], (), "order of time"),
    ([(float("nan"), 0, 4)], (), "order of time"),
    ((), [(0, 12, 0, ())], "roots"),
    ((), [(0, 0, 12, ())], "basses"),
    ((), [(0, 0, 0, (12,))], "pitch classes"),
  ],
)
def test_what_is_no_outline_is_refused(beats, chords, words):
  with pytest.raises(ValueError, match=words):
    Outline.of(beats, chords)
