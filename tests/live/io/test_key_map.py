import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.io.control_map import TARGETS
from magenta_midi.live.io.key_map import KEYS, KeyMap, Learn, key_help
from magenta_midi.live.protocol.controls import (
  ACTIONS,
  INJECTIONS,
  MODES,
  RANGES,
  TOGGLES,
  Action,
  Change,
  Controls,
  changed,
)


def pressed(keys, controls=None):
  """Presses keys one by one and follows what they change."""
  controls = controls or Controls()
  keyboard = KeyMap()
  for key in keys:
    event = keyboard.press(key, controls)
    if isinstance(event, Change):
      controls = changed(controls, *event)
  return controls


@given(st.text(max_size=60))
def test_no_keys_whatever_make_invalid_controls(keys):
  keyboard = KeyMap()
  controls = Controls(prompts=(("jazz", 1.0),), adapters=("a", "b", ""))
  for key in keys:
    event = keyboard.press(key, controls)
    if isinstance(event, Change):
      try:
        controls = changed(controls, *event)
      except ValueError as error:  # what was typed is no prompt
        assert "prompt" in str(error)


@pytest.mark.parametrize(
  ("key", "action"),
  [(" ", "hand_over"), ("e", "end"), ("p", "panic"), ("b", "bookmark")],
)
def test_actions(key, action):
  assert KeyMap().press(key, Controls()) is Action(action)


def test_modes_and_injections_go_round():
  assert [pressed("m" * n).mode for n in range(4)] == [*MODES, MODES[0]]
  assert [pressed("i" * n).injection for n in range(6)] == [
    *INJECTIONS,
    INJECTIONS[0],
  ]


def test_each_control_stops_at_the_ends_of_its_range():
  for key, (target, direction, _) in KEYS.items():
    if direction and target in RANGES and not target.startswith("register"):
      span = RANGES[target]
      value = getattr(pressed(key * 500), target)
      # A tempo goes on to what can be typed.
      high = span.bounds.high if target == "tempo" else span.top
      assert value == (high if direction > 0 else span.bounds.low)


def test_steps_go_back_the_way_they_came():
  for up, down in ("Tt", "Gg", "+-", ".,", "Rr"):
    assert pressed(up + down) == Controls()
    assert pressed(up * 7 + down * 7) == Controls()


def test_density_doubles_in_four():
  assert pressed("++++").density == pytest.approx(2)
  assert pressed("----").density == pytest.approx(0.5)


def test_the_register_moves_by_octaves():
  assert pressed("{{").register == (45, 108)
  assert pressed("{{[").register == (33, 108)
  assert pressed("}").register == (21, 96)
  assert pressed("}]]").register == (21, 108)
  assert pressed("{" * 20).register == (96, 108)


def test_adapters_go_round_both_ways():
  at_hand = Controls(adapters=("a", "b", ""))
  steps = [pressed("a" * n, at_hand).adapter for n in range(5)]
  assert steps == [1, 2, 3, 1, 2]
  assert pressed("A", at_hand).adapter == 3
  assert pressed("aA", at_hand) == at_hand
  assert KeyMap().press("a", Controls()) is None


def test_switches():
  controls = pressed("xsc")
  assert (controls.muted, controls.solo) == (True, True)
  assert not controls.release_clashes
  assert pressed("xsc", controls) == Controls()


def test_a_prompt_is_typed_weighted_and_dropped():
  controls = pressed("/slow jazzz\x7f\r")
  assert controls.prompts == (("slow jazz", 1.0),)
  weights = [pressed("1" * n, controls).prompts[0][1] for n in range(5)]
  assert weights == [1.0, 2.0, 0.0, 0.5, 1.0]
  assert pressed("2", controls) == controls
  assert pressed("0", controls).prompts == ()
  assert pressed("/| C | F |\n", controls).chords == "| 4/4 C | F |"
  assert pressed("/|\n", controls).chords == ""


def test_what_is_typed_is_shown_and_does_nothing_else():
  keyboard = KeyMap()
  for key in "/qp e":
    assert keyboard.press(key, Controls()) is None
  assert keyboard.line.startswith("prompt: qp e_")
  assert keyboard.press("\x15", Controls()) is None
  assert keyboard.line.startswith("prompt: _")
  assert keyboard.press("\r", Controls()) is None
  assert keyboard.line == ""
  assert pressed("/jazz\x1b").prompts == ()


def test_learning_asks_for_the_key_of_the_target():
  keyboard = KeyMap()
  assert keyboard.press("l", Controls()) is None
  assert keyboard.line.startswith("learn:")
  assert keyboard.press("t", Controls()) == Learn("temperature")
  assert keyboard.line == ""
  keyboard.press("l", Controls())
  assert keyboard.press(" ", Controls()) == Learn("hand_over")
  keyboard.press("l", Controls())
  assert keyboard.press("\x1b", Controls()) is None
  assert keyboard.press("p", Controls()) is Action.PANIC


def test_help_is_shown_and_put_away():
  keyboard = KeyMap()
  keyboard.press("?", Controls())
  assert keyboard.help_shown
  keyboard.press("?", Controls())
  assert not keyboard.help_shown


def test_every_key_is_in_the_help_and_every_control_has_a_key():
  shown = {key for keys, _ in key_help() for key in keys.split()}
  shown |= set("= 12345678")
  assert len(key_help()) <= 40  # two columns of a small terminal
  assert {"tab" if key == "\t" else key for key in KEYS} <= shown
  targets = {key.target for key in KEYS.values()}
  assert targets <= set(TARGETS)
  others = {"mode", "injection", "adapter", "next_adapter"}
  assert {*others, *RANGES, *TOGGLES, *ACTIONS} <= targets
