import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.turns import TurnSettings, TurnTaking
from magenta_midi.live.player import Player
from magenta_midi.live.protocol.events import SECOND, Message

MS = 1_000_000


class Turns(TurnTaking):
  """Turn-taking with a player of its own."""

  def __init__(self, *args):
    self.player = Player()
    super().__init__(self.player.keyboard, *args)

  def receive(self, message):
    self.handle(self.player.receive(message))


def on(time_ns, key=60, velocity=70):
  return Message(time_ns, bytes((0x90, key, velocity)))


def off(time_ns, key=60):
  return Message(time_ns, bytes((0x80, key, 64)))


def pedal(time_ns, value):
  return Message(time_ns, bytes((0xB0, 64, value)))


def line(start_ns, count, *, every_ns=250 * MS, held_ns=200 * MS, velocity=70):
  """Notes one after the other."""
  for i in range(count):
    yield on(start_ns + i * every_ns, 60 + i % 12, velocity)
    yield off(start_ns + i * every_ns + held_ns, 60 + i % 12)


def hear(turns, *messages):
  """Feeds messages, asking at each deadline; returns what was decided."""
  decided = []
  for message in messages:
    deadline = turns.next_deadline_ns()
    if deadline is not None and deadline < message.time_ns:
      decided.append(turns.tick(deadline))
    turns.receive(message)
    decided.append(turns.tick(message.time_ns))
  return [turn for turn in decided if turn is not None]


def after_call(settings=None, count=8):
  """A player who has just finished a phrase, and the model replying."""
  turns = Turns(settings)
  hear(turns, *line(0, count))
  deadline = turns.next_deadline_ns()
  assert deadline is not None
  turn = turns.tick(deadline)
  assert turn is not None and turn.reason == "silence"
  turns.reply_started(deadline)
  return turns, deadline


def test_nothing_is_decided_before_anything_is_heard():
  turns = Turns()
  assert turns.next_deadline_ns() is None
  assert turns.tick(60 * SECOND) is None


def test_a_phrase_ends_after_the_default_wait():
  turns = Turns()
  assert not hear(turns, on(0), off(SECOND))
  assert turns.next_deadline_ns() == SECOND + 1200 * MS
  assert turns.tick(SECOND + 1200 * MS - 1) is None
  turn = turns.tick(SECOND + 1200 * MS)
  assert turn == ("phrase_end", SECOND + 1200 * MS, "silence")
  assert turns.tick(SECOND + 1300 * MS) is None  # once


def test_a_held_chord_is_no_silence():
  turns = Turns()
  hear(turns, on(0, 60), on(0, 64), off(SECOND, 64))
  assert turns.tick(20 * SECOND) is None
  turns.receive(off(20 * SECOND, 60))
  assert turns.next_deadline_ns() == 20 * SECOND + 1200 * MS


def test_a_pedalled_chord_is_no_silence():
  turns = Turns()
  hear(turns, pedal(0, 127), on(1, 60), off(SECOND, 60))
  assert turns.tick(20 * SECOND) is None
  turns.receive(pedal(20 * SECOND, 0))
  assert turns.next_deadline_ns() == 20 * SECOND + 1200 * MS


def test_a_foot_put_on_the_pedal_in_silence_does_not_delay():
  turns = Turns()
  hear(turns, on(0), off(SECOND), pedal(SECOND + 300 * MS, 127))
  assert turns.next_deadline_ns() == SECOND + 1200 * MS


def test_a_stuck_key_does_not_take_the_turn_for_ever():
  turns = Turns()
  hear(turns, on(0))
  assert turns.tick(29 * SECOND) is None
  assert turns.next_deadline_ns() == 30 * SECOND
  assert turns.tick(30 * SECOND) is not None


def test_the_wait_follows_the_player():
  quick, slow = Turns(), Turns()
  hear(quick, *line(0, 200, every_ns=120 * MS, held_ns=120 * MS - 1))
  hear(slow, *line(0, 200, every_ns=900 * MS, held_ns=300 * MS))
  assert 0.5 <= quick.wait_s < 0.75
  assert 1.5 < slow.wait_s <= 2.5


@given(
  st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 2000)), max_size=150),
  st.floats(0.0, 1.0),
)
def test_the_wait_keeps_its_bounds(rows, quantile):
  turns = Turns(TurnSettings(quantile=quantile))
  time_ns = 0
  for silent_ms, held_ms in rows:
    time_ns += silent_ms * MS
    hear(turns, on(time_ns))
    time_ns += held_ms * MS
    hear(turns, off(time_ns))
    assert 0.5 <= turns.wait_s <= 2.5


