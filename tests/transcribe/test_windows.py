"""Windows of audio that comes in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.transcribe.windows import overlapping_windows


def split(samples, lengths):
  start = 0
  for length in lengths:
    yield samples[start : start + length]
    start += length
  yield samples[start:]


@given(
  total=st.integers(1, 400),
  length=st.integers(1, 60),
  share=st.floats(0.1, 1),
  lead=st.integers(0, 50),
  trail=st.integers(0, 50),
  lengths=st.lists(st.integers(0, 90), max_size=8),
)
def test_windows_hold_the_audio_at_their_place(
  total, length, share, lead, trail, lengths
):
  hop = max(1, int(share * length))
  samples = np.arange(1, total + 1, dtype=np.float32)[:, None]
  padded = np.concatenate(
    [np.zeros((lead, 1)), samples, np.zeros((trail + 2 * length, 1))]
  )
  windows = list(
    overlapping_windows(
      split(samples, lengths), length=length, hop=hop, lead=lead, trail=trail
    )
  )
  starts = [start for start, _ in windows]
  assert starts == list(range(-lead, total + trail, hop))
  for start, window in windows:
    begin = start + lead
    np.testing.assert_array_equal(window, padded[begin : begin + length])


def test_no_audio_has_no_windows():
  empty = [np.zeros((0, 2), np.float32)] * 3
  assert not list(overlapping_windows(empty, length=8, hop=4, lead=4, trail=4))


@pytest.mark.parametrize("trail", [-3, 0])
def test_the_last_window_reaches_what_trail_says(trail):
  samples = np.ones((20, 1), np.float32)
  starts = [
    start
    for start, _ in overlapping_windows(
      [samples], length=8, hop=5, lead=3, trail=trail
    )
  ]
  assert starts == list(range(-3, 20 + trail, 5))
