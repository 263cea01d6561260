"""Plan of the model: events drawn ahead of time and kept up to date.

The planner knows what both players did and holds one stream. It appends what
the player does, draws the next events, and encodes the context again. When
the model plays, and how, is the strategy's decision, see `strategy`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.generate.duet.stream import DuetStream, PlanSettings
from magenta_midi.live.engine.context_encoder import (
  STEP_NS,
  ContextEncoder,
  Injection,
)
from magenta_midi.live.engine.settings import EngineSettings
from magenta_midi.live.player import NoteHistory, Player, PlayerEvent
from magenta_midi.live.protocol.commands import Command, Job, Replan
from magenta_midi.live.protocol.events import SECOND, PlannedNote, PlannedPedal
from magenta_midi.tokens.frames import MODEL
from magenta_midi.tokens.note.codec import KEYS, PEDAL_DOWN, PEDAL_UP
from magenta_midi.tokens.vocabulary import UNUSED

__all__ = ["Intent", "PlayedFrame", "Planner"]

# Frames kept, so that a new stream can hold what happened since its *now*.
_RECENT_NS = 8 * SECOND
# A time before every session.
_NEVER_NS = -3600 * SECOND
# A stream with less room is opened anew while there is time.
_ROOM = 48


class PlayedFrame(NamedTuple):
  """An event of either player, as a stream takes it.

  Attributes:
    step: Of the session, 10 ms.
    known_ns: When it became known: a stream's order.
    codes: Its levels; the onset level is computed by the stream.
    by_model: Whether the model played it.
  """

  step: int
  known_ns: int
  codes: tuple[int, ...]
  by_model: bool


class Intent(NamedTuple):
  """How the model plays next, by decision of a strategy.

  Attributes:
    settings: How events are drawn.
    loudness: Added to each velocity.
    rests: Whether nothing is planned at all.
    may_end: Whether the model may fall silent.
    max_gap_ns: Each event begins at most so long after the one before.
    end_ns: What would begin here or later is left for another time.
  """

  settings: PlanSettings
  loudness: int = 0
  rests: bool = False
  may_end: bool = True
  max_gap_ns: int | None = None
  end_ns: int | None = None


Decide = Callable[[int], Intent]


class Planner:
  """The model's plan, and the jobs that keep it up to date.

  Args:
    encoder: Opens streams.
    plan_settings: How events are drawn if the strategy changes nothing.
    settings: Of the engine.

  Attributes:
    player: The player's keys, pedal and latest notes.
    model: What the model played lately, and what is committed.
    stream: The one that is played from; None: none is open.
    planned: Planned events beside the stream's planned frames, in its order.
    pending: Events of the player that the stream does not hold yet.
    inputs: How many events of the player have been answered so far.
    draft: A stream that was opened ahead of time, for a reply.
    planned_at_ns: When the last plan was made, if only to rest.
    loudness: Added to each velocity.
    injection: Changes what the context holds of both players' music.
  """

  def __init__(
    self,
    encoder: ContextEncoder,
    plan_settings: PlanSettings,
    *,
    settings: EngineSettings | None = None,
  ):
    self.encoder = encoder
    self.plan_settings = plan_settings
    self.settings = settings or EngineSettings()
    self.loudness = 0
    self.injection: Injection | None = None
    self.player = Player()
    self.model = NoteHistory()
    self.stream: DuetStream | None = None
    self.planned: list[PlannedNote | PlannedPedal] = []
    self.pending: list[PlayedFrame] = []
    self.inputs = 0
    self.planned_at_ns = 0
    self.draft: DuetStream | None = None
    self._draft_inputs = -1
    self._opening: Iterator[DuetStream | None] | None = None
    self._opening_is_draft = False
    self._opened_ns = _NEVER_NS
    self._rests = False
    self._recent: list[PlayedFrame] = []
    self._next_id = self.settings.first_id
    self._log: list[dict[str, Any]] = []

  # Events.

  def handle(self, event: PlayerEvent) -> None:
    """The player did something: a new note, or the pedal, is answered."""
    config = self.encoder.codec.config
    if event.note is not None:
      velocity = np.array([event.note.velocity])
      level = int(config.velocity_to_code(velocity)[0])
      self._answer(event.time_ns, (0, event.note.key, level, config.held))
    elif event.kind == "pedal":
      key = PEDAL_DOWN if self.player.keyboard.pedal_down else PEDAL_UP
      self._answer(event.time_ns, (0, key, UNUSED, UNUSED))

  def _answer(self, time_ns: int, codes: tuple[int, ...]) -> None:
    step = (time_ns + STEP_NS // 2) // STEP_NS
    frame = PlayedFrame(step, time_ns, codes, by_model=False)
    self._recent.append(frame)
    self.pending.append(frame)
    self.inputs += 1

  def forget(self, now_ns: int) -> None:
    """Drops what can no longer matter."""
    self.model.forget(now_ns)
    self.player.history.forget(now_ns)
    oldest = now_ns - _RECENT_NS
    if self._recent and self._recent[0].known_ns < oldest:
      self._recent = [f for f in self._recent if f.known_ns >= oldest]

  def note(self, now_ns: int, what: str, **details: Any) -> None:
    """Adds a decision to the session's record."""
    entry = {"time_ns": now_ns, "what": what, "inputs": self.inputs}
    self._log.append({**entry, **details})

  def drain_log(self) -> list[dict[str, Any]]:
    """Decisions since the last call."""
    log, self._log = self._log, []
    return log

  # Jobs while the model plays.

  @property
  def horizon_ns(self) -> int:
    """The commit horizon."""
    return self.settings.horizon_ns

  def react_job(self, now_ns: int, decide: Decide) -> Job:
    """Answers the pending events."""
    pending, self.pending = self.pending, []
    stream = self.stream
    assert stream is not None
    oldest_ns = now_ns - pending[0].known_ns
    late = oldest_ns > self.settings.backlog_ns
    if late or len(pending) + 8 > stream.room:
      # Appending so much would take longer than encoding it.
      return Job(
        "refresh",
        len(pending),
        lambda now: self._refresh(now, pending, decide),
      )
    return Job(
      "react", len(pending), lambda now: self._react(now, pending, decide)
    )

  def _react(
    self, now_ns: int, pending: list[PlayedFrame], decide: Decide
  ) -> list[Command]:
    self.commit(now_ns + self.horizon_ns)
    assert self.stream is not None
    self._append(self.stream, pending)
    self.planned = []
    times = tuple(frame.known_ns for frame in pending)
    return self._plan_first(now_ns, decide, times, "react")

  def _refresh(
    self, now_ns: int, pending: list[PlayedFrame], decide: Decide
  ) -> list[Command]:
    self.commit(now_ns + self.horizon_ns)
    stream = self.open_whole(now_ns, now_ns)
    times = tuple(frame.known_ns for frame in pending)
    return self._swap(now_ns, stream, decide, times)

  def _plan_first(
    self, now_ns: int, decide: Decide, times: tuple[int, ...], why: str
  ) -> list[Command]:
    from_ns = now_ns + self.horizon_ns
    intent = decide(now_ns)
    self._rests = intent.rests
    self.planned_at_ns = now_ns
    if intent.rests:
      self.drop_plan()
      self.note(now_ns, "rest")
      return [Replan(from_ns, (), times, "rest")]
    self.plan(intent, events=1, earliest_ns=from_ns)
    self.note(now_ns, why, seed=intent.settings.seed)
    return [Replan(from_ns, tuple(self.planned), times, why)]

  def deeper_job(
    self, now_ns: int, decide: Decide, end_ns: int | None = None
  ) -> Job | None:
    """A deeper plan, where the present one does not reach far.

    Args:
      now_ns: The time.
      decide: How the model plays, asked when the job runs.
      end_ns: Nothing is planned from here on; None: no such limit.
    """
    stream = self.stream
    if stream is None or self._rests or self.ended or stream.room < 8:
      return None
    reach_ns = self.planned[-1].time_ns if self.planned else now_ns
    if reach_ns - now_ns >= self.settings.lookahead_ns:
      return None
    if end_ns is not None and reach_ns >= end_ns:
      return None
    return Job("deeper", 4, lambda now: self._deeper(now, decide))

  def _deeper(self, now_ns: int, decide: Decide) -> list[Command]:
    from_ns = now_ns + self.horizon_ns
    self.commit(from_ns)
    if not self.plan(decide(now_ns), events=4, earliest_ns=from_ns):
      # The next event is too far ahead to be drawn now.
      self._rests = True
      return []
    return [Replan(from_ns, tuple(self.planned), (), "deeper")]

  @property
  def rests(self) -> bool:
    """Whether nothing is planned until the next answer or refresh."""
    return self._rests

  # Refresh: the context is encoded again, slice by slice.

  @property
  def outdated(self) -> bool:
    """Whether the stream that is played from has other weights."""
    return self.stream is not None and not self.encoder.has_weights_of(
      self.stream
    )

  @property
  def is_opening(self) -> bool:
    """Whether a stream is being opened, or has to be."""
    return self._opening is not None or self.outdated

  def refresh_due(self, now_ns: int, refresh_ns: int) -> bool:
    """Whether the context was encoded so long ago, or the stream is full."""
    assert self.stream is not None
    due = now_ns - self._opened_ns >= refresh_ns
    return due or self.stream.room < _ROOM

  def encode_job(self, now_ns: int, decide: Decide) -> Job:
    """The next slice; after the last one the new stream is played from."""
    if self._opening is None or self._opening_is_draft:
      self._begin_opening(now_ns, now_ns, draft=False)
    return Job("encode", 1, lambda now: self._encode_slice(now, decide))

  def _begin_opening(self, now_ns: int, origin_ns: int, *, draft: bool) -> None:
    self._opening_is_draft = draft
    self._opened_ns = now_ns
    if draft:
      self._draft_inputs = self.inputs
    self._opening = self.open_stream((origin_ns + STEP_NS // 2) // STEP_NS)

  def _encode_slice(self, now_ns: int, decide: Decide) -> list[Command]:
    if self._opening is None:
      return []
    # Events that are about to be played belong to the new stream too.
    self.commit(now_ns + self.horizon_ns)
    stream = next(self._opening)
    if stream is None:
      return []
    self._opening = None
    # The stream holds all that is known by now, what is pending included.
    times = tuple(frame.known_ns for frame in self.pending)
    self.pending.clear()
    return self._swap(now_ns, stream, decide, times)

  def _swap(
    self,
    now_ns: int,
    stream: DuetStream,
    decide: Decide,
    times: tuple[int, ...],
  ) -> list[Command]:
    self.use(stream)
    return self._plan_first(now_ns, decide, times, "refresh")

  # A draft: the stream of a reply, opened before the reply begins.

  @property
  def draft_is_current(self) -> bool:
    """Whether the draft holds all that the player did."""
    return self.draft is not None and self._draft_inputs == self.inputs

  def draft_job(self, now_ns: int, origin_ns: int) -> Job:
    """The next slice of a draft; one that is not current begins anew.

    Args:
      now_ns: The time.
      origin_ns: When the reply is expected to begin.
    """
    stale = self._draft_inputs != self.inputs
    if self._opening is None or not self._opening_is_draft or stale:
      self._begin_opening(now_ns, origin_ns, draft=True)
    return Job("encode", 1, lambda now: self._draft_slice())

  def _draft_slice(self) -> list[Command]:
    if self._opening is not None:
      stream = next(self._opening)
      if stream is not None:
        self.draft, self._opening = stream, None
    return []

  def begin_from_draft(self, now_ns: int, starts_ns: int, *, new: bool) -> None:
    """Plays from the draft, or from a stream that begins at a time.

    Args:
      now_ns: The time.
      starts_ns: When the first event may begin.
      new: Whether the draft cannot be used, so that all is encoded at once.
    """
    stream, self.draft = self.draft, None
    self._opening = None
    if new:
      stream = self.open_whole(now_ns, starts_ns)
    self._opened_ns = max(now_ns, starts_ns)
    self._rests = False
    self.use(stream)

  # Streams.

  def open_stream(self, origin_step: int) -> Iterator[DuetStream | None]:
    """Encodes everything before a step; the last item is the stream.

    Other items are None, a few milliseconds apart. The stream holds what
    became known since and lies at the step or later.

    Args:
      origin_step: *Now*, in steps of the session.
    """
    opening = self.encoder.open(
      origin_step,
      player=self.player,
      model=self.model,
      inject=self.injection,
    )
    for stream in opening:
      if stream is not None:
        since = sorted(
          (f for f in self._recent if f.step >= origin_step),
          key=lambda f: (f.known_ns, not f.by_model),
        )
        self._append(stream, since)
      yield stream

  def open_whole(self, now_ns: int, origin_ns: int) -> DuetStream:
    """Encodes in one go."""
    self._begin_opening(now_ns, origin_ns, draft=False)
    assert self._opening is not None
    *_, stream = self._opening
    self._opening = None
    assert stream is not None
    return stream

  def use(self, stream: DuetStream | None) -> None:
    """Makes a stream the one that is played from."""
    self.stream = stream
    self.planned = []

  def drop_openings(self) -> None:
    """Forgets what has been encoded for later."""
    self._opening = self.draft = None

  def stop(self) -> None:
    """Forgets every stream; what was played stays in the context."""
    self.drop_openings()
    self.use(None)
    self._opened_ns = _NEVER_NS

  def _append(self, stream: DuetStream, frames: Sequence[PlayedFrame]) -> None:
    """Appends what fits; the newest matter most."""
    frames = frames[-stream.room :] if stream.room else []
    if not frames:
      return
    player_part = self.encoder.player_part
    part = [MODEL if f.by_model else player_part for f in frames]
    step = np.array([f.step for f in frames], np.int32) - stream.origin_step
    stream.append(
      np.array([f.codes for f in frames], np.int32),
      # Clocks of ports may disagree by a little: nothing lies before now.
      np.maximum(step, 0).astype(np.int32),
      np.array(part, np.int32),
    )

  # Plans.

  def commit(self, before_ns: int) -> None:
    """Planned events before a time count as played from here on."""
    count = sum(event.time_ns < before_ns for event in self.planned)
    if not count or self.stream is None:
      return
    frames = self.stream.commit(count)
    for event, codes in zip(self.planned, frames.codes, strict=False):
      self._recent.append(
        PlayedFrame(
          event.time_ns // STEP_NS,
          event.time_ns,
          tuple(int(code) for code in codes),
          by_model=True,
        )
      )
      if isinstance(event, PlannedNote):
        self.model.add(
          event.time_ns,
          event.key,
          event.velocity,
          end_ns=event.time_ns + event.duration_ns,
          id=event.id,
        )
      else:
        self.model.pedal(event.time_ns, event.down)
    self.planned = self.planned[count:]

  def unplay(self, id: int) -> None:
    """A committed event did not sound after all."""
    self.model.notes = [n for n in self.model.notes if n.id != id]

  def cut(self, now_ns: int) -> None:
    """Every note of the model ends now, and its pedal comes up."""
    for note in self.model.notes:
      if note.end_ns is not None and note.end_ns > now_ns > note.onset_ns:
        note.end_ns = now_ns
    self.model.pedal(now_ns, False)
    self.drop_plan()

  def cut_keys(self, now_ns: int, keys: Sequence[int]) -> None:
    """The model's notes of some keys end now; the plan goes on."""
    for note in self.model.notes:
      if note.key in keys and (note.end_ns or 0) > now_ns > note.onset_ns:
        note.end_ns = now_ns

  def drop_plan(self) -> None:
    """Forgets what is planned and not committed."""
    if self.stream is not None:
      self.stream.drop_plan()
    self.planned = []

  def plan(
    self,
    intent: Intent,
    *,
    events: int,
    earliest_ns: int,
    latest_ns: int | None = None,
    note_first: bool = False,
  ) -> int:
    """Draws events of the model after those already planned.

    Args:
      intent: How.
      events: Most new ones.
      earliest_ns: Nothing begins before it.
      latest_ns: The first begins before it, if anything may.
      note_first: Whether the first must be a note.

    Returns:
      How many are new.
    """
    stream = self.stream
    assert stream is not None
    origin_ns = stream.origin_step * STEP_NS
    limits = {}
    if latest_ns is not None:
      limits["latest_step"] = max(1, -((origin_ns - latest_ns) // STEP_NS))
    if intent.end_ns is not None:
      limits["end_step"] = max(1, -((origin_ns - intent.end_ns) // STEP_NS))
    if intent.max_gap_ns is not None:
      limits["max_gap"] = max(1, intent.max_gap_ns // STEP_NS)
    had = len(self.planned)
    plan = stream.plan(
      intent.settings,
      events=events,
      earliest_step=max(0, -((origin_ns - earliest_ns) // STEP_NS)),
      may_end=intent.may_end,
      note_first=note_first,
      **limits,
    )
    for codes, step in zip(
      plan.frames.codes[had:], plan.frames.step[had:], strict=True
    ):
      self.planned.append(
        self._event(codes, origin_ns + int(step) * STEP_NS, intent.loudness)
      )
    return len(self.planned) - had

  def _event(
    self, codes: np.ndarray, time_ns: int, loudness: int
  ) -> PlannedNote | PlannedPedal:
    id, self._next_id = self._next_id, self._next_id + 1
    _, key, velocity, duration = (int(code) for code in codes)
    if key >= KEYS:
      return PlannedPedal(id, time_ns, key == PEDAL_DOWN)
    config = self.encoder.codec.config
    seconds = float(config.duration_table_s[duration])
    loud = int(config.code_to_velocity(np.array([velocity]))[0]) + loudness
    return PlannedNote(
      id, time_ns, round(seconds * SECOND), key, min(max(loud, 1), 127)
    )

  def pedal_up(self, time_ns: int) -> PlannedPedal:
    """A pedal-up that the model did not plan."""
    id, self._next_id = self._next_id, self._next_id + 1
    self.model.pedal(time_ns, False)
    return PlannedPedal(id, time_ns, False)

  @property
  def ended(self) -> bool:
    """Whether by the model nothing follows what is planned."""
    return self.stream is not None and self.stream.planned.ended
