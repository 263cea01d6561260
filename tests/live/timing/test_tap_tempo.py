"""Tempo from taps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.tap_tempo import TapTempo

MS = SECOND // 1000


@given(
  st.floats(25, 300),
  st.integers(2, 30),
  st.lists(st.integers(-10, 10), min_size=30, max_size=30),
  st.integers(1, 7),
)
def test_taps_are_beats_from_the_first_on(bpm, count, off_ms, beats):
  taps, bars = TapTempo(beats), None
  # A hand is no clock; its errors matter less the slower it taps.
  scale = 60 / bpm
  for number in range(count):
    at = 5 * SECOND + round(number * 60 * SECOND / bpm)
    bars = taps.tap(at + round(off_ms[number] * scale * MS))
  last_s = 5 + (count - 1) * 60 / bpm
  assert bars.bpm == pytest.approx(bpm, rel=0.05)
  place = bars.position(round((last_s + 0.1 * scale) * SECOND))
  assert round(place.beat - 0.1, 1) % beats == pytest.approx(
    (count - 1) % beats, abs=0.2
  )


def test_one_tap_is_no_tempo_and_a_pause_begins_anew():
  taps = TapTempo(4)
  assert taps.tap(0) is None
  assert taps.tap(SECOND).bpm == pytest.approx(60)
  assert taps.tap(9 * SECOND) is None
  assert taps.tap(9 * SECOND + SECOND // 2).bpm == pytest.approx(120)


def test_another_tempo_begins_anew():
  taps = TapTempo(4)
  for number in range(5):
    taps.tap(number * SECOND)
  assert taps.tap(4 * SECOND + SECOND // 2) is None
  assert taps.tap(5 * SECOND).bpm == pytest.approx(120)


def test_taps_too_fast_to_be_beats_are_none():
  taps = TapTempo(4)
  assert [taps.tap(number * 50 * MS) for number in range(4)] == [None] * 4
