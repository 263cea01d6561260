"""Pauses longer than those of the music before."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.generate.pauses import MIN_S, SILENT_S, TIMES, pauses_too_long
from magenta_midi.midi.score import Score


def at(*onset_s: float) -> Score:
  count = len(onset_s)
  return Score.from_arrays(
    onset_s=np.array(onset_s, float),
    duration_s=np.full(count, 0.1),
    key=np.full(count, 60),
    velocity=np.full(count, 64),
  )


EVEN = at(*np.arange(0.0, 10.0, 0.25))


def test_a_pause_before_between_or_after_counts():
  even = np.arange(0.0, 2.0, 0.25)
  assert not pauses_too_long(EVEN, at(*even), 10.0, 2.0)
  for left_out in ((0.0, 1.1), (0.3, 1.5), (0.9, 2.0)):
    pausing = [t for t in even if not left_out[0] <= t < left_out[1]]
    assert pauses_too_long(EVEN, at(*pausing), 10.0, 2.0)
  assert pauses_too_long(EVEN, Score.empty(), 10.0, 2.0)


def test_with_a_style_or_control_only_silence_is_a_pause():
  assert not pauses_too_long(EVEN, at(0.1, 1.9), 10.0, 2.0, min_s=SILENT_S)
  assert pauses_too_long(EVEN, Score.empty(), 10.0, 2.0, min_s=SILENT_S)


def test_without_music_before_there_is_no_pause():
  assert not pauses_too_long(Score.empty(), Score.empty(), 0.0, 2.0)
  # Music of long ago does not count.
  assert not pauses_too_long(at(0.0, 0.5), Score.empty(), 30.0, 2.0)


@given(st.floats(0.1, 4.0), st.floats(0.0, 1.9))
def test_music_may_pause_a_little_longer_than_before(gap_s, first_s):
  history = at(*np.arange(0.0, 10.0, gap_s))
  last_s = history.notes["onset_s"][-1]
  new = at(first_s, 1.95)
  usual_s = np.diff(history.notes["onset_s"]).max()
  limit = max(MIN_S, TIMES * usual_s)
  longest = max(10.0 + first_s - last_s, 1.95 - first_s)
  if abs(longest - limit) > 1e-6:
    assert pauses_too_long(history, new, 10.0, 2.0) == (longest > limit)
