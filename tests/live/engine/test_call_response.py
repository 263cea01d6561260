"""Call and response, through its interface alone."""

import pytest

from magenta_midi.live.engine.call_response import CallResponse
from magenta_midi.live.engine.settings import EngineSettings
from magenta_midi.live.engine.strategy import PlayStrategy
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.protocol.commands import End, Release, Replan
from magenta_midi.live.protocol.events import SECOND, PlannedNote
from magenta_midi.live.timing.bars import Bars
from tests.support.playing import FakePlanner, ScriptedPlayer

MS = SECOND // 1000


class Stage:
  """A strategy, its planner and its player."""

  def __init__(self, **turns):
    self.planner = FakePlanner(EngineSettings(turns=TurnSettings(**turns)))
    self.turns = CallResponse(self.planner)
    self.strategy: PlayStrategy = self.turns
    self.player = ScriptedPlayer(self.planner.player, self.strategy)

  def job(self, now_ns):
    self.strategy.on_time(now_ns)
    return self.strategy.next_job(now_ns)

  def wake_ns(self):
    wake_ns = self.strategy.next_wake_ns()
    assert wake_ns is not None
    return wake_ns


def in_reply(**turns):
  """The model has begun its reply to a call of two seconds."""
  stage = Stage(**turns)
  stage.player.line(0, 8)
  now = stage.wake_ns()
  stage.job(now).run(now)
  return stage, now


def test_nothing_is_done_while_the_player_plays():
  stage = Stage()
  stage.planner.pending = ["note"]
  assert stage.job(0) is None
  # What came before a reply is encoded with it.
  assert stage.planner.pending == []


def test_a_silence_prepares_the_reply_and_then_begins_it():
  stage = Stage()
  stage.player.line(0, 8)
  ends_ns = stage.wake_ns()
  assert stage.job(ends_ns - SECOND).name == "encode"
  assert stage.planner.origins_ns == [ends_ns]
  assert not stage.turns.replying
  job = stage.job(ends_ns)
  assert job.name == "reply"
  commands = job.run(ends_ns)
  assert stage.turns.replying
  from_ns = ends_ns + stage.planner.horizon_ns
  assert commands == [Replan(from_ns, (), (ends_ns,), "reply")]
  intent, bounds = stage.planner.asked[0]
  assert not intent.may_end
  assert bounds["note_first"] and bounds["earliest_ns"] == from_ns
  assert bounds["latest_ns"] == from_ns + 20 * MS


def test_a_draft_that_fits_is_not_made_again():
  stage = Stage()
  stage.player.line(0, 8)
  ends_ns = stage.wake_ns()

  class Draft:
    origin_step = ends_ns // (10 * MS)

  stage.planner.draft, stage.planner.draft_is_current = Draft(), True
  assert stage.job(ends_ns - SECOND) is None
  stage.planner.draft_is_current = False
  assert stage.job(ends_ns - SECOND) is not None


def test_a_reply_is_as_long_as_its_call():
  stage, began_ns = in_reply()
  starts_ns = began_ns + stage.planner.horizon_ns
  early = stage.strategy.on_plan_needed(starts_ns)
  length_ns = 7 * 250 * MS + 200 * MS  # of the call
  assert early.end_ns == starts_ns + length_ns * 3 // 2
  assert not early.may_end and early.max_gap_ns is not None
  late = stage.strategy.on_plan_needed(starts_ns + length_ns)
  assert late.may_end and late.max_gap_ns is None


def test_in_a_reply_events_come_first_then_deeper_plans_then_a_refresh():
  stage, now = in_reply()
  planner = stage.planner
  planner.planned = [PlannedNote(0, now + 100 * MS, SECOND, 60, 60)]
  planner.pending, planner.wants_more, planner.due = ["note"], True, True
  names = [stage.job(now).name, stage.job(now).name]
  planner.wants_more = False
  names.append(stage.job(now).name)
  planner.due = False
  assert stage.job(now) is None
  assert names == ["react", "deeper", "encode"]


