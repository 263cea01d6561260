"""Adapters exchanged while both play: the engine on a virtual clock."""

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.api import MagentaMidi
from magenta_midi.generate.generator import Generator
from magenta_midi.live.engine.adapter_choices import parts_of
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.context_encoder import ContextEncoder
from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.engine.planner import Planner
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.engine_trace import TracedEngine, run_trace
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.live.recording.serialization import (
  make_engine,
  make_performer,
)
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import Adapter
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank, init_factors
from magenta_midi.testing import tiny_generator

CHOICES = ("a", "a:0.5 + b", "b", "")
STEP = SECOND // 20


def drawn_adapter(model, name, seed, sha256):
  """An adapter that changes a great deal."""
  config = LoraConfig(rank=2)
  key = jax.random.key(seed)
  factors = init_factors(nnx.state(model, nnx.Param), config, key)
  draw = np.random.default_rng(seed)
  return Adapter(
    name=name,
    factors={
      name: LowRank(
        np.asarray(pair.a),
        draw.normal(size=pair.b.shape).astype(np.float32) / 4,
      )
      for name, pair in factors.items()
    },
    config=config,
    base="tiny",
    base_sha256=sha256,
    codec={},
  )


@pytest.fixture(scope="module")
def mm(tmp_path_factory):
  generator = tiny_generator(parts=9)
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("adapters")
    patch.setenv("MAGENTA_MIDI_ADAPTERS", str(folder))
    for seed, name in enumerate("ab"):
      install_adapter(drawn_adapter(generator.model, name, seed, "00"))
    config = {"model": {"style_slots": generator.config.style_slots}}
    yield MagentaMidi(generator, config | {"sha256": "00"}, "tiny")


@pytest.fixture(scope="module")
def alone(mm):
  """Choice -> a model that has no choice, compiled by itself."""
  other = MagentaMidi(
    Generator(mm.network_with([]), mm.codec), mm.config, "tiny"
  )

  def using(choice):
    other.use_adapters(parts_of(choice))
    return other

  return using


def replayed(mm, controls):
  engine = make_engine(mm, controls, seed=3)
  replay = Replay(engine, make_performer(), CostTable.load())
  call = Score.from_arrays(
    onset_s=0.5 + 0.3 * np.arange(24),
    duration_s=np.full(24, 0.25),
    key=60 + np.arange(24) % 12,
    velocity=np.full(24, 70),
  )
  return replay.run(messages_of(call)).sent


def drive(engine, first, count, *, say=None):
  """Plays `count` notes in, 50 ms each, and does all there is to do."""
  said = []
  for index in range(first, first + count):
    now = index * STEP
    if say is not None:
      say(engine, index, now)
    engine.receive(Message(now, bytes((0x90, 60 + index % 7, 60))))
    engine.receive(Message(now + 1, bytes((0x80, 60 + index % 7, 0))))
    for _ in range(8):
      job = engine.next_job(now + 2)
      if job is None:
        break
      said += job.run(now + 2)
  return said


@pytest.mark.parametrize("mode", ["simultaneous", "call-response"])
def test_a_choice_plays_as_if_it_were_the_only_one(mm, alone, mode):
  """The last is the checkpoint alone: off is the base, to the bit."""
  played = []
  for number, choice in enumerate(CHOICES, 1):
    controls = Controls(mode=mode, density=4.0)
    chosen = controls._replace(adapters=CHOICES, adapter=number)
    played.append(replayed(mm, chosen))
    assert played[-1] == replayed(alone(choice), controls), choice
  assert all(played)
  assert len({str(sent) for sent in played}) == len(CHOICES)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, len(CHOICES)), min_size=1, max_size=4))
def test_after_any_switches_it_goes_on_as_if_begun_there(mm, numbers):
  """While it listens: nothing of its own tells the two apart then."""
  hears = Controls(mode="listen", density=4.0, adapters=CHOICES)
  last = numbers[-1]
  switched = make_engine(mm, hears, seed=3)
  begun = make_engine(mm, hears._replace(adapter=last), seed=3)

  def switch(engine, index, now):
    if index < len(numbers):
      engine.set_controls(hears._replace(adapter=numbers[index]), now)

  assert drive(switched, 0, 20, say=switch) == drive(begun, 0, 20) == []
  both = hears._replace(mode="simultaneous", adapter=last)
  found = []
  for engine in (switched, begun):
    engine.set_controls(both, 20 * STEP)
    found.append(drive(engine, 20, 30))
  assert found[0] == found[1]
  assert any(getattr(command, "events", ()) for command in found[0])


