import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.player import Keyboard, Player
from magenta_midi.live.protocol.events import Message
from magenta_midi.midi.pedal import pedal_events


def play(*rows):
  keyboard = Keyboard()
  for time_ns, *data in rows:
    keyboard.receive(Message(time_ns, bytes(data)))
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
  keyboard.receive(Message(9, bytes((0xB0, 64, 0))))
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
  keyboard.receive(Message(12, bytes((0xB0, 64, 0))))
  assert keyboard.silent_since_ns == 5


def test_all_notes_off():
  keyboard = play((0, 0x90, 60, 70), (5, 0xB0, 123, 0))
  assert keyboard.silent_since_ns == 5


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=60))
def test_any_bytes_are_borne(messages):
  keyboard = Keyboard()
  for time_ns, data in enumerate(messages):
    keyboard.receive(Message(time_ns, data))
    assert not keyboard.held.keys() & keyboard.ringing.keys()
    assert keyboard.pedal_down or not keyboard.ringing
    assert not (keyboard.sounds and keyboard.silent_since_ns is not None)


# The history beside it.


def played(*rows):
  player = Player()
  for time_ns, *data in rows:
    player.receive(Message(time_ns, bytes(data)))
  return player


@given(st.lists(st.integers(0, 127), max_size=40))
def test_the_pedal_is_down_when_a_file_says_so(values):
  """One definition: keyboard, history and files agree at every value."""
  player = Player()
  states = []
  for time_ns, value in enumerate(values):
    player.receive(Message(time_ns, bytes((0xB0, 64, value))))
    states.append(player.keyboard.pedal_down)
    assert player.history.pedal_down == states[-1]
  index, down = pedal_events(np.array(values, np.int64))
  assert player.history.pedals == list(
    zip(index.tolist(), down.tolist(), strict=True)
  )
  changes = np.diff(np.array([False, *states]).astype(int))
  assert np.flatnonzero(changes).tolist() == index.tolist()


def test_a_held_note_is_in_the_history_and_gets_its_end():
  player = played((5, 0x90, 60, 70), (7, 0x90, 64, 71))
  assert [note.end_ns for note in player.history.notes] == [None, None]
  player.receive(Message(9, bytes((0x80, 60, 0))))
  assert [note.end_ns for note in player.history.notes] == [9, None]
  assert list(player.keyboard.held.values()) == player.history.notes[1:]
  player.receive(Message(11, bytes((0x90, 64, 72))))
  assert [n.end_ns for n in player.history.notes] == [9, 11, None]


def test_all_notes_off_and_reset_end_what_is_held():
  player = played((0, 0xB0, 64, 127), (1, 0x90, 60, 70), (5, 0xB0, 123, 0))
  assert player.history.notes[0].end_ns == 5 and not player.keyboard.held
  assert player.keyboard.pedal_down
  player.receive(Message(6, bytes((0xB0, 121, 0))))
  assert not player.keyboard.pedal_down
  assert player.history.pedals == [(0, True), (6, False)]


def test_an_event_says_what_it_changed():
  player = played((0, 0xB0, 64, 127), (1, 0x90, 60, 70))
  off = player.receive(Message(5, bytes((0x80, 60, 0))))
  assert (off.kind, off.damped) == ("note_off", ())
  assert off.ended == tuple(player.history.notes)
  up = player.receive(Message(6, bytes((0xB0, 64, 0))))
  assert (up.kind, up.damped) == ("pedal", (60,))
  again = player.receive(Message(7, bytes((0xB0, 64, 0))))
  assert again.kind == "other"


def test_silence_can_leave_out_a_key():
  keyboard = play((0, 0x90, 60, 70), (5, 0x80, 60, 0), (9, 0x90, 108, 70))
  assert keyboard.sounds and not keyboard.sounds_without(108)
  assert keyboard.silent_since_ns is None
  assert keyboard.silent_without(108) == 5
  keyboard.receive(Message(12, bytes((0x80, 108, 0))))
  assert keyboard.silent_since_ns == 12
  assert keyboard.silent_without(108) == 5
