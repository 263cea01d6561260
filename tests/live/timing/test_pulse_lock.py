"""Bars that go along with a pulse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.pulse_lock import PulseLock
from magenta_midi.midi.analysis.beat_follower import Pulse

LOOK = SECOND // 10


def follow(lock, beat_s, seconds, from_s=0.0, confidence=0.9):
  """Bars at each tenth of a second, while the beats are heard."""
  found = []
  for now_s in np.arange(from_s, from_s + seconds, 0.1):
    index = int(np.searchsorted(beat_s, now_s, "right")) - 1
    if index >= 1:
      period_s = float(beat_s[index] - beat_s[index - 1])
      pulse = Pulse(float(beat_s[index]), period_s, index % 4, confidence)
      lock.follow(pulse, round(now_s * SECOND))
    found.append((now_s, lock.bars))
  return found


def off(bars, beat_s, now_s):
  """From the nearest beat to the next of the bars, in beats."""
  at_s = bars.next_beat_ns(round(now_s * SECOND)) / SECOND
  return np.abs(beat_s - at_s).min() / np.diff(beat_s).mean()


@given(st.floats(55, 190), st.floats(0, 3))
def test_a_steady_pulse_is_taken_as_it_is(bpm, first_s):
  beat_s = first_s + np.arange(60) * 60 / bpm
  lock = PulseLock(4)
  follow(lock, beat_s, 12)
  assert lock.bars.bpm == pytest.approx(bpm, rel=1e-6)
  assert off(lock.bars, beat_s, 10) < 1e-6
  place = lock.bars.position(round(beat_s[8] * SECOND)).beat
  assert min(place, 4 - place) < 1e-3


@pytest.mark.parametrize("change", [0.9, 1.1])
def test_a_tempo_that_changes_is_followed(change):
  period_s = np.append(np.full(12, 0.6), 0.6 * np.linspace(1, change, 24))
  beat_s = np.cumsum(np.append(period_s, np.full(30, 0.6 * change)))
  lock = PulseLock(4)
  found = follow(lock, beat_s, 30)
  assert max(off(b, beat_s, t) for t, b in found if b and t > 2) < 0.12
  assert lock.bars.bpm == pytest.approx(100 / change, rel=0.005)
  # Beats are counted on.
  place = lock.bars.position(round(beat_s[40] * SECOND)).beat
  assert min(place, 4 - place) < 0.1


@pytest.mark.parametrize(
  ("stretch", "shift"), [(2.0, 0.0), (0.5, 0.0), (1.0, 0.5)]
)
def test_another_count_of_the_same_beat_turns_nothing_around(stretch, shift):
  beat_s = 0.5 + np.arange(40) * 0.6
  lock = PulseLock(4)
  follow(lock, beat_s, 6)
  other = 0.5 + 0.6 * (shift + stretch * np.arange(120))
  before = lock.bars
  follow(lock, other, 2.5, from_s=6)
  assert lock.bars.bpm == pytest.approx(before.bpm, rel=1e-3)
  assert lock.bars.position(9 * SECOND).beat == pytest.approx(
    before.position(9 * SECOND).beat, abs=0.05
  )


def test_a_beat_of_another_kind_counts_when_it_lasts():
  lock = PulseLock(4)
  follow(lock, 0.5 + np.arange(40) * 0.6, 6)
  other = 0.37 + np.arange(80) * 0.43
  follow(lock, other, 2, from_s=6)
  assert lock.bars.bpm == pytest.approx(100, rel=0.01)
  follow(lock, other, 4, from_s=8)
  assert lock.bars.bpm == pytest.approx(60 / 0.43, rel=0.01)
  assert off(lock.bars, other, 12) < 0.02


def test_an_unsure_pulse_moves_nothing():
  lock = PulseLock(4)
  beat_s = np.arange(40) * 0.6
  follow(lock, beat_s, 6, confidence=0.4)
  assert lock.bars is None
  lock.begin(Bars(120, 4, 0))
  follow(lock, beat_s, 6, confidence=0.4)
  assert lock.bars == Bars(120, 4, 0)


@given(st.floats(50, 200), st.floats(50, 200))
def test_a_tempo_that_was_asked_for_is_left_by_a_tenth_at_most(asked, played):
  lock = PulseLock(4)
  lock.begin(Bars(asked, 4, 0), asked=True)
  follow(lock, 0.2 + np.arange(100) * 60 / played, 20)
  assert asked / 1.1001 < lock.bars.bpm < asked * 1.1001


@pytest.mark.parametrize("bpm", [105, 136])
def test_another_pulse_leaves_the_chart_where_it_is(bpm):
  """A player who drags the beat elsewhere is still in bar 8."""
  lock = PulseLock(4)
  follow(lock, np.arange(0, 16, 0.5), 15.9)
  bar = lock.bars.position(16 * SECOND).bar
  beat_s = 16.2 + np.arange(40) * 60 / bpm
  follow(lock, beat_s, 8, from_s=16.4)
  assert lock.bars.bpm == pytest.approx(bpm, rel=0.01)
  passed = lock.bars.position(20 * SECOND).bar - bar
  assert 1 <= passed <= 3


@pytest.mark.parametrize(("asked", "played"), [(400, 105), (20, 73.5)])
def test_the_ends_of_the_range_of_tempos_hold(asked, played):
  lock = PulseLock(4)
  lock.begin(Bars(asked, 4, 0), asked=True)
  found = follow(lock, np.arange(60) * 60 / played, 20)
  assert all(20 <= bars.bpm <= 400 for _, bars in found)
