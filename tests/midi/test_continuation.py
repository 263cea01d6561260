"""A context and the music that continues it, in one score."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.continuation import context_then_music
from magenta_midi.midi.score import Score


def phrase(pedal, seconds=10.0):
  onset = np.arange(0.0, seconds, 0.5)
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.4),
    key=60 + np.arange(len(onset)) % 12,
    velocity=np.full(len(onset), 70),
    pedal=pedal,
  )


def test_the_pedal_of_a_context_ends_with_its_music():
  # The last note ends at 9.9 s; somebody goes on with the pedal to 95 s.
  context = phrase([(0.5, True), (3.0, False), (9.0, True), (20.0, False)])
  context = Score.from_rows(
    context.notes,
    pedal=[*context.pedals.tolist(), (60.0, True, 0), (95.0, False, 0)],
  )
  music = phrase([(1.0, True), (2.0, False)], seconds=28.0)
  score = context_then_music(context, music, 9.51, "model")
  own = score.pedals["part"] == 0
  assert score.pedals["time_s"][own].tolist() == [0.5, 3.0, 9.0, 9.9]
  assert score.pedals["down"][own].tolist() == [True, False, True, False]
  assert score.end_s < 38


def test_a_pedal_that_comes_up_while_the_last_note_rings_stays():
  context = phrase([(9.0, True), (9.7, False)])
  score = context_then_music(context, phrase([]), 9.51, "model")
  assert score.pedals["time_s"].tolist() == [9.0, 9.7]


@given(
  st.lists(st.floats(0, 200, width=32), max_size=8, unique=True),
  st.floats(0, 30, width=32),
)
def test_no_context_is_heard_after_its_music(times, now_s):
  changes = [(time, i % 2 == 0) for i, time in enumerate(sorted(times))]
  context = phrase(changes)
  score = context_then_music(context, Score.empty(), now_s, "model")
  end_s = max(now_s, 9.9)
  assert (score.pedals["time_s"] <= end_s + 1e-6).all()
  downs = np.where(score.pedals["down"], 1, -1)
  assert downs.sum() == 0
  # What comes before is as it was.
  before = context.pedals[context.pedals["time_s"] < end_s]
  assert score.pedals["time_s"][: len(before)].tolist() == [*before["time_s"]]
