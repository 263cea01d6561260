"""Engine and performer on a virtual clock: the duet's promises."""

import json

import numpy as np
import pytest

from magenta_midi.generate.sampling import Sampling
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.engine import Engine, EngineSettings
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.engine_trace import run_trace
from magenta_midi.live.recording.score_messages import duet_score, messages_of
from magenta_midi.live.recording.serialization import make_performer
from magenta_midi.live.recording.virtual_clock import Replay, stuck_notes
from magenta_midi.midi.score import Score
from magenta_midi.testing import tiny_generator


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9)


def an_engine(generator, mode, *, seed=3, **controls):
  return Engine(
    generator,
    settings=EngineSettings(seed=seed),
    controls=Controls(mode=mode, **controls),
    sampling=Sampling(),
  )


def a_call(count=12, gap_s=0.3, start_s=0.5):
  return Score.from_arrays(
    onset_s=start_s + gap_s * np.arange(count),
    duration_s=np.full(count, 0.25),
    key=60 + np.arange(count) % 12,
    velocity=np.full(count, 70),
  )


def play(generator, mode, score, *, actions=(), seed=3, **controls):
  engine = an_engine(generator, mode, seed=seed, **controls)
  replay = Replay(engine, make_performer(), CostTable.load())
  return replay.run(messages_of(score), actions=actions)


def onsets(messages):
  return np.array([m.time_ns for m in messages if is_note_on(m.data)]) / SECOND


def test_the_same_seed_gives_the_same_session_to_the_byte(generator):
  call = a_call(30, 0.4)
  runs = [play(generator, "simultaneous", call, density=4.0) for _ in range(2)]
  assert runs[0].sent == runs[1].sent
  assert len(runs[0].sent) > 10
  assert json.dumps(runs[0].trace) == json.dumps(runs[1].trace)
  assert runs[0].report == runs[1].report
  other = play(generator, "simultaneous", call, seed=4, density=4.0)
  assert other.sent != runs[0].sent


def test_a_reply_follows_its_call_and_ends(generator):
  call = a_call()
  result = play(generator, "call-response", call)
  at = onsets(result.sent)
  call_s = call.end_s - 0.5
  assert len(at)
  # Nothing while the player plays; then after the wait, and soon.
  assert at[0] > call.end_s + 0.4
  assert at[0] < call.end_s + 2.5 + 0.6
  assert at[-1] <= at[0] + 1.5 * call_s + 0.1
  # From the decision to the plan, and to its first note.
  ready, first = (
    result.report[name]["p99"] for name in ("reply_ready_ms", "first_note_ms")
  )
  assert ready <= 40
  assert ready < first <= 40


def test_an_interruption_stops_the_reply(generator):
  call = a_call()
  alone = play(generator, "call-response", call)
  begins = onsets(alone.sent)[0]
  breaks_in = begins + 0.5
  both = messages_of(call) + [
    Message(round((breaks_in + 0.1 * i) * SECOND), data)
    for i in range(3)
    for data in (bytes((0x90, 48 + i, 80)),)
  ]
  # The player holds on, so no second reply begins.
  engine = an_engine(generator, "call-response")
  replay = Replay(engine, make_performer(), CostTable.load())
  result = replay.run(both)
  decided = breaks_in + 0.1
  late = onsets(result.sent)
  late = late[late > decided + 0.03]
  assert not len(late[late < decided + 5])
  ends = [m.time_ns / SECOND for m in result.sent if is_note_off(m.data)]
  assert max(t for t in ends if t < decided + 5) <= decided + 0.33


@pytest.mark.parametrize("mode", ["call-response", "simultaneous"])
def test_nothing_is_left_sounding(generator, mode):
  result = play(generator, mode, a_call(30, 0.2))
  assert stuck_notes(result.sent) == 0
  pedals = [m.data[2] for m in result.sent if is_sustain(m.data)]
  assert not pedals or pedals[-1] == 0
  assert result.report["stuck_notes"] == 0


