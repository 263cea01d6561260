"""Overlaps, repetitions and shares on constructed music."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from tools.music.likeness import (
  QUANTITIES,
  chunk_notes,
  longest_repetition,
  measured,
  overlap_area,
  pedal_changes,
  pedal_share,
  polyphony,
  silent_share,
)

EDGES = np.arange(0.0, 11.0)
values = st.lists(st.floats(-5, 15, allow_nan=False), min_size=1, max_size=50)


def melody(steps: list[int], keys: list[int], pedal=None) -> Score:
  return Score.from_arrays(
    onset_s=np.array(steps) / 100,
    duration_s=np.full(len(steps), 0.1),
    key=keys,
    velocity=np.full(len(steps), 64),
    pedal=pedal,
  )


@given(values, values)
def test_overlap_is_symmetric_and_whole_with_itself(a, b):
  a, b = np.array(a), np.array(b)
  assert overlap_area(a, a, EDGES) == pytest.approx(1.0)
  assert overlap_area(a, b, EDGES) == pytest.approx(overlap_area(b, a, EDGES))
  assert 0.0 <= overlap_area(a, b, EDGES) <= 1.0 + 1e-12


def test_overlap_of_what_is_apart_or_missing_is_none():
  low, high = np.array([0.5, 1.5]), np.array([8.5, 99.0])
  assert overlap_area(low, high, EDGES) == 0.0
  assert overlap_area(low, np.empty(0), EDGES) == 0.0
  # Half of one lies in the bin of the other.
  assert overlap_area(low, np.array([1.2]), EDGES) == 0.5
  # The outer bins take what lies beyond.
  assert overlap_area(np.array([-3.0]), np.array([0.5]), EDGES) == 1.0


def test_a_loop_repeats_until_its_end():
  # Four notes again and again, 12 in all; the first four are the context.
  steps = [10 * i for i in range(12)]
  keys = [60, 64, 67, 72] * 3
  before = melody(steps[:4], keys[:4])
  after = melody([s - 40 for s in steps[4:]], keys[4:])
  assert longest_repetition(before, after, 0.4) == 8
  # Without the context, the second half repeats the first.
  assert longest_repetition(Score.empty(), after, 0.4) == 4


def test_a_run_may_begin_after_any_step_but_not_differ_inside():
  before = melody([0, 10, 30, 60], [60, 64, 67, 72])
  same_later = melody([7, 17, 37, 67], [60, 64, 67, 72])
  assert longest_repetition(before, same_later, 2.0) == 4
  one_step_off = melody([7, 17, 38, 68], [60, 64, 67, 72])
  assert longest_repetition(before, one_step_off, 2.0) == 2
  other_key = melody([7, 17, 37, 67], [60, 64, 66, 72])
  assert longest_repetition(before, other_key, 2.0) == 2
  assert longest_repetition(before, Score.empty(), 2.0) == 0
  assert longest_repetition(before, melody([0], [61]), 2.0) == 0


@given(
  st.lists(st.tuples(st.integers(1, 3), st.integers(60, 62)), max_size=25),
  st.integers(0, 25),
)
def test_the_longest_repetition_is_that_of_a_plain_search(rows, border):
  steps = np.cumsum([20 * step for step, _ in rows]).astype(int)
  keys = [key for _, key in rows]
  border = min(border, len(rows))

  def fits(first: int, second: int, run: int) -> bool:
    return keys[first : first + run] == keys[second : second + run] and (
      np.diff(steps[first : first + run]).tolist()
      == np.diff(steps[second : second + run]).tolist()
    )

  expected = max(
    (
      run
      for second in range(border, len(rows))
      for first in range(second)
      for run in range(1, len(rows) - second + 1)
      if fits(first, second, run)
    ),
    default=0,
  )
  before = melody(steps[:border].tolist(), keys[:border])
  after = melody(steps[border:].tolist(), keys[border:])
  assert longest_repetition(before, after, 0.0) == expected


def test_silent_chunks_have_no_onset():
  score = melody([0, 199, 400], [60, 61, 62])
  assert chunk_notes(score, 8.0).tolist() == [2, 0, 1, 0]
  assert silent_share(score, 8.0) == 0.5
  assert silent_share(Score.empty(), 8.0) == 1.0
  # A rounding error below the border does not move a note over it.
  late = Score.from_arrays(
    onset_s=[2.0 - 1e-9], duration_s=[1.0], key=[60], velocity=[60]
  )
  assert chunk_notes(late, 4.0).tolist() == [0, 1]


def test_polyphony_counts_keys_that_are_down():
  score = Score.from_arrays(
    onset_s=[0.0, 0.0, 0.5],
    duration_s=[1.0, 0.5, 0.25],
    key=[60, 64, 67],
    velocity=[60, 60, 60],
  )
  found = polyphony(score, 2.0)
  assert len(found) == 40
  assert found.tolist() == [2] * 15 + [1] * 5 + [0] * 20


def test_pedal():
  score = melody([0], [60], pedal=[(0.0, True), (1.0, False), (3.0, True)])
  assert pedal_share(score, 4.0) == 0.5
  # A pedal that is down at the start is no change.
  assert pedal_changes(score, 4.0) == 2
  assert pedal_changes(score, 3.0) == 1


def test_every_quantity_is_measured():
  found = measured(melody([0, 0, 25], [60, 64, 60]), 4.0)
  assert list(found) == [quantity.name for quantity in QUANTITIES]
  assert found["notes_per_second"].tolist() == [1.5, 0.0]
  assert found["inter_onset_s"].tolist() == [0.0, 0.25]
  for quantity in QUANTITIES:
    assert (np.diff(quantity.edges) > 0).all()
  assert all(len(v) == 0 for k, v in measured(Score.empty(), 0.0).items())
