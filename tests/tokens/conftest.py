"""Arbitrary scores for the property tests of this room."""

import numpy as np
import pytest
from hypothesis import strategies as st

from magenta_midi.midi.score import Score

# Where rounding decides: ties, chunk borders, just inside and outside.
BORDERS = [0.0, 0.0049, 0.005, 0.015, 1.9949, 1.995, 1.9951, 2.0, 3.9951, 9.995]

times = st.one_of(
  st.sampled_from(BORDERS),
  st.integers(0, 1300).map(lambda step: step / 100),
  st.integers(0, 13000).map(lambda ms: ms / 1000),
  st.floats(0, 13, allow_subnormal=False),
  # Dense: everything within a few steps.
  st.floats(4, 4.05),
)
durations = st.one_of(
  st.floats(1e-4, 0.05),
  st.floats(0.05, 12),
  st.sampled_from([0.01, 0.2, 9.999, 10.0, 10.001, 30.0]),
)
keys = st.one_of(st.sampled_from([0, 60, 61, 127]), st.integers(0, 127))
notes = st.tuples(times, durations, keys, st.integers(1, 127))


@st.composite
def _scores(draw, max_parts=3):
  parts = draw(st.integers(1, max_parts))
  rows = draw(
    st.lists(st.tuples(notes, st.integers(0, parts - 1)), max_size=40)
  )
  pedals = []
  for part in range(parts):
    when = sorted(set(draw(st.lists(times, max_size=8))))
    pedals += [(time, i % 2 == 0, part) for i, time in enumerate(when)]
  columns = list(zip(*(row for row, _ in rows), strict=True)) or [()] * 4
  return Score.from_arrays(
    onset_s=np.array(columns[0], float),
    duration_s=np.array(columns[1], float),
    key=np.array(columns[2], int),
    velocity=np.array(columns[3], int),
    part=np.array([part for _, part in rows], int),
    pedal=pedals,
    part_names=[f"part {part}" for part in range(parts)],
  )


@pytest.fixture(scope="session")
def scores():
  """A strategy: `scores(max_parts=1)`."""
  return _scores
