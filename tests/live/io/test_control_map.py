import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.io.control_map import (
  TARGETS,
  Binding,
  ControlMap,
  chosen_adapter,
  config_folder,
  value_of,
)
from magenta_midi.live.protocol.controls import (
  Action,
  Change,
  Controls,
  changed,
)
from magenta_midi.live.protocol.events import Message


def cc(controller, value, channel=1):
  return Message(0, bytes([0xB0 + channel - 1, controller, value]))


def learned(target, controller=20, channel=1):
  bound = ControlMap()
  bound.learn(target)
  assert bound.handle(cc(controller, 5, channel)) == []
  assert bound.learning is None
  return bound


def test_the_next_controller_moved_is_learned_and_then_moves_its_target():
  bound = learned("temperature", channel=3)
  assert bound.bindings == (Binding(3, 20, "temperature"),)
  assert bound.handle(cc(20, 127, 3)) == [Change("temperature", 2.0)]
  assert bound.handle(cc(20, 0, 3)) == [Change("temperature", 0.0)]
  assert bound.handle(cc(20, 127, 4)) == []
  assert bound.handle(cc(21, 127, 3)) == []


def test_what_is_music_is_never_learned():
  bound = ControlMap()
  bound.learn("end")
  for message in (
    cc(64, 127),  # the pedal
    cc(123, 0),  # all notes off
    Message(0, b"\x90\x3c\x40"),
    Message(0, b"\xe0\x00\x40"),
    Message(0, b"\xb0\x14"),
    Message(0, b"\xb0\x14\xff"),
    Message(0, b"\xf8"),
    Message(0, b""),
  ):
    assert bound.handle(message) == []
  assert bound.learning == "end"
  bound.learn(None)
  assert bound.handle(cc(20, 127)) == []
  assert bound.bindings == ()


def test_a_target_learned_again_leaves_its_old_controller():
  bound = learned("density")
  bound.learn("density")
  bound.handle(cc(21, 3))
  bound.learn("loudness")
  bound.handle(cc(22, 3))
  bound.learn("guidance")
  bound.handle(cc(22, 3))
  assert bound.bindings == (
    Binding(1, 21, "density"),
    Binding(1, 22, "guidance"),
  )
  bound.forget("guidance")
  assert bound.bindings == (Binding(1, 21, "density"),)


def test_an_action_happens_once_a_press():
  bound = learned("hand_over", 66)
  heard = [
    bound.handle(cc(66, value)) for value in (0, 64, 90, 127, 80, 0, 127)
  ]
  assert heard == [[], [Action.HAND_OVER], [], [], [], [], [Action.HAND_OVER]]


def test_a_pedal_steps_to_the_next_adapter_once_a_press():
  bound = learned("next_adapter", 66)
  heard = [bound.handle(cc(66, value)) for value in (0, 127, 127, 0, 64)]
  step = [Change("adapter_step", 1)]
  assert heard == [[], step, [], [], step]


@given(st.binary(max_size=3))
def test_a_program_change_chooses_an_adapter_and_nothing_else_does(data):
  chosen = chosen_adapter(Message(0, data))
  program = len(data) == 2 and 0xC0 <= data[0] <= 0xCF
  assert chosen == (Change("adapter", data[1] + 1) if program else None)


def test_a_pedal_learned_while_down_is_no_press():
  bound = ControlMap()
  bound.learn("end")
  assert bound.handle(cc(67, 127)) == []
  assert bound.handle(cc(67, 127)) == []
  assert bound.handle(cc(67, 0)) == []
  assert bound.handle(cc(67, 127)) == [Action.END]


@given(st.sampled_from(TARGETS), st.integers(0, 127))
def test_every_position_of_every_controller_is_a_valid_change(target, position):
  controls = Controls(
    prompts=tuple((f"p{i}", 1.0) for i in range(8)), adapters=("a", "b", "")
  )
  match value_of(target, position):
    case Change(name, value):
      changed(controls, name, value)
    case Action() as action:
      assert position >= 64
      assert action == target
    case None:
      assert position < 64
      assert target in (*Action, "next_adapter")


