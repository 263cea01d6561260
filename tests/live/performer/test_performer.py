"""What reaches the instrument, whatever model, ports and player do."""

import dataclasses
import itertools
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.performer.performer import Performer
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
from magenta_midi.testing.clock import FakeClock

MS = 1_000_000


@dataclasses.dataclass
class Instrument:
  """Refuses what the performer must never send."""

  shared: bool
  keys: dict[int, Message] = dataclasses.field(default_factory=dict)
  held: set[int] = dataclasses.field(default_factory=set)
  player_pedal: int = 0
  pedal: int = 0
  struck: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
  onsets: list[int] = dataclasses.field(default_factory=list)

  def take(self, messages, now_ns):
    ranks = [self.take_one(message, now_ns) for message in messages]
    assert ranks == sorted(ranks), "ends, pedals, beginnings"

  def take_one(self, message, now_ns):
    time_ns, data = message
    assert time_ns <= now_ns
    assert data[0] & 15 == 1
    if is_note_off(data):
      begun = self.keys.pop(data[1])
      assert time_ns >= begun.time_ns
      assert not (self.shared and data[1] in self.held)
      return 0
    if is_sustain(data):
      self.pedal = data[2]
      return 1
    if not is_note_on(data):
      assert data[1] in (120, 123)
      return 1
    key, velocity = data[1:]
    assert key not in self.keys
    assert not (self.shared and key in self.held)
    assert now_ns - time_ns <= 30 * MS
    if key in self.struck:
      planned_ns, sent_ns = self.struck[key]
      assert time_ns - planned_ns >= 40 * MS
      assert now_ns - sent_ns >= 40 * MS
    self.struck[key] = time_ns, now_ns
    self.onsets.append(time_ns)
    newest = sorted(self.onsets)[-26:]
    assert len(newest) < 26 or newest[25] - newest[0] >= SECOND
    self.keys[key] = message
    assert len(self.sounding) <= 12
    assert 21 <= key <= 108 and 1 <= velocity <= 110
    return 2

  @property
  def sounding(self):
    """Keys of ours: those that the player took over are not."""
    return [k for k in self.keys if not (self.shared and k in self.held)]


class Stage:
  """A performer, its instrument, a player and a clock."""

  def __init__(self, shared=False, **limits):
    self.clock = FakeClock()
    self.performer = Performer(limits=Limits(**limits), shared=shared)
    self.instrument = Instrument(shared)
    self.sent: list[Message] = []
    self.fates = []

  @property
  def now_ns(self):
    return self.clock.now_ns

  def due(self):
    messages = self.performer.due(self.now_ns)
    self.instrument.take(messages, self.now_ns)
    self.sent += messages
    self.fates += self.performer.feedback()
    return messages

  def pass_time(self, by_ns):
    """As the loop does: each message in its time."""
    until_ns = self.now_ns + by_ns
    while True:
      due_ns = self.performer.next_due_ns()
      if due_ns is None or due_ns > until_ns:
        break
      self.clock.advance(max(0, due_ns - self.now_ns))
      self.due()
      later_ns = self.performer.next_due_ns()
      assert later_ns is None or later_ns > self.now_ns, "it stands still"
    self.clock.advance(until_ns - self.now_ns)

  def stand_still(self, by_ns):
    """As a stopped process: all at once."""
    self.clock.advance(by_ns)
    return self.due()

  def press(self, key):
    self.performer.receive(Message(self.now_ns, note_on(1, key, 70)))
    self.instrument.held.add(key)

  def let_go(self, key):
    self.performer.receive(Message(self.now_ns, note_off(1, key)))
    self.instrument.held.discard(key)

  def step_on(self, position):
    data = control_change(1, 64, position)
    self.performer.receive(Message(self.now_ns, data))
    self.instrument.player_pedal = position

  def ons(self):
    return [m.data[1] for m in self.sent if is_note_on(m.data)]

  def pedals(self):
    return [m.data[2] for m in self.sent if is_sustain(m.data)]

  def told(self, kind):
    return [f for f in self.fates if f.kind == kind]


def note(id, time_ms, key=60, *, lasts_ms=200, velocity=80):
  return PlannedNote(id, time_ms * MS, lasts_ms * MS, key, velocity)


