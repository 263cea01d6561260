"""Simultaneous play: player and model play at the same time.

The model makes room for the player (`accompaniment`), joins in soon after the
player begins, and keeps its pedal short.
"""

from magenta_midi.live.engine.accompaniment import YieldPolicy
from magenta_midi.live.engine.planner import Intent, Planner
from magenta_midi.live.player import NoteHistory, PlayerEvent
from magenta_midi.live.protocol.commands import Command, Job, Release, Replan
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND

__all__ = ["Simultaneous"]

# How fast a note ends that clashes with the player's.
_RELEASE_NS = 30 * SECOND // 1000
# The model's pedal is down for at most so long, and for at most so long after
# its last key came up: two pedals at once blur the sound.
_PEDAL_NS, _IDLE_PEDAL_NS = 5 * SECOND, 3 * SECOND // 2
# With fewer notes of the model than this in so long, its rate is raised, by at
# most this factor.
_ENTRANCE_NS, _ENTRANCE_NOTES, _MAX_ENTRANCE = 3 * SECOND, 5, 4.0


class Simultaneous:
  """Both play at once; see `PlayStrategy`.

  Args:
    planner: Of the engine.
    controls: At the start.
  """

  def __init__(self, planner: Planner, controls: Controls):
    self._planner = planner
    self._controls = controls
    self._policy = YieldPolicy(planner.player.keyboard)

  def set_controls(self, controls: Controls) -> None:
    """Takes new controls."""
    self._controls = controls

  def on_player_event(self, event: PlayerEvent) -> None:
    """The player did something, in any mode."""
    self._policy.handle(event)

  def on_time(self, now_ns: int) -> None:
    """Nothing follows from time alone."""

  def next_wake_ns(self) -> int | None:
    """None: nothing follows from time alone."""
    return None

  def hand_over(self, now_ns: int) -> None:
    """Changes nothing: there are no turns."""

  def end(self, now_ns: int) -> None:
    """Changes nothing: only the planner holds what was begun."""

  def next_job(self, now_ns: int) -> Job | None:
    """Clashes first, then the player's events, then deeper plans."""
    planner, decide = self._planner, self.on_plan_needed
    if keys := self._clashing_keys(now_ns):
      planner.cut_keys(now_ns, keys)
      planner.note(now_ns, "release clashes", keys=keys)
      return Job("none", 0, lambda now: [Release(_RELEASE_NS, keys)])
    if planner.stream is None:
      planner.pending.clear()
      return planner.encode_job(now_ns, decide)
    if planner.pending:
      return planner.react_job(now_ns, decide)
    if _pedal_blurs(planner.model, now_ns):
      return Job("none", 0, self._lift_pedal)
    if planner.is_opening:
      return planner.encode_job(now_ns, decide)
    if job := planner.deeper_job(now_ns, decide):
      return job
    if planner.refresh_due(now_ns, planner.settings.refresh_ns):
      return planner.encode_job(now_ns, decide)
    return None

  def on_plan_needed(self, now_ns: int) -> Intent:
    """The settings, less what the player needs room for."""
    planner = self._planner
    settings = planner.plan_settings
    allowed = self._policy.decide(now_ns, solo=self._controls.solo)
    keys = settings.keys & allowed.keys_allowed
    entrance = _entrance(planner.model, now_ns)
    pace = settings.pace * allowed.hazard * entrance
    return Intent(
      settings._replace(keys=keys, pace=pace),
      loudness=planner.loudness + int(allowed.velocity_offset),
      rests=allowed.level == "rest" or not keys.any(),
      # Until it has joined in, it may not fall silent.
      may_end=entrance < 2.0,
    )

  def _clashing_keys(self, now_ns: int) -> tuple[int, ...]:
    if not self._controls.release_clashes:
      return ()
    sounding = self._planner.model.sounding_keys(now_ns)
    return tuple(self._policy.clash(sounding, now_ns))

  def _lift_pedal(self, now_ns: int) -> list[Command]:
    planner = self._planner
    from_ns = now_ns + planner.horizon_ns
    planner.commit(from_ns)
    if not planner.model.pedal_down:
      return []
    up = planner.pedal_up(from_ns)
    return [Replan(from_ns, (up, *planner.planned))]


def _entrance(model: NoteHistory, now_ns: int) -> float:
  """Factor on the model's rate, 1 to 4, with which it joins in.

  With no own notes in the context the model assumes that it is the player's
  turn; this raises its rate.

  Args:
    model: What the model has played.
    now_ns: Of the session's clock.
  """
  since_ns = now_ns - _ENTRANCE_NS
  lately = sum(note.onset_ns >= since_ns for note in model.notes[-16:])
  return _MAX_ENTRANCE ** max(0.0, 1 - lately / _ENTRANCE_NOTES)


def _pedal_blurs(model: NoteHistory, now_ns: int) -> bool:
  """Whether the model's pedal has been down for too long, or over nothing."""
  if not model.pedal_down:
    return False
  down_ns = model.pedals[-1][0]
  if now_ns - down_ns >= _PEDAL_NS:
    return True
  last_ns = max((note.end_ns or 0 for note in model.notes[-12:]), default=0)
  return now_ns - max(last_ns, down_ns) >= _IDLE_PEDAL_NS
