"""Prompts that glide and sliders that ask, without a process."""

import json

import numpy as np
import pytest

from magenta_midi.api import MagentaMidi
from magenta_midi.live.engine.call_response import CallResponse
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.style_control import Steering, asked_of
from magenta_midi.live.player import NoteHistory
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.engine_trace import run_trace
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.live.recording.serialization import (
  make_engine,
  make_performer,
)
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import Adapter, PlayerStyle
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank
from magenta_midi.style.controls import ControlTargets, control_rows
from magenta_midi.testing import (
  STYLE_ENTRY,
  tiny_generator,
  tiny_styled_generator,
)

SLOW, FAST = (("slow", 1.0),), (("fast loud", 1.0),)


def model(generator, **style):
  config = {"model": {"style_slots": generator.config.style_slots}, **style}
  return MagentaMidi(generator, config, "tiny")


@pytest.fixture(scope="module")
def styled():
  return model(tiny_styled_generator(parts=9), style=STYLE_ENTRY)


@pytest.fixture(scope="module")
def plain():
  return model(tiny_generator(parts=9))


def rows_of(mm, text=None, targets=None):
  style = None if text is None else mm.embed_style(text)
  return [int(row) for row in mm.style_rows(style, targets)]


def test_a_prompt_glides_into_the_next(styled):
  steering, player = Steering(styled), NoteHistory()
  assert steering.changed_rows(player, 0) == (False, None)
  steering.set_controls(Controls(prompts=SLOW), 0)
  assert steering.changed_rows(player, 0) == (True, rows_of(styled, "slow"))
  steering.set_controls(Controls(prompts=FAST), SECOND)
  found = []
  for tenth in range(10, 61):
    changed, rows = steering.changed_rows(player, tenth * SECOND // 10)
    if changed:
      found.append((tenth, rows))
  assert len(found) > 3
  # 4 s after the change it is there, and not before.
  assert found[-1][1] == rows_of(styled, "fast loud")
  assert 30 < found[-1][0] <= 50
  steering.set_controls(Controls(), 7 * SECOND)
  assert steering.changed_rows(player, 7 * SECOND) == (True, None)


def test_weights_move_the_style_and_texts_are_embedded_once(
  styled, monkeypatch
):
  steering, player = Steering(styled), NoteHistory()
  embedded = []
  embed = styled.style_model.embed

  def counting(prompt):
    embedded.append(prompt)
    return embed(prompt)

  monkeypatch.setattr(styled.style_model, "embed", counting)
  for index, weight in enumerate((0.5, 1.0, 2.0)):
    prompts = (("slow", weight), ("high bright", 1.0), ("loud", 0.0))
    controls = Controls(prompts=prompts, style_s=0.0)
    assert steering.set_controls(controls, index * SECOND) is None
    _, rows = steering.changed_rows(player, index * SECOND)
    mixed = [("slow", weight), ("high bright", 1.0)]
    assert rows == rows_of(styled, mixed)
    embedded.remove(mixed)
  assert embedded == ["slow", "high bright"]


def test_a_player_is_a_prompt_and_it_is_said_once(
  styled, monkeypatch, tmp_path
):
  vector = styled.embed_style("low soft")
  style = PlayerStyle(vector, styled.style_model.name, "", {})
  pair = LowRank(np.ones((2, 1), np.float32), np.ones((1, 2), np.float32))
  adapter = Adapter(
    name="me",
    factors={"k": pair},
    config=LoraConfig(rank=1),
    base="tiny",
    base_sha256="",
    codec={},
    style=style,
  )
  install_adapter(adapter, folder=tmp_path)
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  steering, player = Steering(styled), NoteHistory()
  controls = Controls(prompts=(("@me", 1.0),), style_s=0.0)
  said = steering.set_controls(controls, 0)
  assert said == "me: the style of the adapter me"
  assert steering.changed_rows(player, 0)[1] == rows_of(styled, "low soft")
  more = Controls(prompts=(("@me", 2.0), ("@you", 1.0)), style_s=0.0)
  assert "@you: no such adapter" in steering.set_controls(more, SECOND)
  assert steering.changed_rows(player, SECOND) == (
    False,
    rows_of(styled, "low soft"),
  )
  again = Controls(prompts=(("@me", 1.0),), style_s=0.0)
  assert steering.set_controls(again, 2 * SECOND) is None


def test_sliders_at_rest_ask_nothing():
  assert asked_of(Controls(), 5.0, 64.0) == ControlTargets()


def test_sliders_ask_relative_to_the_player(styled):
  controls = Controls(density=2.0, loudness=-20, register=(48, 72))
  player = NoteHistory()
  for index in range(17):
    time_ns = SECOND + index * SECOND // 4
    player.add(time_ns, 60, 90, end_ns=time_ns + SECOND // 5)
  steering = Steering(styled)
  steering.set_controls(controls, 0)
  _, rows = steering.changed_rows(player, 6 * SECOND)
  asked = ControlTargets(density=8.0, loudness=70.0, register=(48.0, 72.0))
  assert rows == rows_of(styled, targets=asked)
  # Silence is no change of manner.
  player.forget(60 * SECOND)
  assert steering.changed_rows(player, 60 * SECOND) == (False, rows)


@pytest.mark.parametrize(
  ("pedal", "share"), [("own", None), ("off", 0.0), ("much", 0.95)]
)
def test_the_pedal_is_asked_as_a_share_of_the_time(pedal, share):
  assert asked_of(Controls(pedal=pedal), 5.0, 64.0).pedal == share


@pytest.mark.parametrize("offset", [-30, 30])
def test_loudness_stays_a_velocity(offset):
  asked = asked_of(
    Controls(loudness=offset), 5.0, 10.0 if offset < 0 else 120.0
  )
  assert asked.loudness == (1.0 if offset < 0 else 127.0)
  control_rows(asked, 1)


def test_a_checkpoint_without_style_says_so_and_is_asked_nothing(plain):
  steering = Steering(plain)
  assert steering.warm_up() is None
  said = steering.set_controls(Controls(prompts=SLOW, density=2.0), 0)
  assert said is not None and "trained without style" in said
  assert steering.changed_rows(NoteHistory(), SECOND) == (False, None)


def test_a_prompt_that_means_nothing_is_said(styled):
  steering = Steering(styled)
  said = steering.set_controls(Controls(prompts=(("qwxz", 1.0),)), 0)
  assert said is not None and "'qwxz' says nothing" in said
  # It is news once, and again after something else.
  assert steering.set_controls(Controls(prompts=(("qwxz", 0.5),)), 0) is None
  assert steering.set_controls(Controls(prompts=FAST), 0) is None
  said = steering.set_controls(Controls(prompts=(("qwxz", 1.0),)), 0)
  assert said is not None and "'qwxz' says nothing" in said


def test_a_prompt_that_means_nothing_steers_nothing(styled):
  """Typed, from OSC or the command line: each is one of the controls."""
  steering, player = Steering(styled), NoteHistory()
  steering.set_controls(Controls(prompts=SLOW), 0)
  assert steering.changed_rows(player, 0) == (True, rows_of(styled, "slow"))
  steering.set_controls(Controls(prompts=(("고양이", 1.0),)), SECOND)
  # At once, and not by a glide to anywhere.
  assert steering.changed_rows(player, SECOND) == (True, None)
  silent = Controls(prompts=(("고양이", 1.0), ("qwxz", 2.0)), guidance=3.0)
  for controls in (silent, Controls(guidance=3.0)):
    result = play(styled, controls)
    assert [entry for entry in result.trace if entry[0] == "s"] == []
  np.testing.assert_array_equal(
    *(
      play(styled, controls).sent
      for controls in (silent, Controls(guidance=3.0))
    )
  )


def test_a_prompt_that_is_refused_leaves_the_others_in_force(styled):
  steering, player = Steering(styled), NoteHistory()
  prompts = (*SLOW, ("qwxz", 1.0))
  said = steering.set_controls(Controls(prompts=prompts), 0)
  assert said is not None and "'qwxz' says nothing" in said
  assert steering.changed_rows(player, 0) == (True, rows_of(styled, "slow"))
  opposite = (*SLOW, ("not slow", 1.0))
  said = steering.set_controls(Controls(prompts=opposite), SECOND)
  assert said is not None and "cancel out" in said
  assert not steering.changed_rows(player, 9 * SECOND)[0]


def call():
  return messages_of(
    Score.from_arrays(
      onset_s=0.5 + 0.25 * np.arange(60),
      duration_s=np.full(60, 0.2),
      key=60 + np.arange(60) % 12,
      velocity=np.full(60, 70),
    )
  )


def play(mm, controls):
  engine = make_engine(mm, controls, seed=3)
  steering = Steering(mm)
  steering.set_controls(controls, 0)
  replay = Replay(engine, make_performer(), CostTable.load(), steering)
  return replay.run(call())


def test_a_steered_session_plays_again_exactly(styled):
  controls = Controls(
    mode="simultaneous", prompts=SLOW, density=3.0, loudness=10, guidance=2.0
  )
  result = play(styled, controls)
  styles = [entry for entry in result.trace if entry[0] == "s"]
  assert styles
  trace = json.loads(json.dumps(result.trace))
  said = run_trace(make_engine(styled, controls, seed=3), trace)
  events = {
    event.id: event
    for _, command in said
    for event in getattr(command, "events", ())
  }
  sounded = [e for e in trace if e[0] == "f" and e[3] == "on"]
  assert len(sounded) > 5
  for _, id, _, _, key, _, _ in sounded:
    assert events[id].key == key
  # Without its styles it goes another way, or plays other notes.
  bare = [entry for entry in trace if entry[0] != "s"]
  try:
    again = run_trace(make_engine(styled, controls, seed=3), bare)
  except ValueError:
    return
  assert again != said


def test_where_the_model_is_asked_less_is_done_to_what_it_says(styled, plain):
  controls = Controls(density=4.0, loudness=20)
  for mm, pace, loudness in ((styled, 2.0, 10), (plain, 4.0, 20)):
    engine = make_engine(mm, controls)
    planner = engine.planner
    assert planner.plan_settings.pace == pytest.approx(pace)
    assert planner.loudness == loudness
    # In a reply both are used as they are.
    intent = CallResponse(planner).on_plan_needed(0)
    assert intent.settings.pace == pytest.approx(pace)
    assert intent.loudness == loudness


def test_guidance_costs_nothing_until_something_is_asked(styled):
  engine = make_engine(styled, Controls(guidance=1.5))
  assert not engine.planner.encoder.guided
  engine.set_style(rows_of(styled, "slow"))
  assert engine.planner.encoder.guided
  engine.set_controls(Controls(guidance=0.0), 0)
  assert not engine.planner.encoder.guided
  engine.set_controls(Controls(guidance=3.0), 0)
  assert engine.planner.encoder.guided
  engine.set_style(None)
  assert not engine.planner.encoder.guided


def test_nothing_compiles_while_styles_change(styled):
  controls = Controls(mode="simultaneous", prompts=SLOW)
  engine = make_engine(styled, controls)
  engine.warm_up()
  steering = Steering(styled)
  steering.warm_up()
  steering.set_controls(controls, 0)
  now = 0
  with CompilationCounter() as counter:
    for index in range(160):
      now += SECOND // 20
      if index == 60:
        controls = controls._replace(prompts=FAST, density=0.5)
        steering.set_controls(controls, now)
        engine.set_controls(controls, now)
      if index == 120:
        controls = Controls(mode="simultaneous")
        steering.set_controls(controls, now)
        engine.set_controls(controls, now)
      engine.receive(Message(now, bytes((0x90, 60 + index % 7, 60))))
      engine.receive(Message(now + 1, bytes((0x80, 60 + index % 7, 0))))
      changed, rows = steering.changed_rows(
        engine.planner.player.history, now + 2
      )
      if changed:
        engine.set_style(rows)
      for _ in range(6):
        job = engine.next_job(now + 2)
        if job is None:
          break
        job.run(now + 2)
  assert counter.count == 0


def test_the_register_holds(styled):
  controls = Controls(mode="simultaneous", register=(72, 96), density=4.0)
  result = play(styled, controls)
  keys = [m.data[1] for m in result.sent if is_note_on(m.data)]
  assert keys
  assert all(72 <= key <= 96 for key in keys)


def test_a_prompt_may_be_the_name_of_a_file(styled, tmp_path):
  path = str(tmp_path / "music.mid")
  Score.from_arrays(
    onset_s=np.arange(40) * 0.25,
    duration_s=np.full(40, 0.2),
    key=60 + np.arange(40) % 12,
    velocity=np.full(40, 70),
  ).to_file(path)
  steering, player = Steering(styled), NoteHistory()
  controls = Controls(prompts=((path, 1.0), ("slow", 0.5)))
  assert steering.set_controls(controls, 0) is None
  changed, rows = steering.changed_rows(player, 0)
  assert changed and rows is not None
  alone = Controls(prompts=((path, 1.0),))
  steering.set_controls(alone, SECOND)
  changed, rows = steering.changed_rows(player, 20 * SECOND)
  assert changed and rows == rows_of(styled, Score.from_file(path))
