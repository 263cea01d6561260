"""Bars and beats of a steady tempo."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import (
  Bars,
  click_messages,
  is_another,
)

BARS = st.builds(
  Bars,
  st.floats(20, 400),
  st.integers(1, 12),
  st.integers(0, 3600 * SECOND),
)
TIMES = st.integers(0, 4000 * SECOND)


def test_positions_in_three_four_at_120():
  bars = Bars(120, 3, 10 * SECOND)
  assert bars.position(10 * SECOND)[0] == 0
  assert bars.position(10 * SECOND).beat == pytest.approx(0, abs=1e-8)
  bar, beat = bars.position(12 * SECOND)
  assert (bar, round(beat, 6)) == (1, 1.0)
  assert bars.position(10 * SECOND - 1)[0] == -1
  assert bars.time_of(1, 1) == 12 * SECOND
  assert bars.next_bar_ns(10 * SECOND) == 10 * SECOND
  assert bars.next_bar_ns(10 * SECOND + 1) == 11_500_000_000
  assert bars.count_in_ns() == 8_500_000_000


@given(BARS, st.integers(-100, 5000), st.integers(0, 11))
def test_time_and_position_are_inverse(bars, bar, beat):
  beat %= bars.beats_per_bar
  found = bars.position(bars.time_of(bar, beat))
  assert found.bar == bar
  assert found.beat == pytest.approx(beat, abs=1e-6)
  assert bars.next_bar_ns(bars.time_of(bar)) == bars.time_of(bar)


@given(BARS, TIMES, TIMES)
def test_a_late_reply_keeps_its_place_in_the_bar(bars, planned, earliest):
  shift = bars.next_same_position(planned, earliest)
  assert planned + shift >= earliest or shift == 0 <= planned - earliest
  assert shift < max(earliest - planned, 0) + bars.bar_ns + 1
  whole = shift / bars.bar_ns
  assert abs(whole - round(whole)) * bars.bar_ns < 1.01


def test_a_reply_in_time_is_not_moved():
  assert Bars(100, 4, 0).next_same_position(5 * SECOND, 4 * SECOND) == 0
  assert Bars(120, 4, 7).next_same_position(SECOND, SECOND + 1) == 2 * SECOND


@given(BARS, TIMES, st.lists(st.integers(0, SECOND), max_size=20))
def test_every_click_comes_once_whatever_the_slices(bars, start, steps):
  edges = [start, *itertools.accumulate(steps, initial=start)]
  sliced = [
    click
    for a, b in itertools.pairwise(edges)
    for click in bars.metronome(a, b)
  ]
  assert sliced == bars.metronome(start, edges[-1])
  for click in sliced:
    beat = bars.position(click.time_ns).beat
    assert click.accent == (beat < 0.5)


def test_count_in_and_its_clicks():
  bars = Bars(120, 4, 2 * SECOND)
  clicks = bars.metronome(bars.count_in_ns(), bars.start_ns + 1)
  assert [click.time_ns for click in clicks] == [
    n * SECOND // 2 for n in range(5)
  ]
  assert [click.accent for click in clicks] == [True, *[False] * 3, True]
  on, off = click_messages(clicks[0])
  assert on.data == bytes((0x99, 76, 100))
  assert off.data[:2] == bytes((0x89, 76))
  assert on.time_ns < off.time_ns < clicks[1].time_ns
  assert click_messages(clicks[1])[0].data[1] == 77


@pytest.mark.parametrize("bpm", [0, 19.9, 401, float("nan"), float("inf")])
def test_a_tempo_that_nobody_plays_is_refused(bpm):
  with pytest.raises(ValueError, match="tempo must be a number from 20 to 400"):
    Bars(bpm, 4, 0)


def test_a_bar_without_beats_is_refused():
  with pytest.raises(ValueError, match="1 to 32 beats, got 0"):
    Bars(120, 0, 0)


@pytest.mark.parametrize(
  ("bars", "another"),
  [
    (Bars(120, 4, 20_000_000), False),  # a little later
    (Bars(120.5, 4, 0), False),
    (Bars(120, 4, 200_000_000), True),
    (Bars(120, 4, 500_000_000), True),  # the downbeat is a beat later
    (Bars(120, 4, 80 * SECOND), True),  # a chart begins anew
    (Bars(126, 4, 0), True),
  ],
)
def test_what_a_recording_takes_as_other_bars(bars, another):
  assert is_another(bars, Bars(120, 4, 0), SECOND) == another
