import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.pedal import (
  PEDAL_DTYPE,
  half_pedal_changes,
  pedal_events,
  tidy_pedals,
  union_of_pedals,
)


def events(rows):
  return np.array(rows, PEDAL_DTYPE)


def test_a_trembling_half_pedal_stays_down():
  value = np.array([0, 30, 70, 60, 66, 41, 64, 39, 45, 63, 127])
  index, down = pedal_events(value)
  assert index.tolist() == [2, 7, 10]
  assert down.tolist() == [True, False, True]


def test_changes_that_half_pedalling_leaves_out_are_counted():
  value = np.array([0, 30, 70, 60, 66, 41, 64, 39, 45, 63, 127])
  # A switch at 64 goes down, up, down, up, down, up, down; with memory 3.
  assert half_pedal_changes(value) == 4
  assert half_pedal_changes(np.array([0, 127, 0, 127])) == 0
  assert half_pedal_changes(np.array([], int)) == 0


def test_half_values_alone_never_press():
  index, _ = pedal_events(np.array([40, 63, 50]))
  assert not len(index)


@given(st.lists(st.integers(0, 127), max_size=50))
def test_events_are_those_of_a_switch_with_memory(values):
  expected, state = [], False
  for i, value in enumerate(values):
    new = value >= 64 or (state and value >= 40)
    if new != state:
      expected.append((i, new))
    state = new
  index, down = pedal_events(np.array(values, int))
  assert list(zip(index.tolist(), down.tolist(), strict=True)) == expected


def test_what_happens_at_one_time_is_reduced_to_its_outcome():
  pedals = tidy_pedals(
    events([(1, True, 0), (1, False, 0), (2, True, 0), (3, False, 0)])
  )
  assert pedals["time_s"].tolist() == [2, 3]
  pedals = tidy_pedals(
    events([(1, True, 0), (2, False, 0), (2, True, 0), (3, False, 0)])
  )
  assert pedals["time_s"].tolist() == [1, 3]


def test_union_is_down_while_any_part_is():
  pedals = tidy_pedals(
    events(
      [
        (1, True, 0),
        (3, False, 0),
        (2, True, 1),
        (4, False, 1),
        (4, True, 0),  # takes over without a gap
        (5, False, 0),
        (7, True, 1),  # stays down
      ]
    )
  )
  union = union_of_pedals(pedals)
  assert union["time_s"].tolist() == [1, 5, 7]
  assert union["down"].tolist() == [True, False, True]