events = st.lists(
  st.tuples(
    st.integers(0, 1500),
    st.sampled_from(["on", "off", "down", "up"]),
    st.integers(60, 63),
  ),
  max_size=30,
)


@given(events, st.lists(st.integers(99, 700), min_size=1, max_size=20))
def test_asking_more_often_changes_nothing(rows, steps):
  """And what is decided is decided at the deadline, in silence."""
  messages, time_ns = [], 0
  for since_ms, what, key in rows:
    time_ns += since_ms * MS
    if what == "on":
      messages.append(on(time_ns, key))
    elif what == "off":
      messages.append(off(time_ns, key))
    else:
      messages.append(pedal(time_ns, 127 * (what == "down")))
  settings = TurnSettings(pedal_gesture=False)
  seldom, often = Turns(settings), Turns(settings)
  decided = ([], [])
  now_ns = 0
  for i, message in enumerate([*messages, Message(time_ns + 31 * SECOND, b"")]):
    deadline = seldom.next_deadline_ns()
    if deadline is not None and deadline <= message.time_ns:
      decided[0].append(seldom.tick(deadline))
    while now_ns < message.time_ns:
      step_ns = steps[i % len(steps)] * MS
      deadline = often.next_deadline_ns()
      if deadline is not None and now_ns < deadline:
        step_ns = min(step_ns, deadline - now_ns)
      now_ns = min(now_ns + step_ns, message.time_ns)
      decided[1].append(often.tick(now_ns))
    if message.data:
      seldom.receive(message)
      often.receive(message)
  assert decided[0] == [turn for turn in decided[1] if turn is not None]
  assert None not in decided[0]
  assert seldom.call == often.call


def test_what_the_reply_is_told_about_the_call():
  turns = Turns()
  hear(
    turns,
    on(SECOND, 60, 40),
    on(SECOND + 10 * MS, 64, 60),  # one chord
    off(1400 * MS, 60),
    off(1400 * MS, 64),
    on(1500 * MS, 60, 80),
    off(1900 * MS, 60),
    on(2000 * MS, 60, 60),
    off(3000 * MS, 60),
  )
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline) is not None
  call = turns.call
  assert call is not None
  assert (call.start_ns, call.end_ns) == (SECOND, 3 * SECOND)
  assert call.length_ns == 2 * SECOND
  assert call.notes == 4
  assert call.median_gap_s == pytest.approx(0.495)
  assert call.loudness == 60
  assert call.density == 2.0
  assert turns.usual_loudness == 60


def test_going_on_at_once_continues_the_phrase_and_teaches():
  turns = Turns()
  hear(turns, *line(0, 8))
  wait_s, deadline = turns.wait_s, turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline) is not None
  hear(turns, *line(deadline + 400 * MS, 2))
  assert turns.wait_s > wait_s
  again = turns.next_deadline_ns()
  assert again is not None and turns.tick(again) is not None
  assert turns.call is not None
  assert (turns.call.start_ns, turns.call.notes) == (0, 10)


def test_a_later_phrase_is_a_new_one():
  turns = Turns()
  hear(turns, *line(0, 8))
  wait_s = turns.wait_s
  start_ns = 10 * SECOND
  decided = hear(turns, *line(start_ns, 1))
  assert [turn.kind for turn in decided] == ["phrase_end"]
  assert turns.wait_s == wait_s
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline) is not None
  assert turns.call is not None
  assert (turns.call.start_ns, turns.call.notes) == (start_ns, 1)


# Interruptions.


def test_two_notes_interrupt():
  turns, now = after_call()
  assert not hear(turns, on(now + SECOND, 60, 60))
  turn = hear(turns, on(now + SECOND + 400 * MS, 62, 60))
  assert turn == [("interrupted", now + SECOND + 400 * MS, "notes")]


def test_two_notes_far_apart_do_not():
  turns, now = after_call()
  assert not hear(turns, on(now + SECOND), on(now + SECOND + 401 * MS))


def test_one_loud_note_interrupts_and_one_as_usual_does_not():
  turns, now = after_call()
  assert not hear(turns, on(now + SECOND, 60, 85))
  turns, now = after_call()
  assert hear(turns, on(now + SECOND, 60, 95)) == [
    ("interrupted", now + SECOND, "loud")
  ]


def test_loud_is_by_the_players_own_measure():
  turns = Turns()
  hear(turns, *line(0, 8, velocity=30))
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline)
  turns.reply_started(deadline)
  assert hear(turns, on(deadline + SECOND, 60, 55))[0].reason == "loud"