def pedal(id, time_ms, down):
  return PlannedPedal(id, time_ms * MS, down)


class Script:
  """Random steps of a story, from few keys so that much collides.

  Drawn from a seed: Hypothesis alone makes them too short and too thin.
  """

  def __init__(self, seed):
    self.random = random.Random(seed)
    # How much happens at once: from sparse to far beyond every limit.
    self.events = self.random.choice([3, 12, 60])
    self.keys = self.random.choice([range(60, 63), range(48, 72), range(128)])

  def key(self):
    return self.random.choice(self.keys)

  def event(self):
    draw = self.random
    at = draw.choice([draw.randint(-60, 60), draw.randint(0, 2500)])
    if draw.random() < 0.2:
      return "pedal", at, draw.random() < 0.6
    lasts = draw.choice([draw.randint(0, 400), draw.randint(0, 15000)])
    return "note", at, self.key(), lasts, draw.randint(1, 127)

  def step(self):
    draw = self.random
    match draw.choices(
      ("plan", "pass", "stand still", "player", "ending", "port", "other"),
      (6, 8, 2, 6, 2, 1, 2),
    )[0]:
      case "plan":
        count = draw.randint(0, self.events)
        return (
          "plan",
          draw.randint(-40, 600),
          [self.event() for _ in range(count)],
        )
      case "pass":
        return "pass", draw.choice([draw.randint(0, 50), draw.randint(0, 2000)])
      case "stand still":
        longest = draw.choice([40, 40, 3000])
        return "stand still", draw.randint(0, longest)
      case "player":
        what = draw.choice(("press", "press", "let go", "pedal"))
        position = draw.choice([0, 40, 100, 127])
        return what, position if what == "pedal" else self.key()
      case "ending":
        what = draw.choice(("release", "lift", "end", "panic"))
        return what, self.key() if what == "lift" else draw.randint(0, 400)
      case "port":
        return (draw.choice(("lost", "back", "back")),)
      case _:
        what = draw.choice(("watchdog", "loudness", "again", "again"))
        if what == "again":
          return (what,)
        return what, draw.randint(-40, 40) if what == "loudness" else (
          draw.randint(0, 4000)
        )


SCRIPTS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 60))


def steps_of(script):
  seed, count = script
  drawn = Script(seed)
  return [drawn.step() for _ in range(count)]


class Story:
  """Does random things on a stage."""

  def __init__(self, shared):
    self.stage = Stage(shared)
    self.ids = 0
    self.latest = []
    self.present = True

  def events(self, drawn):
    now_ms = self.stage.now_ns // MS
    events = []
    for kind, at, *rest in drawn:
      self.ids += 1
      time_ms = max(0, now_ms + at)
      if kind == "pedal":
        events.append(pedal(self.ids, time_ms, rest[0]))
      else:
        key, lasts_ms, velocity = rest
        events.append(
          note(self.ids, time_ms, key, lasts_ms=lasts_ms, velocity=velocity)
        )
    return events

  def do(self, kind, *args):
    stage, performer = self.stage, self.stage.performer
    now_ns = stage.now_ns
    match kind:
      case "plan":
        events = self.events(args[1])
        performer.plan(now_ns + args[0] * MS, events)
        self.latest = events
      case "again":
        performer.plan(now_ns + 3000 * MS, self.latest)
      case "press":
        stage.press(args[0])
      case "let go":
        stage.let_go(args[0])
      case "pedal":
        stage.step_on(args[0])
      case "pass":
        stage.pass_time(args[0] * MS)
      case "stand still":
        stage.stand_still(args[0] * MS)
      case "release":
        performer.release(now_ns, within_ns=args[0] * MS)
      case "lift":
        performer.release(now_ns, keys=(args[0],))
      case "end":
        performer.end(now_ns)
      case "lost":
        performer.lost(now_ns)
        self.present = False
      case "back":
        performer.back(now_ns)
        self.present = True
      case "panic":
        messages = performer.panic(now_ns)
        if self.present:
          stage.instrument.take(messages, now_ns)
          stage.sent += messages
          assert not stage.instrument.sounding
          assert stage.instrument.pedal == 0
      case "watchdog":
        performer.watchdog(now_ns, now_ns - args[0] * MS)
      case "loudness":
        performer.loudness_offset = args[0]

  def finish(self):
    """The player lets go, and the instrument is there."""
    stage = self.stage
    self.do("back")
    for key in tuple(stage.instrument.held):
      stage.let_go(key)
    stage.step_on(0)