def test_listening_is_silent(generator):
  assert not onsets(play(generator, "listen", a_call()).sent).size
  muted = play(generator, "simultaneous", a_call(), muted=True)
  assert not onsets(muted.sent).size


def test_together_it_answers_at_once_and_stops_after_the_player(generator):
  call = a_call(60, 0.12)
  result = play(generator, "simultaneous", call)
  report = result.report
  assert report["compute_ms"]["p50"] <= 10
  assert report["compute_ms"]["p99"] <= 30
  assert report["reaction_ms"]["p99"] <= 50
  assert report["isr"] >= 0.999
  at = onsets(result.sent)
  assert len(at)
  assert at[-1] <= call.end_s + 8.5


def test_nothing_compiles_while_playing(generator):
  engine = an_engine(generator, "simultaneous")
  engine.warm_up()
  with CompilationCounter() as counter:
    now = 0
    for mode in ("simultaneous", "call-response", "listen", "simultaneous"):
      for guidance in (0.0, 2.0):
        controls = Controls(
          mode=mode, guidance=guidance, temperature=0.8, density=0.5
        )
        engine.set_controls(controls, now)
        engine.set_style([0] * generator.config.style_slots)
        for index in range(40):
          now += SECOND // 20
          key = 60 + index % 7
          if index < 25:
            engine.receive(Message(now, bytes((0x90, key, 60))))
            engine.receive(Message(now + 1, bytes((0x80, key, 0))))
          for _ in range(6):
            job = engine.next_job(now + 2)
            if job is None:
              break
            job.run(now + 2)
        now += 3 * SECOND
  assert counter.count == 0


def test_a_trace_makes_the_same_commands(generator):
  result = play(generator, "call-response", a_call())
  said = run_trace(an_engine(generator, "call-response"), result.trace)
  events = {
    event.id: event
    for _, command in said
    for event in getattr(command, "events", ())
  }
  sounded = [
    entry for entry in result.trace if entry[0] == "f" and entry[3] == "on"
  ]
  assert len(sounded) == len(onsets(result.sent))
  for _, id, _, _, key, _, _ in sounded:
    assert events[id].key == key
  with pytest.raises(ValueError, match="another way"):
    run_trace(
      an_engine(generator, "listen"), [e for e in result.trace if e[0] != "c"]
    )


def test_actions_end_and_silence(generator):
  call = a_call(30, 0.4)
  whole = play(generator, "simultaneous", call, density=4.0)
  assert (onsets(whole.sent) < 6).any()
  assert (onsets(whole.sent) > 6.1).any()
  ended = play(
    generator,
    "simultaneous",
    call,
    density=4.0,
    actions=[(6 * SECOND, "end")],
  )
  assert onsets(ended.sent)[-1] <= 6.05
  quiet = play(
    generator,
    "simultaneous",
    call,
    density=4.0,
    actions=[(6 * SECOND, "panic")],
  )
  before = [m for m in quiet.sent if m.time_ns <= 6.01 * SECOND]
  assert stuck_notes(before) == 0


def test_both_players_are_in_the_session(generator):
  result = play(generator, "call-response", a_call())
  score = duet_score(result.received, result.sent)
  assert score.part_names == ("player", "ai")
  parts = score.notes["part"]
  assert (parts == 0).sum() == len(a_call())
  assert (parts == 1).sum() == len(onsets(result.sent))


def test_density_and_register_are_heard(generator):
  call = a_call(60, 0.12)
  notes = {}
  for density in (0.25, 4.0):
    result = play(
      generator, "simultaneous", call, density=density, register=(72, 96)
    )
    notes[density] = len(onsets(result.sent))
    keys = [m.data[1] for m in result.sent if is_note_on(m.data)]
    assert all(72 <= key <= 96 for key in keys)
  assert notes[4.0] > notes[0.25]
