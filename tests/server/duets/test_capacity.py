"""The most sessions at once: by what the first one needs."""

import os

import pytest

from magenta_midi.server.duets.capacity import Capacity, sessions_for


def test_what_was_asked_for_counts():
  capacity = Capacity(3)
  assert not capacity.measured(100.0, 100.0)
  assert capacity.sessions == 3


def test_the_first_measurement_counts():
  capacity = Capacity()
  assert capacity.sessions == max(1, os.cpu_count() // 2)
  assert capacity.measured(0.01, 0.01)
  found = capacity.sessions
  assert found == sessions_for(0.01, 0.01, os.cpu_count())
  # Others start beside it and seem slower.
  assert not capacity.measured(5.0, 5.0)
  assert capacity.sessions == found


@pytest.mark.parametrize(
  ("cpu_s", "wall_s", "cores", "sessions"),
  [
    (0.45, 0.3, 2, 3),  # two threads: the processor is what is shared
    (3.0, 2.0, 2, 1),  # too slow even for one
    (0.05, 0.05, 16, 72),
    (0.05, 0.15, 16, 9),  # waits for an accelerator
  ],
)
def test_sessions_share_cores_and_accelerator(cpu_s, wall_s, cores, sessions):
  assert sessions_for(cpu_s, wall_s, cores) == sessions