def test_an_interruption_is_the_beginning_of_the_next_phrase():
  turns, now = after_call()
  start_ns = now + SECOND
  assert hear(turns, on(start_ns, 60), on(start_ns + 100 * MS, 64))
  turns.reply_ended(start_ns + 100 * MS)
  hear(turns, off(start_ns + SECOND, 60), off(start_ns + SECOND, 64))
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline) is not None
  assert turns.call is not None
  assert (turns.call.start_ns, turns.call.notes) == (start_ns, 2)


def test_interrupting_a_false_start_continues_the_call():
  turns, now = after_call()
  assert hear(turns, on(now + 200 * MS, 60), on(now + 300 * MS, 64))
  turns.reply_ended(now + 300 * MS)
  hear(turns, off(now + SECOND, 60), off(now + SECOND, 64))
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline) is not None
  assert turns.call is not None
  assert (turns.call.start_ns, turns.call.notes) == (0, 10)


def test_a_note_long_before_the_replys_end_is_no_call():
  turns, now = after_call()
  hear(turns, on(now + SECOND, 60), off(now + 1100 * MS, 60))
  turns.reply_ended(now + 8 * SECOND)
  assert turns.next_deadline_ns() is None


# Handing over.


def test_handing_over_ends_the_turn_of_whoever_plays():
  turns = Turns()
  hear(turns, *line(0, 4))
  turns.hand_over(SECOND)
  assert turns.next_deadline_ns() == SECOND
  assert turns.tick(SECOND) == ("phrase_end", SECOND, "handed over")
  assert turns.call is not None and turns.call.notes == 4
  turns.reply_started(SECOND)
  turns.hand_over(2 * SECOND)
  assert turns.tick(2 * SECOND) == ("interrupted", 2 * SECOND, "handed over")


def test_handing_over_while_a_chord_is_held_ends_the_call_there():
  turns = Turns()
  hear(turns, on(0))
  turns.hand_over(SECOND)
  assert turns.tick(SECOND) is not None
  assert turns.call is not None and turns.call.length_ns == SECOND


def test_two_quick_strokes_of_the_pedal_hand_over():
  turns = Turns()
  hear(turns, on(0), off(SECOND))
  strokes = [(1100, 127), (1200, 0), (1400, 127), (1500, 0)]
  decided = hear(turns, *(pedal(ms * MS, value) for ms, value in strokes))
  assert decided == [("phrase_end", 1400 * MS, "handed over")]


@pytest.mark.parametrize(
  "messages",
  [
    # Too slow; with a note between; with a key held.
    [pedal(800 * MS, 127), pedal(900 * MS, 0), pedal(1450 * MS, 127)],
    [
      pedal(1100 * MS, 127),
      on(1150 * MS),
      off(1160 * MS),
      pedal(1200 * MS, 0),
      pedal(1300 * MS, 127),
    ],
    [
      on(1000 * MS),
      pedal(1100 * MS, 127),
      pedal(1200 * MS, 0),
      pedal(1300 * MS, 127),
    ],
    # One stroke with a trembling foot.
    [pedal(1100 * MS, 127), pedal(1150 * MS, 90), pedal(1200 * MS, 127)],
  ],
)
def test_usual_pedalling_does_not_hand_over(messages):
  turns = Turns()
  assert not hear(turns, on(0), off(500 * MS), *messages)


def test_a_key_and_a_controller_hand_over():
  turns = Turns(TurnSettings(hand_over_key=108, hand_over_controller=67))
  hear(turns, *line(0, 4))
  assert hear(turns, on(SECOND, 108)) == [("phrase_end", SECOND, "handed over")]
  assert turns.call is not None and turns.call.notes == 4
  assert not hear(turns, off(SECOND + MS, 108))
  assert turns.next_deadline_ns() is None
  hear(turns, on(2 * SECOND), off(3 * SECOND))
  pressed = Message(3100 * MS, bytes((0xB0, 67, 127)))
  assert hear(turns, pressed)[0].reason == "handed over"


# The reply's end.


def call_of(seconds, *, every_ns=250 * MS):
  turns = Turns()
  count = seconds * SECOND // every_ns
  hear(turns, *line(0, count, every_ns=every_ns, held_ns=every_ns - 1))
  deadline = turns.next_deadline_ns()
  assert deadline is not None and turns.tick(deadline)
  turns.reply_started(deadline)
  return turns, deadline


def test_a_reply_lasts_at_most_half_as_long_again_as_its_call():
  turns, start = call_of(8)
  almost = start + 12 * SECOND - 10 * MS
  assert not turns.reply_should_end(almost, start, almost)
  over = start + 12 * SECOND
  assert turns.reply_should_end(over, start, over)


