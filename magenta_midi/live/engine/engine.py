"""The duet: hears, decides whose turn it is, keeps a plan ready.

Everything that may take time is a `Job`, a few milliseconds long. Between
jobs the caller drains its inputs, so nothing waits for long; live, a job takes
as long as it takes, in a replay as long as a table says. The same code runs in
both, on whatever clock the caller has.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from magenta_midi.generate.duet.stream import DuetStream, PlanSettings
from magenta_midi.generate.generator import Generator
from magenta_midi.generate.sampling import Sampling, level_sampling
from magenta_midi.live.engine.accompaniment import YieldPolicy
from magenta_midi.live.engine.context_mix import inject
from magenta_midi.live.engine.harmony import HeardHarmony
from magenta_midi.live.engine.joining import entrance, pedal_blurs
from magenta_midi.live.engine.phrase import Reply
from magenta_midi.live.engine.planner import STEP_NS, Planner, PlayedFrame
from magenta_midi.live.engine.turns import Turn, TurnSettings, TurnTaking
from magenta_midi.live.protocol.commands import (
  Command,
  End,
  Job,
  Panic,
  Release,
  Replan,
)
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, Sounded
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.midi_clock import ClockFollower
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer

__all__ = ["Engine", "EngineSettings"]

MS = 1_000_000
# A reply is drafted when its phrase may end within so much.
DRAFT_NS = 3 * SECOND
# Of density and loudness, where the model is asked for them as well: the rest
# is its own doing, at the next encoder pass.
STEERED_SHARE = 0.5
# With bars, a reply that would begin later than this waits for its place.
LATE_NS = 60 * MS


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
  """What does not change while playing."""

  # Nothing is planned closer than this: the time of one answer, the port's
  # latency, and what both vary by.
  horizon_ns: int = 12 * MS
  # A new encoder pass so often.
  refresh_ns: int = 400 * MS
  # How far ahead a plan reaches while there is time.
  lookahead_ns: int = 1500 * MS
  # A reply begins within so much after the first moment at which it can.
  reply_within_ns: int = 20 * MS
  # Input that waited longer is not appended but encoded.
  backlog_ns: int = 50 * MS
  # How fast held notes end when the player interrupts.
  interrupt_ns: int = 250 * MS
  # How much the model hears.
  context_s: float = 10.0
  seed: int = 0
  # Number of the first note; see `PlannedNote.id`.
  first_id: int = 0
  # Which of the player's silences end a phrase.
  turns: TurnSettings = dataclasses.field(default_factory=TurnSettings)


class Engine:
  """One session's duet.

  Args:
    generator: The model.
    settings: What stays.
    controls: What may change at any time; see `set_controls`.
    sampling: How codes are drawn at temperature 1.
    steered: Whether the model hears control tokens: density and loudness are
      asked of it too (`steering`), so less is done to what it says.
    weights: What `Controls.adapter` chooses among, a network for each of
      `Controls.adapters`; none where there are none.
  """

  def __init__(
    self,
    generator: Generator,
    *,
    settings: EngineSettings | None = None,
    controls: Controls | None = None,
    sampling: Sampling | None = None,
    steered: bool = False,
    weights: Sequence[Depthformer] = (),
  ):
    self.settings = settings or EngineSettings()
    self.controls = controls or Controls()
    if len(weights) != len(self.controls.adapters):
      raise ValueError(
        f"weights must be one network for each of the controls'"
        f" {len(self.controls.adapters)} adapters, got {len(weights)}."
      )
    self._sampling = sampling or Sampling()
    self._share = STEERED_SHARE if steered else 1.0
    self.planner = Planner(
      generator,
      context_s=self.settings.context_s,
      first_id=self.settings.first_id,
      weights=weights,
    )
    if weights:
      self.planner.choose(self.controls.adapter - 1)
    self.turns = TurnTaking(self.settings.turns)
    self.yielding = YieldPolicy()
    self.harmony = HeardHarmony()
    self.clock = ClockFollower()
    self.bars: Bars | None = None
    self._pending: list[PlayedFrame] = []
    self._opening: Iterator[DuetStream | None] | None = None
    self._opening_is_draft = False
    self._opened_ns = -SECOND * 3600
    # A reply prepared for the end of the phrase, and what it rests on.
    self._draft: DuetStream | None = None
    self._draft_inputs = -1
    self._inputs = 0
    self._commands: list[Command] = []
    self._replying = False
    self._reply_start_ns = 0
    self._rests = False
    # When the last plan was made, if only to rest.
    self.planned_at_ns = 0
    self._log: list[dict[str, Any]] = []
    self._set_plan_settings()

  # Settings.

  def set_controls(self, controls: Controls, now_ns: int) -> None:
    """Takes new controls; a change of mode ends what is being played.

    Raises:
      ValueError: Other adapters are at hand than at the start.
    """
    if controls.adapters != self.controls.adapters:
      raise ValueError("which adapters are at hand is said at the start.")
    before, self.controls = self.controls, controls
    self._set_plan_settings()
    if before.adapter != controls.adapter:
      self.planner.choose(controls.adapter - 1)
      # What has been encoded for later was by the weights before.
      self._opening = self._draft = None
    self._pending.clear()
    if before.mode != controls.mode or controls.muted != before.muted:
      self._stop(now_ns, Release(self.settings.interrupt_ns))
      self._abandon()
    self._note(now_ns, "controls", controls=controls._asdict())

  def _set_plan_settings(self) -> None:
    controls = self.controls
    self._loudness = round(controls.loudness * self._share)
    # Where nothing is asked, guidance would change nothing and cost a row.
    self.planner.guided = controls.guidance != 0.0 and self.planner.is_asked
    levels = self.planner.codec.levels
    base = level_sampling(self._sampling, levels)
    low, high = controls.register
    keys = np.zeros(128, bool)
    keys[low : high + 1] = True
    self._plan_settings = PlanSettings(
      base._replace(
        temperature=(base.temperature * controls.temperature).astype(np.float32)
      ),
      keys,
      pace=controls.density**self._share,
      guidance=controls.guidance,
      seed=self.settings.seed,
    )

  def set_horizon(self, horizon_ns: int) -> None:
    """Nothing is planned closer than this from here on.

    A machine that answers more slowly must plan further ahead, or what it
    plans is late before it arrives.
    """
    self.settings = dataclasses.replace(self.settings, horizon_ns=horizon_ns)

  def set_bars(self, bars: Bars | None) -> None:
    """The grid of bars from here on; None: free time."""
    if bars == self.bars:
      return
    self.bars = bars
    trade = self.settings.turns.trade_bars
    if bars is not None and trade:
      self.turns.trade(trade, lambda at_ns: bars.position(at_ns).bar)

  def warm_up(self, on_progress: Callable[[], None] = lambda: None) -> None:
    """Compiles everything; nothing compiles after it."""
    self.planner.warm_up(self._plan_settings, on_progress)

  # Input.

  def receive(self, message: Message) -> None:
    """The player did something."""
    planner, now_ns = self.planner, message.time_ns
    if message.data[0] >= 0xF0:
      if self.clock.hear(message):
        self.set_bars(self.clock.bars(now_ns))
      return
    answers = planner.partner.hear(message)
    self.turns.hear(message)
    self.yielding.hear(message)
    self.harmony.hear(message)
    if not answers:
      return
    self._inputs += 1
    data = message.data
    if data[0] >> 4 == 9:
      frame = planner.heard(now_ns, data[1], data[2])
    else:
      frame = planner.heard_pedal(now_ns, planner.partner.pedal_down)
    self._pending.append(frame)

  def set_style(self, rows: list[int] | None) -> None:
    """Rows of the style table from the next refresh on; None: masked."""
    self.planner.set_style(None if rows is None else np.array(rows, np.int32))
    self._set_plan_settings()

  def keyboard_lost(self, now_ns: int) -> None:
    """The player's keyboard vanished: nothing of theirs sounds on."""
    for key in self.planner.partner.held_keys:
      self.receive(Message(now_ns, bytes((0x80, key, 64))))
    if self.planner.partner.pedal_down:
      self.receive(Message(now_ns, bytes((0xB0, 64, 0))))

  def feedback(self, sounded: Sounded) -> None:
    """What became of a planned event."""
    if sounded.kind == "dropped":
      self.planner.unplay(sounded.id)
    elif sounded.kind == "on":
      self.harmony.sounded(sounded)

  def act(self, action: str, now_ns: int) -> None:
    """`hand_over`, `end` or `panic`."""
    self._note(now_ns, "action", action=action)
    if action == "hand_over":
      self.turns.hand_over(now_ns)
    elif action == "end":
      self._stop(now_ns, End())
      self._abandon()
      self.controls = self.controls._replace(mode="listen")
    elif action == "panic":
      self._stop(now_ns, Panic())
      self._abandon()

  def drain_log(self) -> list[dict[str, Any]]:
    """Decisions since the last call, for the session's record."""
    log, self._log = self._log, []
    return log

  def _note(self, now_ns: int, what: str, **details: Any) -> None:
    entry = {"time_ns": now_ns, "what": what, "inputs": self._inputs}
    self._log.append({**entry, **details})

  # What to do next.

  @property
  def replying(self) -> bool:
    """Whether it is the model's turn."""
    return self._replying

  def next_wake_ns(self, now_ns: int) -> int:
    """When `next_job` should be asked again, if nothing is heard."""
    wake = now_ns + 20 * MS
    deadline = self.turns.next_deadline_ns()
    if deadline is not None and deadline > now_ns:
      wake = min(wake, deadline)
    return wake

  def next_job(self, now_ns: int) -> Job | None:
    """The most urgent work, or None; decides about turns on the way."""
    self.planner.forget(now_ns)
    mode = "listen" if self.controls.muted else self.controls.mode
    turn = self.turns.tick(now_ns)
    if mode == "listen":
      self._pending.clear()
      return self._flush()
    if mode == "call-response":
      return self._flush() or self._next_in_turns(now_ns, turn)
    return self._flush() or self._next_together(now_ns)

  def _flush(self) -> Job | None:
    if not self._commands:
      return None
    commands, self._commands = self._commands, []
    return Job("none", 0, lambda now_ns: commands)

  def _stop(self, now_ns: int, command: Command) -> None:
    self._commands.append(command)
    self.planner.cut_own(now_ns)
    if self._replying:
      self.turns.reply_ended(now_ns)
    self._replying = False

  def _abandon(self) -> None:
    """What was prepared is of no use any more."""
    self._opening = None
    self._draft = None
    self.planner.use(None)
    self._opened_ns = -SECOND * 3600

  # Both at once.

  def _next_together(self, now_ns: int) -> Job | None:
    planner = self.planner
    clashing = ()
    if self.controls.release_clashes:
      clashing = self.yielding.clash(self._own_open_keys(now_ns), now_ns)
    if len(clashing):
      keys = tuple(int(key) for key in clashing)
      for note in planner.own.notes:
        if note.key in keys and (note.end_ns or 0) > now_ns > note.onset_ns:
          note.end_ns = now_ns
      self._note(now_ns, "release clashes", keys=keys)
      return Job("none", 0, lambda now: [Release(30 * MS, keys)])
    if planner.stream is None:
      self._pending.clear()
      return self._go_on_opening(now_ns, draft=False)
    if self._pending:
      return self._react_job(now_ns)
    if pedal_blurs(planner.own, now_ns):
      return Job("none", 0, self._lift_pedal)
    if self._opening is not None or planner.outdated:
      return self._go_on_opening(now_ns, draft=False)
    wants = self._wants_more(now_ns)
    if wants:
      return wants
    due = now_ns - self._opened_ns >= self.settings.refresh_ns
    if due or planner.stream.room < 48:
      return self._go_on_opening(now_ns, draft=False)
    return None

  def _lift_pedal(self, now_ns: int) -> list[Command]:
    from_ns = now_ns + self.settings.horizon_ns
    self.planner.commit(from_ns)
    if not self.planner.own.pedal_down:
      return []
    up = self.planner.pedal_up(from_ns)
    return [Replan(from_ns, (up, *self.planner.planned))]

  def _own_open_keys(self, now_ns: int) -> list[int]:
    return [
      note.key
      for note in self.planner.own.notes
      if note.onset_ns <= now_ns < (note.end_ns or 0)
    ]

  def _react_job(self, now_ns: int) -> Job:
    pending, self._pending = self._pending, []
    stream = self.planner.stream
    assert stream is not None
    oldest = now_ns - pending[0].known_ns
    if oldest > self.settings.backlog_ns or len(pending) + 8 > stream.room:
      return Job(
        "refresh", len(pending), lambda now: self._refresh_now(now, pending)
      )
    return Job("react", len(pending), lambda now: self._react(now, pending))

  def _react(self, now_ns: int, pending: list[PlayedFrame]) -> list[Command]:
    self.planner.commit(now_ns + self.settings.horizon_ns)
    self.planner.append(pending)
    times = tuple(frame.known_ns for frame in pending)
    return self._plan_first(now_ns, times, "react")

  def _refresh_now(
    self, now_ns: int, pending: list[PlayedFrame]
  ) -> list[Command]:
    """Encodes in one go: appending so much would take longer."""
    self._opening = None
    self._begin_opening(now_ns, draft=False)
    assert self._opening is not None
    self.planner.commit(now_ns + self.settings.horizon_ns)
    stream = _last(self._opening)
    self._opening = None
    times = tuple(frame.known_ns for frame in pending)
    return self._swap(now_ns, stream, times)

  def _decide(self, now_ns: int) -> tuple[PlanSettings, int, bool]:
    """Settings, loudness and whether to rest, both at once."""
    settings, loudness = self._plan_settings, self._loudness
    if self._replying:
      return settings, loudness, False
    decided = self.yielding.decide(now_ns, solo=self.controls.solo)
    rests = decided.level == "rest"
    keys = settings.keys & decided.keys_allowed
    if not keys.any():
      rests = True
    pace = settings.pace * decided.hazard * entrance(self.planner.own, now_ns)
    return (
      settings._replace(keys=keys, pace=pace),
      loudness + int(decided.velocity_offset),
      rests,
    )

  def _plan_first(
    self, now_ns: int, times: tuple[int, ...], why: str
  ) -> list[Command]:
    planner = self.planner
    from_ns = now_ns + self.settings.horizon_ns
    settings, loudness, rests = self._decide(now_ns)
    self._rests = rests
    self.planned_at_ns = now_ns
    if rests:
      planner.drop_plan()
      self._note(now_ns, "rest")
      return [Replan(from_ns, (), times, "rest")]
    planner.plan(
      settings,
      events=1,
      earliest_ns=from_ns,
      max_gap_ns=self._max_gap_ns(now_ns),
      end_ns=self._latest_end_ns(),
      may_end=self._may_end(now_ns),
      loudness=loudness,
    )
    self._note(now_ns, why, seed=settings.seed)
    return [Replan(from_ns, tuple(planner.planned), times, why)]

  def _wants_more(self, now_ns: int) -> Job | None:
    """A deeper plan, where the present one does not reach far."""
    planner = self.planner
    stream = planner.stream
    if stream is None or self._rests or planner.ended or stream.room < 8:
      return None
    reach = planner.planned[-1].time_ns if planner.planned else now_ns
    if reach - now_ns >= self.settings.lookahead_ns:
      return None
    end_ns = self._latest_end_ns()
    if end_ns is not None and reach >= end_ns:
      return None
    return Job("deeper", 4, self._deeper)

  def _deeper(self, now_ns: int) -> list[Command]:
    planner = self.planner
    from_ns = now_ns + self.settings.horizon_ns
    planner.commit(from_ns)
    settings, loudness, _ = self._decide(now_ns)
    new = planner.plan(
      settings,
      events=4,
      earliest_ns=from_ns,
      max_gap_ns=self._max_gap_ns(now_ns),
      end_ns=self._latest_end_ns(),
      may_end=self._may_end(now_ns),
      loudness=loudness,
    )
    if not new:
      # What comes next lies too far off to say now.
      self._rests = True
      return []
    return [Replan(from_ns, tuple(planner.planned), (), "deeper")]

  # Refresh.

  def _go_on_opening(self, now_ns: int, *, draft: bool) -> Job:
    if self._opening is None or self._opening_is_draft != draft:
      self._begin_opening(now_ns, draft=draft)
    return Job("encode", 1, self._encode_slice)

  def _begin_opening(
    self, now_ns: int, *, draft: bool, origin_ns: int | None = None
  ) -> None:
    self._opening_is_draft = draft
    origin_ns = now_ns if origin_ns is None else origin_ns
    if draft:
      deadline = self.turns.next_deadline_ns()
      origin_ns = max(now_ns, deadline if deadline is not None else now_ns)
    self._opened_ns = now_ns
    self._draft_inputs = self._inputs if draft else self._draft_inputs
    origin_step = (origin_ns + STEP_NS // 2) // STEP_NS
    self._opening = self.planner.open_stream(origin_step, self._injection)

  def _injection(self, player: Score, own: Score) -> tuple[Score, Score]:
    mode = self.controls.injection
    if mode == "both":
      return own, player
    return inject(player, own, mode, mix_ratio=self.controls.mix_ratio)

  def _encode_slice(self, now_ns: int) -> list[Command]:
    if self._opening is None:
      return []
    if not self._opening_is_draft:
      # What is about to be played belongs to the new stream too.
      self.planner.commit(now_ns + self.settings.horizon_ns)
    stream = next(self._opening)
    if stream is None:
      return []
    self._opening = None
    if self._opening_is_draft:
      self._draft = stream
      return []
    # The stream holds all that is known by now, what is pending included.
    times = tuple(frame.known_ns for frame in self._pending)
    self._pending.clear()
    return self._swap(now_ns, stream, times)

  def _swap(
    self, now_ns: int, stream: DuetStream | None, times: tuple[int, ...]
  ) -> list[Command]:
    self.planner.use(stream)
    return self._plan_first(now_ns, times, "refresh")

  # Taking turns.

  def _next_in_turns(self, now_ns: int, turn: Turn | None) -> Job | None:
    if turn is not None and turn.kind == "interrupted" and self._replying:
      self._note(now_ns, "interrupted", why=turn.reason)
      self._stop(now_ns, Release(self.settings.interrupt_ns))
      self._abandon()
      self._pending.clear()
      return self._flush()
    if turn is not None and turn.kind == "phrase_end" and not self._replying:
      return Job("reply", 1, self._begin_reply)
    if self._replying:
      return self._next_in_reply(now_ns)
    self._pending.clear()
    # While the player is silent: have the reply ready.
    deadline = self.turns.next_deadline_ns()
    if deadline is None or deadline - now_ns > DRAFT_NS:
      return None
    fresh = self._draft is not None and self._draft_inputs == self._inputs
    if fresh and self._draft is not None:
      origin_ns = self._draft.origin_step * STEP_NS
      fresh = abs(deadline - origin_ns) <= 30 * MS
    if fresh:
      return None
    if self._opening is not None and self._draft_inputs != self._inputs:
      self._opening = None
    return self._go_on_opening(now_ns, draft=True)

  def _begin_reply(self, now_ns: int) -> list[Command]:
    planner = self.planner
    self._replying = True
    self._rests = False
    self._reply_start_ns = now_ns
    self._pending.clear()
    self.turns.reply_started(now_ns)
    ready = self._draft is not None and self._draft_inputs == self._inputs
    stream, self._draft = self._draft, None
    self._opening = None
    from_ns = now_ns + self.settings.horizon_ns
    starts_ns = self._place_in_bar(stream, from_ns)
    if not ready or starts_ns > from_ns:
      self._begin_opening(now_ns, draft=False, origin_ns=starts_ns)
      assert self._opening is not None
      stream = _last(self._opening)
      self._opening = None
    self._opened_ns = max(now_ns, starts_ns)
    self._reply_start_ns = starts_ns
    planner.use(stream)
    from_ns = starts_ns
    settings, loudness, _ = self._decide(now_ns)
    planner.plan(
      settings,
      events=1,
      earliest_ns=from_ns,
      latest_ns=from_ns + self.settings.reply_within_ns,
      note_first=True,
      may_end=False,
      loudness=loudness,
    )
    self._note(now_ns, "reply", drafted=ready, seed=settings.seed)
    return [Replan(from_ns, tuple(planner.planned), (now_ns,), "reply")]

  def _place_in_bar(self, draft: DuetStream | None, from_ns: int) -> int:
    """When a reply begins: at once, or where it was meant to in a bar."""
    if self.bars is None or draft is None:
      return from_ns
    planned_ns = draft.origin_step * STEP_NS
    if from_ns - planned_ns <= LATE_NS:
      return from_ns
    return planned_ns + self.bars.next_same_position(planned_ns, from_ns)

  def _next_in_reply(self, now_ns: int) -> Job | None:
    planner = self.planner
    if self._reply_is_over(now_ns):
      self._note(now_ns, "reply ends")
      self._commands.append(End())
      planner.drop_plan()
      planner.own.pedal(now_ns, False)
      self._replying = False
      self._abandon()
      self._pending.clear()
      self.turns.reply_ended(now_ns)
      return self._flush()
    if planner.stream is None:
      return self._go_on_opening(now_ns, draft=False)
    if self._pending:
      return self._react_job(now_ns)
    if self._opening is not None or planner.outdated:
      return self._go_on_opening(now_ns, draft=False)
    wants = self._wants_more(now_ns)
    if wants:
      return wants
    due = now_ns - self._opened_ns >= 2 * self.settings.refresh_ns
    if due or planner.stream.room < 48:
      return self._go_on_opening(now_ns, draft=False)
    return None

  def _reply_is_over(self, now_ns: int) -> bool:
    """Whether the reply has said enough; changes nothing."""
    planned = self.planner.planned
    committed_ns = now_ns + self.settings.horizon_ns
    last_ns = self._reply_start_ns
    if self.planner.own.notes:
      last_ns = max(last_ns, self.planner.own.notes[-1].onset_ns)
    for event in planned:
      if event.time_ns < committed_ns:
        last_ns = max(last_ns, event.time_ns)
    coming = [e.time_ns for e in planned if e.time_ns >= committed_ns]
    # With the next note about to come, only a true gap before it ends.
    soon = bool(coming) and coming[0] - now_ns < 200 * MS
    if soon and coming[0] - last_ns < 400 * MS:
      return False
    silent = not coming and (self.planner.ended or self._rests)
    if silent and now_ns > last_ns + 100 * MS:
      return True
    return self.turns.reply_should_end(now_ns, self._reply_start_ns, last_ns)

  @property
  def _reply(self) -> Reply | None:
    """The model's turn, while it has it."""
    if not self._replying:
      return None
    trades = self.bars is not None and self.settings.turns.trade_bars > 0
    return Reply(self._reply_start_ns, self.turns.call, by_bars=trades)

  def _may_end(self, now_ns: int) -> bool:
    reply = self._reply
    if reply is None:
      # Joining in: something comes, sooner or later.
      return entrance(self.planner.own, now_ns) < 2.0
    return reply.may_end(now_ns)

  def _max_gap_ns(self, now_ns: int) -> int | None:
    return None if self._reply is None else self._reply.max_gap_ns(now_ns)

  def _latest_end_ns(self) -> int | None:
    return None if self._reply is None else self._reply.latest_end_ns


def _last(opening: Iterator[DuetStream | None]) -> DuetStream | None:
  """Encodes in one go."""
  stream = None
  for stream in opening:  # noqa: B007
    pass
  return stream
