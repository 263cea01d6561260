"""Live play in time: the onset prior as an input of the compiled step."""

import numpy as np
import pytest

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.engine import Engine, EngineSettings
from magenta_midi.live.engine.timekeeper import Timekeeper
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import (
  SECOND,
  PlannedNote,
  is_note_on,
)
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.engine_trace import (
  TracedEngine,
  check_trace,
  run_trace,
)
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.live.recording.serialization import make_performer
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.score import Score
from magenta_midi.testing import tiny_generator
from tests.support.engine_play import STEP, an_engine, planned_notes


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9)


def played(engine, steps, say=lambda index: None):
  """Onsets of what is planned, s."""
  notes = planned_notes(engine, steps, say)
  return np.array(sorted(note.time_ns / SECOND for note in notes))


def at_sixteenths(onset_s, grid):
  return abs(np.exp(8j * np.pi * grid.places(onset_s)).mean())


@pytest.mark.parametrize("bpm", [80, 120, 150])
def test_planned_notes_stand_on_the_beat_of_the_bars(generator, bpm):
  bars = Bars(bpm, 4, 130_000_000)
  found = {}
  for tightness in (0.0, 1.0, 2.0):
    engine = an_engine(generator, tightness=tightness)
    engine.set_bars(bars)
    found[tightness] = at_sixteenths(played(engine, 100), bars.grid)
  # The drawn weights know nothing of time: all of it is the prior's.
  assert found[0.0] < 0.35
  assert found[1.0] > 0.6
  assert found[2.0] > found[1.0]


def test_free_play_keeps_no_beat(generator):
  with_bars, without = an_engine(generator, free=True), an_engine(generator)
  with_bars.set_bars(Bars(100, 4, 0))
  assert played(with_bars, 60).tolist() == played(without, 60).tolist()


def test_another_tempo_groove_or_tightness_compiles_nothing(generator):
  engine = an_engine(generator)
  engine.warm_up()

  def say(index):
    controls = engine.controls
    if index == 10:
      engine.set_bars(Bars(90, 4, 0))
    elif index == 20:
      engine.set_controls(controls._replace(groove="swing"), index * STEP)
    elif index == 30:
      engine.set_bars(Bars(133.3, 3, 70_000_000))
      engine.set_controls(controls._replace(tightness=0.3), index * STEP)
    elif index == 40:
      engine.set_controls(controls._replace(free=True), index * STEP)

  with CompilationCounter() as counter:
    played(engine, 60, say)
  assert counter.count == 0


def in_time(bpm, count=60):
  """Bass, chords and offbeats of a player, as a recording."""
  rows = []
  for beat in range(count):
    at = 0.5 + beat * 60 / bpm
    rows += [(at, key) for key in [48, 52, 55] + [36] * (beat % 4 == 0)]
    rows.append((at + 30 / bpm, 60))
  onset_s, key = zip(*rows, strict=True)
  return Score.from_arrays(
    onset_s=np.array(onset_s),
    duration_s=np.full(len(rows), 0.2),
    key=np.array(key),
    velocity=np.full(len(rows), 70),
  )


@pytest.mark.parametrize("mode", ["simultaneous", "call-response"])
def test_a_replay_keeps_the_players_beat_and_can_be_played_again(
  generator, mode
):
  def engine():
    controls = Controls(mode=mode, density=4.0)
    return Engine(generator, settings=EngineSettings(seed=3), controls=controls)

  sent = {}
  music = in_time(104, 30 if mode == "call-response" else 60)
  for keeps_time in (True, False):
    keeper = Timekeeper(Controls()) if keeps_time else None
    played = engine()
    replay = Replay(
      played, make_performer(), CostTable.load(), timekeeper=keeper
    )
    result = replay.run(messages_of(music), tail_ns=8 * SECOND)
    late = [
      m.time_ns / SECOND
      for m in result.sent
      if is_note_on(m.data) and m.time_ns > 8 * SECOND
    ]
    sent[keeps_time] = np.array(late)
    if keeps_time:
      grid, trace = played.bars.grid, result.trace
  assert grid.bpm == pytest.approx(104, rel=0.02)
  assert at_sixteenths(sent[True], grid) > 0.6
  assert at_sixteenths(sent[False], grid) < 0.4
  assert [entry for entry in trace if entry[0] == "b"]
  check_trace(trace)
  planned = {
    event.id: event.time_ns
    for _, command in run_trace(engine(), trace)
    for event in getattr(command, "events", ())
    if isinstance(event, PlannedNote)
  }
  # Sent when they were planned for.
  times_s = np.array(sorted(planned.values())) / SECOND
  near = np.abs(sent[True][:, None] - times_s[None]).min(axis=1)
  assert np.median(near) < 0.002


def test_a_players_groove_is_played_and_kept_in_the_trace(generator):
  density = np.where(np.arange(48) == 30, 20.0, 0.6)
  density = density / density.mean()
  trace = []

  def engine():
    return an_engine(generator, groove="@me:2")

  traced = TracedEngine(engine(), trace.append)
  bars = Bars(60, 4, 0)
  traced.add_groove("@me", density.tolist())
  traced.set_bars(bars)
  onset_s = played(traced, 100)
  place = bars.grid.places(onset_s) % 1
  near = np.abs(place - 30 / 48) < 0.03
  # Of a beat, so much would be there by chance.
  assert near.mean() > 5 * 0.06
  check_trace(trace)
  again = {
    event.id: event.time_ns / SECOND
    for _, command in run_trace(engine(), trace)
    for event in getattr(command, "events", ())
    if isinstance(event, PlannedNote)
  }
  assert sorted(again.values()) == onset_s.tolist()


def test_a_groove_that_is_not_known_yet_is_a_straight_one(generator):
  unknown = an_engine(generator, groove="@nobody")
  straight = an_engine(generator, groove="straight")
  for engine in (unknown, straight):
    engine.set_bars(Bars(100, 4, 0))
  assert played(unknown, 40).tolist() == played(straight, 40).tolist()
