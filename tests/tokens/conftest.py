"""Fixtures of codec tests: random scores and real files."""

import random
import tarfile

import numpy as np
import pytest
from hypothesis import strategies as st

from magenta_midi.midi.score import Score

# Times where rounding matters: ties and chunk borders, on both sides.
BORDERS = [0.0, 0.0049, 0.005, 0.015, 1.9949, 1.995, 1.9951, 2.0, 3.9951, 9.995]

# Number of files of each corpus: a few seconds of test time.
FILES = 24

times = st.one_of(
  st.sampled_from(BORDERS),
  st.integers(0, 1300).map(lambda step: step / 100),
  st.integers(0, 13000).map(lambda ms: ms / 1000),
  st.floats(0, 13, allow_subnormal=False),
  # Dense: all events within a few steps.
  st.floats(4, 4.05),
)
durations = st.one_of(
  st.floats(1e-4, 0.05),
  st.floats(0.05, 12),
  st.sampled_from([0.01, 0.2, 9.999, 10.0, 10.001, 30.0]),
)
keys = st.one_of(st.sampled_from([0, 60, 61, 127]), st.integers(0, 127))
notes = st.tuples(times, durations, keys, st.integers(1, 127))


def _draw_score(data, max_parts=3):
  # Built outside a strategy: type checks in tests draw random numbers, which
  # Hypothesis forbids inside one.
  parts = data.draw(st.integers(1, max_parts))
  parts_of_notes = st.integers(0, parts - 1)
  rows = data.draw(st.lists(st.tuples(notes, parts_of_notes), max_size=40))
  pedals = []
  for part in range(parts):
    when = data.draw(st.lists(times, max_size=8, unique=True))
    pedals += [(time, i % 2 == 0, part) for i, time in enumerate(sorted(when))]
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
def draw_score():
  """A function of Hypothesis' `data` that makes a random score."""
  return _draw_score


@pytest.fixture(scope="module")
def corpus(shared, request, tmp_path_factory):
  """Some files of the corpus named by the parameter."""
  archive = shared / "data" / f"{request.param}.tar.xz"
  if not archive.is_file():
    pytest.skip(f"no corpus at {archive}")
  folder = tmp_path_factory.mktemp(request.param)
  with tarfile.open(archive) as tar:
    # Python 3.11.3 and earlier have no filters.
    tar.extraction_filter = getattr(tarfile, "data_filter", None)
    tar.extractall(folder)
  files = sorted(folder.rglob("*.mid*"))
  return random.Random(0).sample(files, min(FILES, len(files)))
