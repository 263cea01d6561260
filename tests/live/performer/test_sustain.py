"""One instrument, two players: what is passed on, and both pedals in one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.performer.sustain import Sustain
from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  PlannedNote,
  PlannedPedal,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.io.messages import control_change, note_off, note_on

MS = 1_000_000


class Piano:
  """Hears every channel alike, as an acoustic instrument does."""

  def __init__(self):
    self.keys: set[int] = set()
    self.pedal = 0

  def take(self, data):
    if is_note_on(data):
      self.keys.add(data[1])
    elif is_note_off(data):
      self.keys.discard(data[1])
    elif is_sustain(data):
      self.pedal = data[2]


class Synthesizer:
  """Sixteen instruments in one: each channel has keys and a pedal."""

  def __init__(self):
    self.channels = [Piano() for _ in range(16)]

  def take(self, data):
    self.channels[data[0] & 15].take(data)


class Duet:
  """Both players on one instrument, the keyboard passed on to it."""

  def __init__(self):
    self.performer = Performer(limits=Limits(), shared=True)
    self.piano, self.synthesizer = Piano(), Synthesizer()
    self.now_ns = 0
    self.held: set[int] = set()
    self.own_pedal = False
    self.ids = 0

  def send(self, data):
    self.piano.take(data)
    self.synthesizer.take(data)

  def play(self, data):
    if is_note_on(data):
      self.held.add(data[1])
    elif is_note_off(data):
      self.held.discard(data[1])
    self.performer.receive(Message(self.now_ns, data))
    if passed := self.performer.through(data):
      self.send(passed)
    self.check()
    self.due()

  def due(self):
    for message in self.performer.due(self.now_ns):
      self.send(message.data)
      if is_note_off(message.data):
        assert message.data[1] not in self.held
    for fate in self.performer.feedback():
      if fate.kind == "pedal":
        self.own_pedal = fate.velocity > 0
    self.check()

  def check(self):
    assert self.held | set(self.performer.sounding) <= self.piano.keys
    if self.own_pedal:
      assert self.piano.pedal == 127

  def wait(self, by_ns):
    until_ns = self.now_ns + by_ns
    while (due_ns := self.performer.next_due_ns()) is not None:
      if due_ns > until_ns:
        break
      self.now_ns = max(self.now_ns, due_ns)
      self.due()
    self.now_ns = until_ns

  def plan(self, events):
    planned = []
    for after_ms, key in events:
      self.ids += 1
      time_ns = self.now_ns + after_ms * MS
      if isinstance(key, bool):
        planned.append(PlannedPedal(self.ids, time_ns, key))
      else:
        planned.append(PlannedNote(self.ids, time_ns, SECOND // 2, key, 70))
    self.performer.plan(self.now_ns, planned)
    self.due()


KEYS = st.integers(60, 63)
STEPS = st.lists(
  st.one_of(
    st.tuples(st.just("on"), KEYS),
    st.tuples(st.just("off"), KEYS),
    st.tuples(st.just("pedal"), st.sampled_from([0, 30, 90, 127])),
    st.tuples(st.just("wait"), st.integers(0, 700)),
    st.tuples(
      st.just("plan"),
      st.lists(
        st.tuples(
          st.one_of(st.just(0), st.integers(0, 800)),
          st.one_of(KEYS, st.booleans()),
        ),
        max_size=6,
      ),
    ),
    st.tuples(st.just("release"), st.integers(0, 300)),
  ),
  max_size=30,
)


@given(STEPS)
def test_neither_player_ever_ends_what_the_other_holds(steps):
  duet = Duet()
  for kind, value in steps:
    match kind:
      case "on":
        duet.play(note_on(1, value, 80))
      case "off":
        duet.play(note_off(1, value))
      case "pedal":
        duet.play(control_change(1, 64, value))
        assert duet.piano.pedal == max(127 * duet.own_pedal, value)
      case "wait":
        duet.wait(value * MS)
      case "plan":
        duet.plan(value)
      case "release":
        duet.performer.release(duet.now_ns, within_ns=value * MS)
  for key in sorted(duet.held):
    duet.play(note_off(1, key))
  duet.performer.release(duet.now_ns)
  duet.wait(SECOND)
  assert duet.performer.next_due_ns() is None
  assert not duet.piano.keys
  for channel in duet.synthesizer.channels[1:]:
    assert not channel.keys
  # Every channel has the player's pedal, wherever it was when ours came up.
  player = [value for kind, value in steps if kind == "pedal"][-1:] or [0]
  assert duet.piano.pedal == player[0]
  assert duet.synthesizer.channels[0].pedal == player[0]
  duet.play(control_change(1, 64, 0))
  assert [c.pedal for c in duet.synthesizer.channels] == [0] * 16


def test_the_players_pedal_is_kept_back_while_ours_is_down():
  performer = Performer(limits=Limits(), shared=True)
  performer.plan(0, [PlannedPedal(1, 0, True), PlannedPedal(2, SECOND, False)])
  performer.due(0)
  half, down, up = (control_change(1, 64, v) for v in (50, 127, 0))
  for data, passed in ((half, None), (down, down), (up, None)):
    performer.receive(Message(0, data))
    assert performer.through(data) == passed
  performer.due(1)
  # It comes up with ours, on its own channel.
  assert performer.due(SECOND) == [
    Message(SECOND, control_change(2, 64, 0)),
    Message(SECOND, up),
  ]
  performer.receive(Message(SECOND, half))
  assert performer.through(half) == half


def test_panic_lets_the_players_pedal_come_up_too():
  performer = Performer(limits=Limits(), shared=True)
  performer.plan(0, [PlannedPedal(1, 0, True)])
  performer.due(0)
  up = control_change(1, 64, 0)
  performer.receive(Message(1, up))
  assert performer.through(up) is None
  assert Message(2, up) in performer.panic(2)
  assert up not in [m.data for m in performer.panic(3)]


def test_a_key_up_out_of_nowhere_does_not_end_our_note():
  performer = Performer(limits=Limits(), shared=True)
  performer.plan(0, [PlannedNote(1, 0, SECOND, 60, 70)])
  performer.due(0)
  for data in (note_off(1, 60), note_on(1, 60, 70)[:2] + b"\0"):
    performer.receive(Message(1, data))
    assert performer.through(data) is None
  assert performer.sounding == [60]
  # Once the player has struck it, it is theirs to end.
  for data in (note_on(1, 60, 70), note_off(1, 60)):
    performer.receive(Message(2, data))
    assert performer.through(data) == data


@pytest.mark.parametrize(
  "data", [note_off(1, 60), control_change(1, 64, 0), b"\xf8"]
)
def test_on_instruments_of_their_own_all_is_passed_on(data):
  performer = Performer(limits=Limits())
  performer.plan(
    0, [PlannedNote(1, 0, SECOND, 60, 70), PlannedPedal(2, 0, True)]
  )
  performer.due(0)
  performer.receive(Message(1, data))
  assert performer.through(data) == data


def test_the_earlier_of_two_times_to_come_up_counts():
  sustain = Sustain(2, shared=False)
  sustain.move(True, 0)
  sustain.come_up(500)
  sustain.come_up(900)
  assert sustain.next_due_ns() == 500
  assert sustain.due(499) == []
  assert sustain.due(600) == [Message(500, control_change(2, 64, 0))]
  assert sustain.drain_lifted() == [500]
  assert sustain.drain_lifted() == []
  sustain.come_up(700)
  assert sustain.next_due_ns() is None


def test_the_sessions_end_leaves_the_players_keys_alone():
  performer = Performer(limits=Limits(), shared=True)
  performer.plan(
    0,
    [
      PlannedPedal(1, 0, True),
      PlannedNote(2, 0, SECOND, 60, 70),
      PlannedNote(3, 0, SECOND, 64, 70),
    ],
  )
  performer.due(0)
  performer.receive(Message(1, note_on(1, 64, 70)))
  assert [m.data for m in performer.close(2)] == [
    note_off(2, 60),
    control_change(2, 64, 0),
  ]