def test_past_four_fifths_a_gap_like_the_players_own_ends_it():
  turns, start = call_of(8)
  early, late = start + 6 * SECOND, start + 7 * SECOND
  assert not turns.reply_should_end(early, start, early - SECOND)
  assert turns.reply_should_end(late, start, late - 500 * MS)
  assert not turns.reply_should_end(late, start, late - 200 * MS)


def test_who_plays_slowly_is_answered_slowly():
  turns, start = call_of(8, every_ns=800 * MS)
  late = start + 7 * SECOND
  assert not turns.reply_should_end(late, start, late - 500 * MS)
  assert turns.reply_should_end(late, start, late - 1300 * MS)


# Who opens; trading bars.


def test_the_model_opens():
  turns = Turns(TurnSettings(first="ai"))
  assert turns.next_deadline_ns() == 0
  assert turns.tick(0) == ("phrase_end", 0, "first")
  turns.reply_started(0)
  assert not turns.reply_should_end(3 * SECOND, 0, 3 * SECOND)
  assert turns.reply_should_end(6 * SECOND, 0, 6 * SECOND)


def test_unless_the_player_is_quicker():
  turns = Turns(TurnSettings(first="ai"))
  turns.receive(on(5))
  assert turns.tick(5) is None


@pytest.mark.parametrize(("first", "own"), [("me", (1, 3)), ("ai", (0, 2))])
@pytest.mark.parametrize("length", [4, 8])
def test_trading_bars(first, own, length):
  bar_ns = 2 * SECOND
  settings = TurnSettings(first=first, trade_bars=length)
  turns = Turns(settings, lambda time_ns: time_ns // bar_ns)
  began, ended = [], []
  start_ns = None
  for now_ns in range(0, 4 * length * bar_ns, 10 * MS):
    turn = turns.tick(now_ns)
    if turn is not None:
      assert turn.reason == "bars"
      began.append(now_ns)
      start_ns = now_ns
      turns.reply_started(now_ns)
    elif start_ns is not None and turns.reply_should_end(
      now_ns, start_ns, start_ns
    ):
      ended.append(now_ns)
      turns.reply_ended(now_ns)
      start_ns = None
    # The player overruns, and pauses: neither matters.
    if now_ns // bar_ns % length == 0 and now_ns % (100 * MS) == 0:
      turns.receive(on(now_ns, 60, 120))
      turns.receive(off(now_ns, 60))
  assert began == [turn * length * bar_ns for turn in own]
  assert ended == [(turn + 1) * length * bar_ns for turn in own if turn < 3]


def test_bars_are_announced():
  turns = Turns()
  turns.trade(4, lambda time_ns: time_ns // SECOND)
  hear(turns, on(0), off(100))
  assert turns.next_deadline_ns() == 4 * SECOND
  assert turns.tick(4 * SECOND) is not None
  assert turns.next_deadline_ns() == 12 * SECOND
  turns.trade(0)
  hear(turns, on(20 * SECOND), off(21 * SECOND))
  deadline = turns.next_deadline_ns()
  assert deadline is not None
  assert deadline == 21 * SECOND + round(turns.wait_s * SECOND)


def test_a_new_tempo_does_not_repeat_a_turn_and_a_new_start_does():
  turns = Turns()
  turns.trade(4, lambda time_ns: time_ns // SECOND)
  assert turns.tick(4 * SECOND) is not None
  turns.trade(4, lambda time_ns: 4 + (time_ns - 4 * SECOND) // (2 * SECOND))
  assert turns.tick(5 * SECOND) is None
  assert turns.tick(20 * SECOND) is not None
  turns.trade(4, lambda time_ns: (time_ns - 30 * SECOND) // SECOND)
  assert turns.tick(30 * SECOND) is None
  assert turns.tick(34 * SECOND) is not None


# Settings.


@pytest.mark.parametrize(
  ("settings", "said"),
  [
    ({"first": "you"}, "me or ai, got 'you'"),
    ({"trade_bars": 6}, "trade_bars must be 4 or 8 .*got 6"),
    ({"quantile": 1.5}, "from 0 to 1, got 1.5"),
    ({"shortest_s": 3.0}, "shortest_s <= longest_s, got 3.0 and 2.5"),
  ],
)
def test_what_cannot_be_is_said(settings, said):
  with pytest.raises(ValueError, match=said):
    TurnSettings(**settings)


def test_trading_takes_a_tempo():
  with pytest.raises(ValueError, match="Give --tempo"):
    Turns(TurnSettings(trade_bars=4)).trade(4)


def test_settings_survive_json():
  settings = TurnSettings(first="ai", hand_over_key=21)
  stored = json.loads(json.dumps(dataclasses.asdict(settings)))
  assert TurnSettings(**stored) == settings
