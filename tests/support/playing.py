"""A player by script, and a planner that plays nothing."""

import numpy as np

from magenta_midi.generate.duet.stream import PlanSettings
from magenta_midi.generate.sampling import Sampling, level_sampling
from magenta_midi.live.engine.planner import Planner
from magenta_midi.live.engine.settings import EngineSettings
from magenta_midi.live.player import NoteHistory, Player
from magenta_midi.live.protocol.commands import Job
from magenta_midi.live.protocol.events import SECOND, Message, PlannedPedal

MS = SECOND // 1000


class ScriptedPlayer:
  """Plays notes that a strategy receives."""

  def __init__(self, player, strategy):
    self.player, self.strategy = player, strategy

  def on(self, time_ns, key=60, velocity=70):
    self._play(time_ns, 0x90, key, velocity)

  def off(self, time_ns, key=60):
    self._play(time_ns, 0x80, key, 64)

  def line(self, start_ns, count, every_ns=250 * MS, held_ns=200 * MS):
    """Notes one after the other, up from key 60."""
    for number in range(count):
      time_ns = start_ns + number * every_ns
      self.on(time_ns, 60 + number % 12)
      self.off(time_ns + held_ns, 60 + number % 12)

  def _play(self, time_ns, *data):
    event = self.player.receive(Message(time_ns, bytes(data)))
    self.strategy.on_player_event(event)


class FakePlanner(Planner):
  """Jobs are those of the planner, by name; they do nothing.

  Attributes:
    asked: Each plan that was asked for: the intent and its bounds.
    origins_ns: Where drafts were to begin.
    stopped: How often everything was forgotten.
  """

  # In the place of properties: tests set them.
  is_opening = rests = ended = draft_is_current = False

  def __init__(self, settings=None):
    self.settings = settings or EngineSettings()
    self.plan_settings = PlanSettings(
      level_sampling(Sampling(), 4), np.ones(128, bool), pace=1.0
    )
    self.loudness = 0
    self.player, self.model = Player(), NoteHistory()
    self.stream = None
    self.planned, self.pending = [], []
    self.draft, self.due = None, False
    self.wants_more = False
    self.asked, self.origins_ns, self.log = [], [], []
    self.stopped = 0

  @property
  def horizon_ns(self):
    return self.settings.horizon_ns

  def note(self, now_ns, what, **details):
    self.log.append(what)

  def react_job(self, now_ns, decide):
    self.pending = []
    return Job("react", 1, lambda now: [])

  def encode_job(self, now_ns, decide):
    return Job("encode", 1, lambda now: [])

  def deeper_job(self, now_ns, decide, end_ns=None):
    return Job("deeper", 4, lambda now: []) if self.wants_more else None

  def draft_job(self, now_ns, origin_ns):
    self.origins_ns.append(origin_ns)
    return Job("encode", 1, lambda now: [])

  def begin_from_draft(self, now_ns, starts_ns, *, new):
    self.stream, self.draft = object(), None

  def refresh_due(self, now_ns, refresh_ns):
    return self.due

  def plan(self, intent, **bounds):
    self.asked.append((intent, bounds))
    return 0

  def commit(self, before_ns):
    pass

  def cut(self, now_ns):
    self.drop_plan()

  def cut_keys(self, now_ns, keys):
    for note in self.model.notes:
      if note.key in keys:
        note.end_ns = now_ns

  def drop_plan(self):
    self.planned = []

  def stop(self):
    self.stream = None
    self.stopped += 1

  def pedal_up(self, time_ns):
    self.model.pedal(time_ns, False)
    return PlannedPedal(0, time_ns, False)