def test_while_it_plays_the_music_so_far_is_read_anew(mm, alone):
  """The stream after a switch is one that knew no other weights."""
  controls = Controls(mode="simultaneous", density=4.0, adapters=CHOICES)
  engine = make_engine(mm, controls._replace(adapter=4), seed=3)
  drive(engine, 0, 60)
  planner = engine.planner
  own = list(planner.model.notes)
  assert own and planner.stream is not None
  codes = np.array([3, 64, 9, 20], np.int32)
  before = planner.stream.next_log_p(codes)
  now = 60 * STEP
  engine.set_controls(controls._replace(adapter=2), now)
  # Until it is read, what is open plays on unchanged.
  assert planner.outdated
  np.testing.assert_array_equal(planner.stream.next_log_p(codes), before)
  said = []
  while planner.outdated:
    job = engine.next_job(now)
    assert job is not None and job.name == "encode"
    said += job.run(now)
  assert said
  stream = planner.stream
  encoder = ContextEncoder(alone(CHOICES[1]).generator)
  fresh = Planner(encoder, planner.plan_settings)
  fresh.model, fresh.player = planner.model, planner.player
  fresh._recent = planner._recent
  *_, expected = fresh.open_stream(stream.origin_step)
  assert expected is not None and expected.length == stream.length
  np.testing.assert_array_equal(
    stream.next_log_p(codes), expected.next_log_p(codes)
  )
  assert not np.array_equal(stream.next_log_p(codes), before)
  wanted, plans = planner.plan_settings, []
  for each in (stream, expected):
    each.drop_plan()
    plans.append(each.plan(wanted, events=8, earliest_step=1))
  assert len(plans[0].frames.step)
  for one, other in zip(plans[0].frames, plans[1].frames, strict=True):
    np.testing.assert_array_equal(one, other)
  # What was played stands.
  assert [note.id for note in planner.model.notes][: len(own)] == [
    note.id for note in own
  ]


def test_a_reply_prepared_by_others_is_prepared_again(mm):
  controls = Controls(adapters=CHOICES)
  engine = make_engine(mm, controls, seed=3)
  drive(engine, 0, 20)
  now = 20 * STEP
  while engine.planner.draft is None:
    now += STEP
    job = engine.next_job(now)
    if job is not None:
      job.run(now)
  engine.set_controls(controls._replace(adapter=3), now)
  assert engine.planner.draft is None
  while not engine.replying:
    now += STEP
    job = engine.next_job(now)
    if job is not None:
      job.run(now)
  assert engine.planner.stream is not None and not engine.planner.outdated


def test_nothing_compiles_while_adapters_change(mm):
  controls = Controls(mode="simultaneous", adapters=CHOICES)
  engine = make_engine(mm, controls)
  engine.warm_up()
  used = set()

  def switch(engine, index, now):
    stream = engine.planner.stream
    if stream is not None:
      used.add(id(stream.functions))
    if index % 8 == 0:
      mode = ("simultaneous", "call-response")[index // 64 % 2]
      chosen = controls._replace(mode=mode, adapter=1 + index // 8 % 4)
      engine.set_controls(chosen, now)

  with CompilationCounter() as counter:
    drive(engine, 0, 130, say=switch)
  assert counter.count == 0
  assert len(used) >= len(CHOICES)


def test_a_session_with_switches_plays_again_exactly(mm):
  controls = Controls(mode="simultaneous", density=4.0, adapters=CHOICES)
  trace = []
  engine = TracedEngine(make_engine(mm, controls, seed=5), trace.append)

  def switch(engine, index, now):
    if index % 25 == 24:
      chosen = controls._replace(adapter=1 + index // 25 % 4)
      engine.set_controls(chosen, now)

  said = drive(engine, 0, 110, say=switch)
  again = run_trace(make_engine(mm, controls, seed=5), trace)
  assert [command for _, command in again] == said
  # Whoever does not switch plays something else.
  stayed = [entry for entry in trace if entry[0] != "c"]
  try:
    other = run_trace(make_engine(mm, controls, seed=5), stayed)
  except ValueError:
    return
  assert [command for _, command in other] != said


def test_what_cannot_be_exchanged(mm):
  with pytest.raises(ValueError, match=r"each of the controls' 4 adapters"):
    Engine(mm.generator, controls=Controls(adapters=CHOICES))
  engine = make_engine(mm, Controls(adapters=CHOICES))
  with pytest.raises(ValueError, match="cannot change while playing"):
    engine.set_controls(Controls(), 0)
  other = tiny_generator(parts=5).model
  functions = mm.generator.duet_functions(guided=False, slots=192)
  with pytest.raises(ValueError, match="of the model's own shapes"):
    functions.with_weights(other)