@pytest.mark.parametrize(
  ("target", "position", "value"),
  [
    ("density", 0, 0.25),
    ("density", 63, 1.0),
    ("density", 64, 1.0),
    ("density", 127, 4.0),
    ("mode", 0, "call-response"),
    ("mode", 64, "simultaneous"),
    ("mode", 127, "listen"),
    ("injection", 127, "velocity"),
    ("register_low", 0, 21),
    ("register_high", 127, 108),
    ("loudness", 127, 30),
    ("solo", 63, False),
    ("solo", 64, True),
  ],
)
def test_where_a_controller_stands_and_what_it_means(target, position, value):
  assert value_of(target, position) == Change(target, value)


def test_a_fader_weights_a_prompt():
  assert value_of("prompt_2", 0) == Change("prompt_weight", (2, 0.0))
  assert value_of("prompt_2", 64) == Change("prompt_weight", (2, 1.0))
  assert value_of("prompt_2", 127) == Change("prompt_weight", (2, 2.0))


def test_the_map_is_kept(tmp_path):
  path = tmp_path / "new" / "controls.json"
  bound = learned("temperature")
  bound.learn("panic")
  bound.handle(cc(30, 127, 16))
  assert bound.save(path) == path
  assert ControlMap.load(path).bindings == bound.bindings
  assert json.loads(path.read_text())["bindings"][0] == {
    "channel": 1,
    "controller": 20,
    "target": "temperature",
  }
  assert list(path.parent.iterdir()) == [path]


def test_no_map_yet_is_an_empty_one(tmp_path):
  assert ControlMap.load(tmp_path / "none.json").bindings == ()


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("{", "no map of MIDI controllers"),
    ("[]", "no map of MIDI controllers"),
    ('{"bindings": [{"channel": 1}]}', "controller"),
    (
      '{"bindings": [{"channel": 0, "controller": 1, "target": "end"}]}',
      "channel must be 1 to 16, got 0",
    ),
    (
      '{"bindings": [{"channel": 1, "controller": 64, "target": "end"}]}',
      "not the sustain pedal's 64, got 64",
    ),
    (
      '{"bindings": [{"channel": 1, "controller": 1, "target": "fly"}]}',
      "got 'fly'",
    ),
    (
      '{"bindings": [{"channel": 1, "controller": %s, "target": "end"}]}'
      % ("9" * 400),
      "controller must be 0 to 119",
    ),
    (
      '{"bindings": [{"channel": [1], "controller": 1, "target": "end"}]}',
      "no map of MIDI controllers",
    ),
    (
      '{"bindings": [{"channel": 1, "controller": 1, "target": {"a": 1}}]}',
      "no map of MIDI controllers",
    ),
    ('{"bindings": ' + "9" * 5000 + "}", "no map of MIDI controllers"),
    ('{"bindings": ' + "[" * 100_000 + "}", "nested deeper than 64"),
  ],
)
def test_a_damaged_map_is_named_in_one_line(tmp_path, text, said):
  path = tmp_path / "controls.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=said) as error:
    ControlMap.load(path)
  assert str(error.value).startswith(str(path))
  assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_map_is_a_regular_file(tmp_path):
  os.mkfifo(tmp_path / "controls.json")
  with pytest.raises(OSError, match="no regular file"):
    ControlMap.load(tmp_path / "controls.json")


def test_only_what_there_is_can_be_learned():
  with pytest.raises(ValueError, match="got 'fly'"):
    ControlMap().learn("fly")


def test_the_settings_folder_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.setattr("sys.platform", "linux")
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
  assert config_folder() == tmp_path / "magenta_midi"
  learned("end").save()
  assert ControlMap.load().bindings == (Binding(1, 20, "end"),)
  monkeypatch.delenv("XDG_CONFIG_HOME")
  assert config_folder() == Path.home() / ".config" / "magenta_midi"