@given(SCRIPTS, st.booleans())
def test_whatever_happens_each_note_ends_once_and_within_limits(script, shared):
  story = Story(shared)
  stage = story.stage
  for step in steps_of(script):
    story.do(*step)
  story.finish()
  # Nothing hangs: within the longest note and the pedal's time all is over.
  stage.pass_time(3 * SECOND)
  stage.performer.watchdog(stage.now_ns, stage.now_ns - 5 * SECOND)
  stage.pass_time(17 * SECOND)
  assert not stage.instrument.keys
  assert stage.instrument.pedal == 0
  assert stage.performer.next_due_ns() is None
  assert stage.performer.sounding == []
  stage.due()
  began = [f.id for f in stage.told("on")]
  ended = [f.id for f in stage.told("off")]
  dropped = [f.id for f in stage.told("dropped")]
  assert sorted(began) == sorted(ended)
  assert len({*began, *dropped}) == len(began) + len(dropped)
  for fate in stage.told("on"):
    ends = [f.time_ns for f in stage.told("off") if f.id == fate.id]
    assert ends[0] >= fate.time_ns


@given(SCRIPTS, st.booleans())
def test_after_closing_nothing_sounds(script, shared):
  story = Story(shared)
  stage = story.stage
  for step in steps_of(script):
    story.do(*step)
  story.do("back")
  stage.due()
  messages = stage.performer.close(stage.now_ns)
  stage.instrument.take(messages, stage.now_ns)
  assert not stage.instrument.sounding
  assert stage.instrument.pedal == 0
  stage.performer.plan(0, [note(10**6, 0), pedal(10**6 + 1, 0, True)])
  assert stage.performer.next_due_ns() is None
  assert stage.stand_still(SECOND) == []
  assert stage.performer.close(stage.now_ns) == []


@given(SCRIPTS)
def test_on_a_shared_instrument_the_pedal_is_the_or_of_both(script):
  story = Story(True)
  stage = story.stage
  own = False
  for step in steps_of(script):
    if step[0] in ("lost", "back", "panic"):
      continue
    story.do(*step)
    stage.due()
    for fate in stage.told("pedal"):
      own = fate.velocity > 0
    both = own or stage.instrument.player_pedal >= 64
    assert (stage.instrument.pedal >= 64) == both


def test_a_plan_is_played_in_its_time():
  stage = Stage()
  stage.performer.plan(
    0, [note(1, 100, 60), pedal(2, 100, True), note(3, 150, 64)]
  )
  stage.pass_time(SECOND)
  assert stage.sent == [
    Message(100 * MS, control_change(2, 64, 127)),
    Message(100 * MS, note_on(2, 60, 80)),
    Message(150 * MS, note_on(2, 64, 80)),
    Message(300 * MS, note_off(2, 60)),
    Message(350 * MS, note_off(2, 64)),
  ]
  assert [(f.id, f.kind) for f in stage.fates] == [
    (2, "pedal"),
    (1, "on"),
    (3, "on"),
    (1, "off"),
    (3, "off"),
  ]


def test_a_new_plan_replaces_from_its_time_on():
  stage = Stage()
  stage.performer.plan(0, [note(1, 100, 60), note(2, 200, 62)])
  stage.performer.plan(150 * MS, [note(3, 220, 64)])
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 64]


def test_what_sounded_is_not_played_again():
  stage = Stage()
  stage.performer.plan(0, [note(1, 100, 60)])
  stage.pass_time(110 * MS)
  stage.performer.plan(0, [note(1, 100, 60), note(2, 200, 62)])
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 62]
  assert not stage.told("dropped")


