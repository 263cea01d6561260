"""Outlines as frames of the encoder."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.outline import NO_OUTLINE, Outline
from magenta_midi.tokens.outline_rows import (
  FRAME_ROWS,
  FRAMES,
  ROWS,
  no_frames,
  outline_frames,
)

AM7_OVER_G = (9, 7, (9, 0, 4, 7))


def told(frames):
  return [
    (int(t), [int(r) for r in rows if r], int(k))
    for rows, t, k in zip(*frames, strict=True)
    if rows.any()
  ]


def test_beats_and_chords_around_now():
  beats = [(500 * i, i % 4, 4) for i in range(40)]
  outline = Outline.of(beats, [(4000, *AM7_OVER_G), (12_000, -1, -1, ())])
  found = told(outline_frames(outline, 10_003, 10))
  beat_steps = [t for t, rows, _ in found if rows[0] == 1]
  # From 3 s back to 5 s ahead.
  assert beat_steps == list(range(-300, 500, 50))
  assert found[0][1:] == ([1, 2 + 14 % 4, 12], 64)
  # The chord that sounds 2 s back, and the one to come.
  assert found[-2:] == [
    (-600, [20, 22 + 9, 34 + 7, 46 + 9, 46 + 0, 46 + 4, 46 + 7], 57),
    (200, [20, 21], 64),
  ]


def test_of_too_many_beats_the_nearest_are_told():
  outline = Outline.of([(100 * i, 0, 1) for i in range(200)])
  found = told(outline_frames(outline, 10_000, 10))
  assert [t for t, *_ in found] == list(range(0, 200, 10))


def test_nothing_is_told_of_nothing():
  for frames in (outline_frames(NO_OUTLINE, 0, 10), no_frames(2)):
    assert not frames.rows.any()
    assert np.all(frames.key == 64)


@given(
  st.lists(st.integers(0, 30_000), max_size=60),
  st.lists(
    st.tuples(
      st.integers(0, 30_000),
      st.integers(0, 11),
      st.integers(0, 11),
      st.frozensets(st.integers(0, 11)).map(tuple),
    ),
    max_size=40,
  ),
  st.integers(-5000, 40_000),
)
def test_any_outline_fits(times, chords, now_ms):
  outline = Outline.of(
    [(time, i % 4, 4) for i, time in enumerate(sorted(times))],
    sorted(chords, key=lambda row: row[0]),
  )
  rows, time, key = outline_frames(outline, now_ms, 10)
  assert rows.shape == (FRAMES, FRAME_ROWS)
  assert rows.min() >= 0 and rows.max() < ROWS
  assert time.min() >= -1000 and time.max() < 800
  assert key.min() >= 48 and key.max() <= 64


@given(st.integers(0, 11), st.integers(-60_000, 60_000))
def test_a_later_now_moves_every_frame(up, by_ms):
  outline = Outline.of([(8000, 0, 4)], [(8000, *AM7_OVER_G)])
  at = outline_frames(outline, 7000, 10)
  moved = outline_frames(outline.moved(by_ms=by_ms), 7000 + by_ms, 10)
  for one, other in zip(at, moved, strict=True):
    np.testing.assert_array_equal(one, other)
  higher = told(outline_frames(outline.moved(up=up), 7000, 10))
  assert higher[1][1][1] == 22 + (9 + up) % 12