def test_a_reply_with_nothing_more_to_play_ends():
  stage, now = in_reply()
  stage.planner.ended = True
  stage.planner.model.pedal(now, True)
  assert stage.job(now + 50 * MS) is None
  later = now + SECOND
  assert stage.job(later).run(later) == [End()]
  assert not stage.turns.replying and stage.planner.stopped == 1
  assert not stage.planner.model.pedal_down
  assert stage.planner.log == ["reply", "reply ends"]


def test_a_reply_goes_on_for_a_note_that_is_about_to_come():
  stage, now = in_reply()
  late = now + 20 * SECOND
  stage.planner.model.add(late - 300 * MS, 60, 60, end_ns=late, id=0)
  stage.planner.planned = [PlannedNote(1, late + 50 * MS, SECOND, 62, 60)]
  assert stage.job(late) is None
  stage.planner.planned = []
  assert stage.job(late).run(late) == [End()]


def test_two_notes_of_the_player_interrupt_it():
  stage, now = in_reply()
  now += SECOND
  stage.player.on(now, 60)
  stage.player.on(now + 50 * MS, 62)
  job = stage.job(now + 50 * MS)
  assert job.run(now) == [Release(250 * MS)]
  assert not stage.turns.replying and stage.planner.stopped == 1
  assert stage.planner.log == ["reply", "interrupted"]


def test_handing_over_begins_a_reply_and_ends_it():
  stage = Stage()
  stage.player.on(0, 60)
  stage.strategy.hand_over(SECOND)
  assert stage.wake_ns() == SECOND
  stage.job(SECOND).run(SECOND)
  assert stage.turns.replying
  stage.strategy.hand_over(2 * SECOND)
  assert stage.job(2 * SECOND).run(2 * SECOND) == [Release(250 * MS)]
  assert not stage.turns.replying


def test_after_an_end_the_next_phrase_is_answered():
  stage, now = in_reply()
  stage.strategy.end(now)
  assert not stage.turns.replying
  stage.player.line(now + SECOND, 4)
  ends_ns = stage.wake_ns()
  assert stage.job(ends_ns).name == "reply"


def test_a_phrase_of_another_mode_is_known():
  """Only `next_job` is left out while another strategy plays."""
  stage = Stage()
  stage.player.line(0, 4)
  stage.strategy.on_time(SECOND)
  ends_ns = stage.wake_ns()
  assert stage.job(ends_ns).name == "reply"


@pytest.mark.parametrize("in_time", [True, False])
def test_a_reply_comes_in_on_the_beat(in_time):
  stage = Stage()
  bars = Bars(90.0, 4, 130 * MS)
  stage.turns.set_bars(bars, in_time=in_time)
  stage.player.line(0, 4)
  now = stage.wake_ns()
  stage.job(now - 500 * MS)
  (command,) = stage.job(now).run(now)
  earliest_ns = now + stage.planner.horizon_ns
  beat_ns = bars.next_beat_ns(earliest_ns)
  assert command.from_ns == (beat_ns if in_time else earliest_ns)
  _, bounds = stage.planner.asked[-1]
  assert bounds["earliest_ns"] == command.from_ns
  # Its draft was made for that moment.
  assert stage.planner.origins_ns[-1] == (beat_ns if in_time else now)


@pytest.mark.parametrize("first", ["me", "ai"])
def test_with_bars_turns_are_traded(first):
  stage = Stage(first=first, trade_bars=4)
  bars = Bars(120.0, 4, 0)
  stage.turns.set_bars(bars)
  length_ns = 8 * SECOND
  starts_ns = 0 if first == "ai" else length_ns
  assert stage.job(starts_ns).name == "reply"
  stage.job(starts_ns + 1)
  stage, now = Stage(first=first, trade_bars=4), starts_ns
  stage.turns.set_bars(bars)
  stage.job(now).run(now)
  assert stage.strategy.on_plan_needed(now + 7 * SECOND).end_ns is None
  planned = [PlannedNote(0, now + length_ns + SECOND, SECOND, 60, 60)]
  stage.planner.planned = planned
  assert stage.job(now + length_ns - MS) is None
  ends = now + length_ns + 20 * MS
  assert stage.job(ends).run(ends) == [End()]