def test_a_model_that_was_started_anew_counts_its_ids_again():
  stage = Stage()
  stage.performer.plan(0, [note(0, 100, 60)])
  stage.pass_time(SECOND)
  stage.performer.plan(stage.now_ns, [note(0, 1500, 62)])
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 62]


def test_after_a_standstill_ends_come_first_and_nothing_bursts():
  stage = Stage()
  held = [note(i, 50 * i, 40 + i, lasts_ms=500) for i in range(4)]
  missed = [note(9 + i, 300 + 50 * i, 60 + i % 9) for i in range(55)]
  last = note(99, 3050, 80, lasts_ms=5)
  stage.performer.plan(0, [*held, *missed, last])
  stage.pass_time(200 * MS)
  assert len(stage.performer.sounding) == 4
  messages = stage.stand_still(2860 * MS)
  assert [m.data for m in messages] == [
    *(note_off(2, 40 + i) for i in range(4)),
    note_on(2, 80, 80),
  ]
  assert stage.performer.clips == {"late": 55}
  # What is 10 ms late is still music, and sounds as long as it was to.
  assert stage.performer.next_due_ns() == stage.now_ns + 5 * MS


def test_of_late_pedals_the_last_state_counts():
  stage = Stage()
  moves = [True, False, True, False, True]
  stage.performer.plan(0, [pedal(i, 100 * i, d) for i, d in enumerate(moves)])
  stage.stand_still(3 * SECOND)
  assert stage.pedals() == [127]
  assert [f.kind for f in stage.fates] == ["dropped"] * 4 + ["pedal"]


def test_a_change_of_pedal_within_a_moment_is_not_lost():
  stage = Stage()
  stage.performer.plan(0, [pedal(0, 0, True)])
  stage.due()
  stage.performer.plan(0, [pedal(1, 10, False), pedal(2, 10, True)])
  stage.pass_time(SECOND)
  assert stage.pedals() == [127, 0, 127]


@pytest.mark.parametrize(
  ("events", "reason"),
  [
    ([note(1, 0, 20)], "key"),
    ([note(1, 0, 109)], "key"),
    ([note(1, 0, velocity=111)], "velocity"),
    ([note(1, 0, lasts_ms=11_001)], "length"),
    ([note(1, 0), note(2, 39)], "re-strike"),
    ([note(i, 0, 40 + i) for i in range(13)], "sounding"),
    ([note(i, 39 * i, 40 + i, lasts_ms=30) for i in range(26)], "onsets"),
  ],
)
def test_each_limit_is_counted_under_its_name(events, reason):
  stage = Stage()
  stage.performer.plan(0, events)
  stage.pass_time(20 * SECOND)
  assert stage.performer.clips == {reason: 1}
  assert [f.reason for f in stage.fates if f.reason] == [reason]


@pytest.mark.parametrize(
  "events",
  [
    [note(1, 0, 21), note(2, 0, 108)],
    [note(1, 0, velocity=110), note(2, 40, lasts_ms=11_000)],
    [note(i, 0, 40 + i) for i in range(12)],
    [note(i, 40 * i, 40 + i, lasts_ms=30) for i in range(26)],
  ],
)
def test_what_lies_within_the_limits_is_left_alone(events):
  stage = Stage()
  stage.performer.plan(0, events)
  stage.pass_time(20 * SECOND)
  assert not stage.performer.clips
  assert len(stage.ons()) == len(events)


