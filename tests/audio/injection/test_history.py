"""The ring of samples, beside a list that grows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.injection.history import History


def ramp(start, count):
  return np.arange(start, start + count, dtype=np.float32)[:, None]


@given(
  st.integers(1, 12),
  st.lists(st.integers(0, 30), max_size=8),
  st.data(),
)
def test_it_reads_what_a_growing_list_would(size, pushes, data):
  history, everything = History(size, 1), np.zeros((size, 1), np.float32)
  for count in pushes:
    new = ramp(len(everything), count)
    history.push(new)
    everything = np.concatenate([everything, new])
  count = data.draw(st.integers(0, size))
  ago = data.draw(st.integers(0, size - count))
  out = np.full((count, 1), -1, np.float32)
  history.read(out, ago=ago)
  end = len(everything) - ago
  np.testing.assert_array_equal(out, everything[end - count : end])


@given(st.integers(0, 20), st.integers(0, 7))
def test_scaling_changes_the_newest_and_no_other(pushed, scaled):
  history = History(7, 1)
  history.push(ramp(1, pushed))
  before, after = np.zeros((2, 7, 1), np.float32)
  history.read(before)
  history.scale(scaled, 0.5)
  history.read(after)
  np.testing.assert_array_equal(after[: 7 - scaled], before[: 7 - scaled])
  np.testing.assert_array_equal(after[7 - scaled :], before[7 - scaled :] / 2)


def test_cleared_is_silent():
  history, out = History(3, 1), np.ones((3, 1), np.float32)
  history.push(ramp(1, 2))
  history.clear()
  history.read(out)
  assert not out.any()


@pytest.mark.parametrize(("count", "ago"), [(4, 0), (3, 1), (0, 4), (1, -1)])
def test_what_is_not_kept_is_refused(count, ago):
  with pytest.raises(ValueError, match="3 samples are kept, got a stretch"):
    History(3, 1).read(np.zeros((count, 1), np.float32), ago=ago)
