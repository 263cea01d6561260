"""Fixtures of style tests: two different pieces, and a style model."""

import numpy as np
import pytest

from magenta_midi.midi import Score
from magenta_midi.style import DescriptorStyle


@pytest.fixture(scope="session")
def model() -> DescriptorStyle:
  return DescriptorStyle()


@pytest.fixture(scope="session")
def slow() -> Score:
  """A soft chord tone every second, held, with pedal."""
  keys = np.array([57, 64, 60, 69, 57, 62, 65, 64, 52, 59, 64, 57])
  return Score.from_arrays(
    onset_s=np.arange(12.0),
    duration_s=np.full(12, 1.2),
    key=keys,
    velocity=np.full(12, 42) + keys % 3,
    pedal=[(0.0, True)],
  )


@pytest.fixture(scope="session")
def busy() -> Score:
  """Loud: bass and chord in turn, six a second, under a fast melody."""
  melody_s = np.arange(96) / 12
  left_s = np.arange(48) / 6
  bass = np.repeat([36, 43], 1)[np.arange(48) // 2 % 2]
  chord = np.where(np.arange(48) % 2, 60, bass)
  onset_s = np.concatenate([melody_s, left_s, left_s[1::2]])
  keys = np.concatenate(
    [72 + np.tile([0, 2, 4, 7, 9, 7, 4, 2], 12), chord, np.full(24, 64)]
  )
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(len(keys), 0.07),
    key=keys,
    velocity=np.full(len(keys), 100),
  )
