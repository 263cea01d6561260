from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.keyboard_state import Keyboard
from magenta_midi.live.protocol.events import Message


def play(*rows):
  keyboard = Keyboard()
  for time_ns, *data in rows:
    keyboard.hear(Message(time_ns, bytes(data)))
  return keyboard


def test_the_pedal_holds_what_the_keys_let_go():
  keyboard = play(
    (0, 0x90, 60, 70),
    (1, 0xB0, 64, 127),
    (2, 0x90, 64, 70),
    (3, 0x80, 60, 0),
    (4, 0x90, 64, 0),
  )
  assert (set(keyboard.held), set(keyboard.ringing)) == (set(), {60, 64})
  assert keyboard.silent_since_ns is None
  assert keyboard.lowest == 60
  keyboard.hear(Message(9, bytes((0xB0, 64, 0))))
  assert not keyboard.sounds
  assert keyboard.silent_since_ns == 9


def test_a_foot_half_way_leaves_the_pedal_as_it_was():
  keyboard = play((0, 0xB0, 64, 50))
  assert not keyboard.pedal_down
  keyboard = play((0, 0xB0, 64, 64), (1, 0xB0, 64, 50))
  assert keyboard.pedal_down


def test_a_pedal_without_notes_is_silence_still():
  keyboard = play((0, 0x90, 60, 70), (5, 0x80, 60, 0), (9, 0xB0, 64, 127))
  assert keyboard.silent_since_ns == 5
  keyboard.hear(Message(12, bytes((0xB0, 64, 0))))
  assert keyboard.silent_since_ns == 5


def test_all_notes_off():
  keyboard = play((0, 0x90, 60, 70), (5, 0xB0, 123, 0))
  assert keyboard.silent_since_ns == 5


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=60))
def test_any_bytes_are_borne(messages):
  keyboard = Keyboard()
  for time_ns, data in enumerate(messages):
    keyboard.hear(Message(time_ns, data))
    assert not keyboard.held.keys() & keyboard.ringing.keys()
    assert keyboard.pedal_down or not keyboard.ringing
    assert not (keyboard.sounds and keyboard.silent_since_ns is not None)