def test_a_key_struck_late_has_its_rest_before_it_is_struck_again():
  stage = Stage()
  stage.performer.plan(0, [note(1, 0), note(2, 40), note(3, 50, 64)])
  stage.stand_still(25 * MS)
  stage.pass_time(30 * MS)
  assert stage.ons() == [60, 64]
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 64, 60]
  assert [f.time_ns // MS for f in stage.told("on")] == [25, 50, 65]


def test_loudness_is_offset_within_bounds():
  stage = Stage()
  stage.performer.loudness_offset = -90
  stage.performer.plan(0, [note(1, 0, velocity=80)])
  stage.due()
  stage.performer.loudness_offset = 10
  stage.performer.plan(0, [note(2, 100, 64, velocity=80)])
  stage.pass_time(SECOND)
  on = [m.data[2] for m in stage.sent if is_note_on(m.data)]
  assert on == [1, 90]


def test_a_key_that_the_player_presses_becomes_theirs():
  stage = Stage(shared=True)
  stage.performer.plan(0, [note(1, 0, 60, lasts_ms=100), note(2, 300, 60)])
  stage.due()
  stage.clock.advance(50 * MS)
  stage.press(60)
  stage.pass_time(SECOND)
  assert [f.reason for f in stage.told("off")] == ["taken over"]
  assert [f.reason for f in stage.told("dropped")] == ["held by the player"]
  assert len(stage.sent) == 1
  # On an instrument that keeps channels apart, our note still sounds.
  stage.let_go(60)
  stage.pass_time(0)
  assert stage.sent[1:] == [Message(stage.now_ns, note_off(2, 60))]


def test_on_instruments_of_their_own_both_may_hold_a_key():
  stage = Stage()
  stage.press(60)
  stage.step_on(127)
  stage.performer.plan(0, [note(1, 0, 60, lasts_ms=100)])
  stage.pass_time(SECOND)
  assert [m.data for m in stage.sent] == [note_on(2, 60, 80), note_off(2, 60)]


def test_the_players_pedal_does_not_lift_ours_on_a_shared_instrument():
  stage = Stage(shared=True)
  stage.performer.plan(0, [pedal(1, 0, True)])
  stage.due()
  stage.step_on(50)
  assert stage.performer.next_due_ns() == 0
  stage.due()
  stage.step_on(0)
  stage.due()
  # Repeated: the instrument has got the player's own message, too.
  assert stage.pedals() == [127, 127, 127]
  stage.performer.release(0)
  stage.step_on(50)
  stage.due()
  assert stage.pedals()[-1] == 50


def test_the_players_own_reset_lets_their_keys_go():
  stage = Stage(shared=True)
  stage.press(60)
  stage.press(64)
  stage.performer.receive(Message(0, control_change(1, 123, 0)))
  assert stage.performer.player_keys == []


def test_a_release_stops_onsets_at_once_and_the_rest_in_time():
  stage = Stage()
  stage.performer.plan(
    0,
    [
      pedal(1, 0, True),
      note(2, 0, 60, lasts_ms=5000),
      note(3, 0, 64, lasts_ms=150),
      note(4, 110, 67),
    ],
  )
  stage.pass_time(100 * MS)
  stage.performer.release(stage.now_ns, within_ns=250 * MS)
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 64]
  ends = [(m.time_ns // MS, m.data[1]) for m in stage.sent[3:]]
  assert ends == [(150, 64), (350, 60), (350, 64)]
  assert stage.pedals() == [127, 0]
  assert [f.id for f in stage.told("dropped")] == [4]


def test_a_plan_within_a_release_does_not_keep_the_old_pedal_down():
  stage = Stage()
  stage.performer.plan(0, [pedal(1, 0, True)])
  stage.pass_time(100 * MS)
  stage.performer.release(stage.now_ns, within_ns=250 * MS)
  stage.performer.plan(0, [pedal(2, 200, True), note(3, 200)])
  stage.pass_time(SECOND)
  assert stage.pedals() == [127, 0, 127]


def test_single_keys_can_be_let_go_while_the_plan_goes_on():
  stage = Stage()
  stage.performer.plan(
    0,
    [
      pedal(1, 0, True),
      note(2, 0, 60, lasts_ms=900),
      note(3, 0, 61, lasts_ms=900),
      note(4, 200, 72),
    ],
  )
  stage.pass_time(100 * MS)
  stage.performer.release(stage.now_ns, within_ns=30 * MS, keys=(61,))
  stage.pass_time(50 * MS)
  assert stage.performer.sounding == [60]
  stage.pass_time(100 * MS)
  assert stage.performer.sounding == [60, 72]
  assert stage.pedals() == [127]


def test_at_the_end_the_last_chord_rings():
  stage = Stage()
  stage.performer.plan(
    0,
    [
      pedal(1, 0, True),
      note(2, 0, 60, lasts_ms=2500),
      note(3, 0, 64, lasts_ms=10_000),
      note(4, 500, 67),
    ],
  )
  stage.pass_time(100 * MS)
  stage.performer.end(stage.now_ns)
  stage.pass_time(20 * SECOND)
  assert stage.ons() == [60, 64]
  ends = {m.data[1]: m.time_ns // MS for m in stage.sent[3:]}
  assert ends == {60: 2500, 64: 4100}
  assert stage.instrument.pedal == 0


def test_at_the_end_the_pedal_comes_up_where_the_model_meant_it_to():
  stage = Stage()
  stage.performer.plan(0, [pedal(1, 0, True), note(2, 0), pedal(3, 700, False)])
  stage.pass_time(100 * MS)
  stage.performer.end(stage.now_ns)
  stage.pass_time(20 * SECOND)
  assert stage.sent[-1] == Message(700 * MS, control_change(2, 64, 0))


def test_panic_is_instant_and_explicit():
  stage = Stage()
  stage.performer.plan(
    0, [pedal(1, 0, True), note(2, 0, 60), note(3, 0, 64), note(4, 10, 67)]
  )
  stage.due()
  assert [m.data for m in stage.performer.panic()] == [
    note_off(2, 60),
    note_off(2, 64),
    control_change(2, 64, 0),
    control_change(2, 123, 0),
    control_change(2, 120, 0),
  ]
  assert stage.performer.next_due_ns() is None
  # It is no end: what is planned after it is played.
  stage.instrument.keys.clear()
  stage.performer.plan(0, [note(5, 100, 72)])
  stage.pass_time(SECOND)
  assert stage.ons()[-1] == 72


def test_nothing_is_sent_late_to_an_instrument_that_comes_back():
  stage = Stage()
  stage.performer.plan(
    0,
    [
      pedal(1, 0, True),
      note(2, 0, 60, lasts_ms=3000),
      note(3, 500, 62),
      note(4, 995, 64),
      note(5, 1100, 65),
    ],
  )
  stage.pass_time(100 * MS)
  stage.performer.lost(stage.now_ns)
  stage.pass_time(900 * MS)
  assert len(stage.sent) == 2
  stage.performer.back(stage.now_ns)
  stage.pass_time(0)
  assert [m.data for m in stage.sent[2:]] == [
    note_off(2, 60),
    control_change(2, 123, 0),
    control_change(2, 64, 0),
  ]
  stage.pass_time(SECOND)
  assert stage.ons() == [60, 65]
  assert [f.reason for f in stage.told("dropped")] == ["no output"] * 2


def test_a_dead_models_pedal_comes_up_when_its_plan_has_played_out():
  stage = Stage()
  performer = stage.performer
  performer.plan(
    0, [pedal(1, 0, True), note(2, 0), note(3, 2000, 64, lasts_ms=1500)]
  )
  stage.pass_time(1400 * MS)
  assert not performer.watchdog(stage.now_ns, 0)
  stage.pass_time(500 * MS)
  assert performer.watchdog(stage.now_ns, 0)
  stage.pass_time(200 * MS)
  assert stage.ons() == [60, 64]
  assert performer.watchdog(stage.now_ns, 0)
  stage.pass_time(10 * SECOND)
  assert stage.sent[-2:] == [
    Message(3500 * MS, note_off(2, 64)),
    Message(3500 * MS, control_change(2, 64, 0)),
  ]


def test_hours_of_playing_take_no_memory(monkeypatch):
  monkeypatch.setattr("magenta_midi.live.performer.performer.REMEMBERED", 64)
  stage = Stage()
  ids = itertools.count()

  def play(count):
    for id in itertools.islice(ids, count):
      stage.performer.plan(stage.now_ns, [note(id, 400 * id, 40 + id % 48)])
      stage.pass_time(400 * MS)
      stage.sent.clear()
      stage.fates.clear()
      stage.instrument.onsets.clear()
    return tracemalloc.get_traced_memory()[0]

  tracemalloc.start()
  try:
    before = play(150)
    assert play(600) - before < 30_000
  finally:
    tracemalloc.stop()


def test_a_channel_must_exist():
  with pytest.raises(ValueError, match=r"channel must be in 1\.\.16, got 0"):
    Performer(limits=Limits(), channel=0)
