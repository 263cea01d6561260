"""Call and response: player and model take turns.

The reply is prepared while the player is silent (a draft), begins when the
phrase has ended, and lasts about as long as its call.
"""

from magenta_midi.generate.duet.stream import DuetStream
from magenta_midi.live.engine.context_encoder import STEP_NS
from magenta_midi.live.engine.phrase import Reply
from magenta_midi.live.engine.planner import Intent, Planner
from magenta_midi.live.engine.turns import Turn, TurnTaking
from magenta_midi.live.player import PlayerEvent
from magenta_midi.live.protocol.commands import (
  Command,
  End,
  Job,
  Release,
  Replan,
)
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars

__all__ = ["CallResponse"]

_MS = SECOND // 1000
# A draft is made when the phrase may end within so much, and anew when that
# moment moves by more than this.
_DRAFT_NS, _DRAFT_MOVES_NS = 3 * SECOND, 30 * _MS
# With bars, a reply that would begin later than this waits for its place.
_LATE_NS = 60 * _MS
# A reply goes on for a note this close, unless there is a gap of so much.
_SOON_NS, _GAP_NS = 200 * _MS, 400 * _MS
# A reply that has nothing planned ends so long after its last note.
_SILENT_NS = 100 * _MS


class CallResponse:
  """The model replies to the player's phrases; see `PlayStrategy`.

  Args:
    planner: Of the engine.
  """

  def __init__(self, planner: Planner):
    self._planner = planner
    self._settings = planner.settings.turns
    self._turns = TurnTaking(planner.player.keyboard, self._settings)
    self._turn: Turn | None = None
    self._bars: Bars | None = None
    self._in_time = True
    self._replying = False
    self._starts_ns = 0

  @property
  def replying(self) -> bool:
    """Whether it is the model's turn."""
    return self._replying

  def set_controls(self, controls: Controls) -> None:
    """Nothing of the controls changes how turns are taken."""

  def set_bars(self, bars: Bars | None, *, in_time: bool = True) -> None:
    """The grid of bars from here on.

    Args:
      bars: None: free time.
      in_time: Whether a reply begins on a beat.
    """
    self._in_time = in_time
    if bars == self._bars:
      return
    self._bars = bars
    length = self._settings.trade_bars
    if bars is not None and length:
      self._turns.trade(length, lambda at_ns: bars.position(at_ns).bar)

  def on_player_event(self, event: PlayerEvent) -> None:
    """The player did something, in any mode."""
    self._turns.handle(event)

  def on_time(self, now_ns: int) -> None:
    """Decides whether the turn changes."""
    self._turn = self._turns.tick(now_ns)

  def next_wake_ns(self) -> int | None:
    """When a turn may change, if the player does nothing."""
    return self._turns.next_deadline_ns()

  def hand_over(self, now_ns: int) -> None:
    """Ends the present turn."""
    self._turns.hand_over(now_ns)

  def end(self, now_ns: int) -> None:
    """The reply is over, if there is one."""
    if self._replying:
      self._turns.reply_ended(now_ns)
    self._replying = False

  def next_job(self, now_ns: int) -> Job | None:
    """Changes of turn first, then the reply, or its draft."""
    turn, self._turn = self._turn, None
    if self._replying:
      if turn is not None and turn.kind == "interrupted":
        self._planner.note(now_ns, "interrupted", why=turn.reason)
        self._planner.cut(now_ns)
        release = Release(self._planner.settings.interrupt_ns)
        return self._end_reply(now_ns, release)
      return self._continue_reply(now_ns)
    if turn is not None and turn.kind == "phrase_end":
      return Job("reply", 1, self._begin_reply)
    self._planner.pending.clear()
    return self._draft_job(now_ns)

  def on_plan_needed(self, now_ns: int) -> Intent:
    """The settings as they are, within the length of the reply."""
    reply = self._reply
    return Intent(
      self._planner.plan_settings,
      loudness=self._planner.loudness,
      may_end=reply.may_end(now_ns),
      max_gap_ns=reply.max_gap_ns(now_ns),
      end_ns=reply.latest_end_ns,
    )

  @property
  def _reply(self) -> Reply:
    return Reply(self._starts_ns, self._turns.call, by_bars=self._trades)

  # Before the reply.

  def _draft_job(self, now_ns: int) -> Job | None:
    """While the player is silent: prepares the reply."""
    planner, deadline_ns = self._planner, self._turns.next_deadline_ns()
    if deadline_ns is None or deadline_ns - now_ns > _DRAFT_NS:
      return None
    starts_ns = deadline_ns
    if self._begins_on_beat:
      earliest_ns = max(now_ns, deadline_ns) + planner.horizon_ns
      starts_ns = self._next_beat(earliest_ns)
    if planner.draft is not None and planner.draft_is_current:
      origin_ns = planner.draft.origin_step * STEP_NS
      if abs(starts_ns - origin_ns) <= _DRAFT_MOVES_NS:
        return None
    return planner.draft_job(now_ns, max(now_ns, starts_ns))

  @property
  def _trades(self) -> bool:
    return self._bars is not None and self._settings.trade_bars > 0

  @property
  def _begins_on_beat(self) -> bool:
    """Whether a reply waits for the next beat; trades begin with a bar."""
    return self._bars is not None and self._in_time and not self._trades

  def _next_beat(self, earliest_ns: int) -> int:
    assert self._bars is not None
    return self._bars.next_beat_ns(earliest_ns)

  def _begin_reply(self, now_ns: int) -> list[Command]:
    planner = self._planner
    self._replying = True
    planner.pending.clear()
    self._turns.reply_started(now_ns)
    drafted = planner.draft_is_current
    from_ns = now_ns + planner.horizon_ns
    if self._begins_on_beat:
      starts_ns = self._next_beat(from_ns)
      # A draft of another beat is another reply.
      new = not self._drafted_for(starts_ns)
    else:
      starts_ns = self._place_in_bar(planner.draft, from_ns)
      new = not drafted or starts_ns > from_ns
    planner.begin_from_draft(now_ns, starts_ns, new=new)
    self._starts_ns = starts_ns
    settings = planner.plan_settings
    planner.plan(
      Intent(settings, loudness=planner.loudness, may_end=False),
      events=1,
      earliest_ns=starts_ns,
      latest_ns=starts_ns + planner.settings.reply_within_ns,
      note_first=True,
    )
    planner.note(now_ns, "reply", drafted=drafted, seed=settings.seed)
    return [Replan(starts_ns, tuple(planner.planned), (now_ns,), "reply")]

  def _drafted_for(self, starts_ns: int) -> bool:
    draft = self._planner.draft
    if draft is None or not self._planner.draft_is_current:
      return False
    late_ns = starts_ns - draft.origin_step * STEP_NS
    return -STEP_NS <= late_ns <= _LATE_NS

  def _place_in_bar(self, draft: DuetStream | None, from_ns: int) -> int:
    """When a reply begins: at once, or at its place in a later bar."""
    if self._bars is None or draft is None:
      return from_ns
    planned_ns = draft.origin_step * STEP_NS
    if from_ns - planned_ns <= _LATE_NS:
      return from_ns
    return planned_ns + self._bars.next_same_position(planned_ns, from_ns)

  # During the reply.

  def _continue_reply(self, now_ns: int) -> Job | None:
    planner, decide = self._planner, self.on_plan_needed
    if self._is_over(now_ns):
      planner.note(now_ns, "reply ends")
      planner.drop_plan()
      planner.model.pedal(now_ns, False)
      return self._end_reply(now_ns, End())
    if planner.stream is None:
      return planner.encode_job(now_ns, decide)
    if planner.pending:
      return planner.react_job(now_ns, decide)
    if planner.is_opening:
      return planner.encode_job(now_ns, decide)
    if job := planner.deeper_job(now_ns, decide, self._reply.latest_end_ns):
      return job
    # The player is silent: the context changes less.
    if planner.refresh_due(now_ns, 2 * planner.settings.refresh_ns):
      return planner.encode_job(now_ns, decide)
    return None

  def _is_over(self, now_ns: int) -> bool:
    """Whether the reply is long enough; changes nothing."""
    planner = self._planner
    committed_ns = now_ns + planner.horizon_ns
    last_ns = self._starts_ns
    if planner.model.notes:
      last_ns = max(last_ns, planner.model.notes[-1].onset_ns)
    for event in planner.planned:
      if event.time_ns < committed_ns:
        last_ns = max(last_ns, event.time_ns)
    coming_ns = [
      e.time_ns for e in planner.planned if e.time_ns >= committed_ns
    ]
    # With the next note about to come, only a true gap before it ends.
    soon = bool(coming_ns) and coming_ns[0] - now_ns < _SOON_NS
    if soon and coming_ns[0] - last_ns < _GAP_NS:
      return False
    silent = not coming_ns and (planner.ended or planner.rests)
    if silent and now_ns > last_ns + _SILENT_NS:
      return True
    return self._turns.reply_should_end(now_ns, self._starts_ns, last_ns)

  def _end_reply(self, now_ns: int, command: Command) -> Job:
    self._planner.stop()
    self._planner.pending.clear()
    self.end(now_ns)
    return Job("none", 0, lambda now: [command])
