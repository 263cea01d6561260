import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi import TempoMap
from magenta_midi.midi.tempo import TickClock


def test_clock_follows_tempo_changes():
  # 120 bpm for two beats, then 60, then 240; 100 ticks a beat.
  clock = TickClock.from_tempos(
    np.array([200, 300]), np.array([1_000_000, 250_000]), 100
  )
  ticks = np.array([0, 100, 200, 250, 300, 400])
  np.testing.assert_allclose(clock.seconds_at(ticks), [0, 0.5, 1, 1.5, 2, 2.25])
  tempo = clock.tempo_map(100)
  assert tempo.time_s.tolist() == [0, 1, 2]
  np.testing.assert_allclose(tempo.bpm, [120, 60, 240])


def test_the_last_of_several_tempos_at_a_tick_counts():
  clock = TickClock.from_tempos(
    np.array([0, 0]), np.array([250_000, 1_000_000]), 100
  )
  assert clock.seconds_at(np.array([100])).tolist() == [1.0]


@given(
  st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 2**24 - 1)), max_size=20
  ),
  st.lists(st.integers(0, 2 * 10**6), min_size=1),
)
def test_clock_inverts_itself_and_agrees_with_its_tempo_map(changes, ticks):
  changes = np.array(sorted(changes), np.int64).reshape(-1, 2)
  clock = TickClock.from_tempos(changes[:, 0], changes[:, 1], 480)
  tick = np.array(ticks)
  seconds = clock.seconds_at(tick)
  back = clock.seconds_at(clock.ticks_at(seconds))
  np.testing.assert_allclose(back, seconds, rtol=1e-12, atol=1e-12)
  beats = clock.tempo_map(480).beats_at(seconds)
  np.testing.assert_allclose(beats * 480, tick, rtol=1e-6, atol=1e-3)


def test_beats_and_seconds_invert_each_other():
  tempo = TempoMap(np.array([0.0, 2.0, 3.0]), np.array([60.0, 120.0, 30.0]))
  seconds = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 5.0])
  beats = tempo.beats_at(seconds)
  np.testing.assert_allclose(beats, [0, 1, 2, 3, 4, 5])
  np.testing.assert_allclose(tempo.seconds_at(beats), seconds)


def test_crop_and_shift_keep_the_tempo_in_force():
  tempo = TempoMap(np.array([0.0, 2.0]), np.array([60.0, 120.0]))
  assert tempo.crop(3.0).equals(TempoMap.constant(120))
  shifted = tempo.crop(1.0).shifted(1.0)
  assert shifted.equals(tempo)


@pytest.mark.parametrize(
  ("time_s", "bpm", "message"),
  [
    ([], [], "not empty"),
    ([0.0], [1.0, 2.0], "equally long"),
    ([1.0], [120.0], "ascend from 0"),
    ([0.0, 2.0, 2.0], [1.0, 2.0, 3.0], "ascend from 0"),
    ([0.0], [0.0], "positive"),
    ([0.0], [np.inf], "positive"),
  ],
)
def test_impossible_tempos_are_refused(time_s, bpm, message):
  with pytest.raises(ValueError, match=message):
    TempoMap(np.array(time_s, float), np.array(bpm, float))
