"""Simultaneous play, through its interface alone."""

import numpy as np
import pytest

from magenta_midi.live.engine.simultaneous import Simultaneous
from magenta_midi.live.engine.strategy import PlayStrategy
from magenta_midi.live.protocol.commands import Release, Replan
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND
from tests.support.playing import FakePlanner, ScriptedPlayer

MS = SECOND // 1000


class Stage:
  """A strategy, its planner and its player."""

  def __init__(self, **controls):
    self.planner = FakePlanner()
    self.strategy: PlayStrategy = Simultaneous(
      self.planner, Controls(mode="simultaneous", **controls)
    )
    self.player = ScriptedPlayer(self.planner.player, self.strategy)

  def job(self, now_ns):
    self.strategy.on_time(now_ns)
    return self.strategy.next_job(now_ns)

  def name(self, now_ns):
    job = self.job(now_ns)
    return job if job is None else job.name


def a_stage(**controls):
  """The player plays, and a stream is open."""
  stage = Stage(**controls)
  stage.player.line(0, 8)
  stage.planner.stream = object()
  return stage


def test_it_begins_with_the_context_and_drops_what_that_holds():
  stage = Stage()
  stage.planner.pending = ["note"]
  assert stage.name(0) == "encode"
  assert stage.planner.pending == []


def test_the_players_events_come_before_deeper_plans_and_a_refresh():
  stage = a_stage()
  planner = stage.planner
  planner.pending, planner.wants_more, planner.due = ["note"], True, True
  now = 2 * SECOND
  assert stage.name(now) == "react"
  assert stage.name(now) == "deeper"
  planner.wants_more = False
  assert stage.name(now) == "encode"
  planner.due = False
  assert stage.job(now) is None
  planner.is_opening = planner.wants_more = True
  assert stage.name(now) == "encode"


def test_it_rests_until_the_player_begins_and_after_the_player_stops():
  stage = Stage()
  assert stage.strategy.on_plan_needed(0).rests
  stage.player.line(0, 8)
  assert not stage.strategy.on_plan_needed(2 * SECOND).rests
  assert stage.strategy.on_plan_needed(20 * SECOND).rests
  stage.strategy.set_controls(Controls(mode="simultaneous", solo=True))
  assert not stage.strategy.on_plan_needed(20 * SECOND).rests


def test_it_keeps_off_the_players_octave():
  stage = a_stage()
  keys = stage.strategy.on_plan_needed(2 * SECOND).settings.keys
  assert not keys[60:68].any() and keys[80:].all()


def test_nothing_that_the_register_allows_is_rest():
  stage = a_stage()
  keys = np.zeros(128, bool)
  keys[62:65] = True
  stage.planner.plan_settings = stage.planner.plan_settings._replace(keys=keys)
  assert stage.strategy.on_plan_needed(2 * SECOND).rests


def test_its_rate_is_raised_until_it_has_joined_in():
  stage = a_stage()
  now = 2 * SECOND
  before = stage.strategy.on_plan_needed(now)
  for number in range(5):
    stage.planner.model.add(
      now + number * MS, 84, 60, end_ns=now + SECOND, id=number
    )
  after = stage.strategy.on_plan_needed(now + 10 * MS)
  assert before.settings.pace == pytest.approx(4 * after.settings.pace)
  assert after.may_end and not before.may_end


@pytest.mark.parametrize("releases", [True, False])
def test_a_note_that_clashes_is_let_go(releases):
  stage = a_stage(release_clashes=releases)
  stage.player.on(2 * SECOND, 60)
  now = 2 * SECOND + 200 * MS
  for key in (73, 76):
    stage.planner.model.add(2 * SECOND, key, 60, end_ns=9 * SECOND, id=key)
  job = stage.job(now)
  if not releases:
    assert job is None
    return
  assert job.run(now) == [Release(30 * MS, (73,))]
  assert stage.planner.model.sounding_keys(now) == [76]
  assert stage.planner.log == ["release clashes"]
  assert stage.job(now) is None


def test_its_pedal_is_short():
  stage = a_stage()
  stage.planner.model.pedal(SECOND, True)
  for second in range(1, 6):
    end_ns = (second + 1) * SECOND
    stage.planner.model.add(second * SECOND, 84, 60, end_ns=end_ns, id=second)
  assert stage.job(6 * SECOND - 1) is None
  commands = stage.job(6 * SECOND).run(6 * SECOND)
  assert isinstance(commands[0], Replan)
  assert [event.down for event in commands[0].events] == [False]
  assert not stage.planner.model.pedal_down


def test_there_are_no_turns():
  stage = a_stage()
  before = stage.strategy.on_plan_needed(2 * SECOND)
  stage.strategy.hand_over(2 * SECOND)
  stage.strategy.end(2 * SECOND)
  after = stage.strategy.on_plan_needed(2 * SECOND)
  assert stage.strategy.next_wake_ns() is None
  assert before.settings.pace == after.settings.pace
  assert stage.job(2 * SECOND) is None
