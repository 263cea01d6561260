"""The beat of a session: whose it is."""

import itertools

import numpy as np
import pytest

from magenta_midi.live.engine.timekeeper import Timekeeper
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.midi_clock import ClockSender
from magenta_midi.midi.meter import Meter

MS = SECOND // 1000
LOOP = 5 * MS


def notes(beat_s):
  """Bass, chords and offbeats, as note-ons."""
  found = []
  for index, (at, following) in enumerate(itertools.pairwise(beat_s)):
    keys = [60, 64, 67] + [36] * (index % 4 == 0)
    found += [(at, key) for key in keys] + [((at + following) / 2, 72)]
  return [
    Message(round(at * SECOND), bytes((0x90, key, 70)))
    for at, key in sorted(found)
  ]


def run(keeper, messages, seconds, from_s=0.0):
  """Loops as the model's process; (time s, beat) of each change."""
  waiting, found = list(messages)[::-1], []
  for now in range(round(from_s * SECOND), round(seconds * SECOND), LOOP):
    while waiting and waiting[-1].time_ns <= now:
      keeper.receive(waiting.pop())
    if keeper.advance(now):
      found.append((now / SECOND, keeper.beat))
  return found


def off(bars, beat_s, at_s):
  return np.abs(beat_s - bars.next_beat_ns(round(at_s * SECOND)) / SECOND).min()


@pytest.mark.parametrize("bpm", [70, 100, 132])
def test_the_beat_of_the_players_notes_is_found_and_told_seldom(bpm):
  beat_s = 0.7 + np.arange(40) * 60 / bpm
  keeper = Timekeeper(Controls())
  found = run(keeper, notes(beat_s), 15)
  assert found[0][0] < 6
  bars = keeper.beat.bars
  assert keeper.beat.source == "player" and keeper.confidence > 0.8
  # In fast music each second beat may be taken for the beat.
  ratio = 0.5 if bpm > 130 else 1
  assert bars.bpm == pytest.approx(ratio * bpm, rel=0.01)
  assert off(bars, beat_s, 14) < 0.03
  assert len(found) < 40
  # While the player rests it goes on.
  assert len(run(keeper, [], 40, from_s=15)) < 8
  assert off(keeper.beat.bars, 0.7 + np.arange(99) * 60 / bpm, 30) < 0.1


def test_free_playing_has_no_beat_and_loses_one():
  draw = np.random.default_rng(1)
  free = [
    Message(round(at * SECOND), bytes((0x90, int(draw.integers(40, 80)), 60)))
    for at in np.cumsum(draw.exponential(0.3, 120))
  ]
  keeper = Timekeeper(Controls())
  assert not run(keeper, free, 30)
  keeper = Timekeeper(Controls())
  run(keeper, notes(0.5 + np.arange(24) * 0.6), 14)
  assert keeper.beat.bars is not None
  later = [m._replace(time_ns=m.time_ns + 14 * SECOND) for m in free]
  run(keeper, later, 45, from_s=14)
  assert keeper.beat.bars is None


def test_an_asked_tempo_begins_with_the_first_note_and_goes_along():
  beat_s = 1.234 + np.arange(60) * 60 / 104
  keeper = Timekeeper(Controls(tempo=100.0))
  found = run(keeper, notes(beat_s), 20)
  assert found[0][0] == pytest.approx(1.234, abs=0.01)
  assert found[0][1].source == "asked"
  assert found[0][1].bars.bpm == 100
  assert keeper.beat.bars.bpm == pytest.approx(104, rel=0.01)
  assert off(keeper.beat.bars, beat_s, 19) < 0.04


def test_bars_that_are_counted_in_stand():
  beat_s = 1.2 + np.arange(60) * 60 / 104
  keeper = Timekeeper(Controls(tempo=100.0))
  bars = Bars(100.0, 4, 3 * SECOND)
  keeper.tell(bars, follows=False)
  run(keeper, notes(beat_s), 15)
  assert keeper.beat.bars == bars
  # Another tempo goes on from the present beat.
  at = bars.time_of(5)
  keeper.set_controls(Controls(tempo=80.0), at + 10 * MS)
  keeper.advance(at + 20 * MS)
  assert keeper.beat.bars.bpm == 80
  place = keeper.beat.bars.position(at + 1)
  assert (place.bar, round(place.beat, 3)) == (5, 0.0)
  # And none: the player's.
  keeper.set_controls(Controls(), 16 * SECOND)
  run(keeper, notes(beat_s + 16), 35, from_s=16)
  assert keeper.beat.source == "player"
  assert keeper.beat.bars.bpm == pytest.approx(52, rel=0.01) or (
    keeper.beat.bars.bpm == pytest.approx(104, rel=0.01)
  )


def test_a_clock_comes_first_and_when_it_stops_its_beat_goes_on():
  bars, keeper = Bars(110, 4, SECOND), Timekeeper(Controls(tempo=90.0))
  sender, ticks = ClockSender(bars), []
  sender.start(0)
  for now in range(0, 6 * SECOND, MS):
    ticks += sender.due(now)
  run(keeper, ticks, 6)
  assert keeper.beat.source == "clock"
  assert keeper.beat.bars.bpm == pytest.approx(110, rel=1e-3)
  assert keeper.news() == []
  run(keeper, [], 12, from_s=6)
  assert keeper.news() == [
    "the MIDI clock is silent: your own beat counts now."
  ]
  assert keeper.beat.bars.bpm == pytest.approx(110, rel=1e-3)
  assert keeper.beat.bars.position(10 * SECOND) == pytest.approx(
    bars.position(10 * SECOND), abs=0.02
  )


def test_beats_of_three_are_known_from_the_meter():
  keeper = Timekeeper(Controls(tempo=80.0), Meter.parse("6/8"))
  run(keeper, notes(0.5 + np.arange(20) * 0.75), 8)
  assert keeper.beat.triplets
  assert keeper.beat.bars.beats_per_bar == 2


def test_a_long_silence_costs_no_time():
  keeper = Timekeeper(Controls())
  run(keeper, notes(0.5 + np.arange(24) * 0.6), 18)
  bars = keeper.beat.bars
  for hours in range(1, 24):
    keeper.advance(hours * 3600 * SECOND)
  assert keeper.beat.bars.bpm == pytest.approx(bars.bpm, rel=1e-3)
