"""Replay of a recording into the session on a virtual clock.

The same engine and performer as live; time advances by a table of costs, so
two runs are identical to the byte and faster than real time.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.engine.style_control import STEP_NS, Steering
from magenta_midi.live.engine.timekeeper import Timekeeper
from magenta_midi.live.performer.comp import Comp
from magenta_midi.live.performer.performer import Performer
from magenta_midi.live.protocol.commands import (
  Command,
  End,
  Panic,
  Release,
  Replan,
)
from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
)
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.engine_trace import TracedEngine
from magenta_midi.live.recording.metrics import Meters
from magenta_midi.live.timing.bars import Bars, is_another
from magenta_midi.midi.analysis.played_groove import PlayedGroove
from magenta_midi.midi.groove import split_groove

__all__ = ["Replay", "ReplayResult", "stuck_notes"]

# Played on after the recording's end: the last reply, and its ring.
TAIL_NS = 20 * SECOND


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayResult:
  """Result of a replay.

  Attributes:
    sent: Messages of the model, in order.
    received: Messages of the player.
    seconds: Length of the session.
    report: Figures; see `Meters.report`.
    trace: The engine's calls, to play it again.
    log: Its decisions.
    comp: Messages of the comp, in order.
    bars: Since when which bars counted, in order.
  """

  sent: list[Message]
  received: list[Message]
  seconds: float
  report: dict[str, Any]
  trace: list[list[Any]]
  log: list[dict[str, Any]]
  comp: list[Message] = dataclasses.field(default_factory=list)
  bars: list[tuple[int, Bars]] = dataclasses.field(default_factory=list)


class Replay:
  """One run.

  Args:
    engine: Need not be warmed up: no real clock is used.
    performer: Performer for the engine's plan.
    costs: Duration of each job.
    steering: Style and controls of the model, already set; None: no style.
    timekeeper: Finds the beat; None: there is none.
    comp: Plays the chart where the beat is; None: nobody does.
  """

  def __init__(
    self,
    engine: Engine,
    performer: Performer,
    costs: CostTable,
    steering: Steering | None = None,
    timekeeper: Timekeeper | None = None,
    comp: Comp | None = None,
  ):
    self.trace: list[list[Any]] = []
    self._engine = TracedEngine(engine, self.trace.append)
    self._plain = engine
    self._performer = performer
    self._costs = costs
    self._steering = steering
    self._timekeeper = timekeeper
    self._comp = comp
    self._comped: list[Message] = []
    self._bars: list[tuple[int, Bars]] = []
    self._steered_ns = -STEP_NS
    self._meters = Meters(engine.settings.horizon_ns)
    self._sent: list[Message] = []
    self._inbox: list[Message] = []
    # The ports' side has got so far.
    self._reached_ns = 0

  def take_groove(self, grooves: Mapping[str, PlayedGroove]) -> None:
    """Gives the engine the player's groove that its controls name."""
    name, _ = split_groove(self._plain.controls.groove)
    if name in grooves:
      self._engine.add_groove(name, grooves[name].density.tolist())

  def run(
    self,
    messages: Sequence[Message],
    *,
    actions: Sequence[tuple[int, str]] = (),
    tail_ns: int = TAIL_NS,
    on_progress: Callable[[float], None] = lambda seconds: None,
  ) -> ReplayResult:
    """Plays the messages in.

    Args:
      messages: The player's, in order of time.
      actions: Times and names of actions (`hand_over`, `end`, `panic`).
      tail_ns: How long it goes on after the last message.
      on_progress: Called with the session's time, s.
    """
    end_ns = (messages[-1].time_ns if messages else 0) + tail_ns
    waiting = list(messages)[::-1]
    asked = sorted(actions)[::-1]
    now_ns = 0
    log: list[dict[str, Any]] = []
    next_progress = 0
    while now_ns < end_ns:
      self._deliver()
      while asked and asked[-1][0] <= now_ns:
        self._engine.act(asked.pop()[1], now_ns)
      self._steer(now_ns)
      self._keep_time(now_ns)
      job = self._engine.next_job(now_ns)
      if job is None:
        wake = min(self._plain.next_wake_ns(now_ns), end_ns)
        if waiting:
          wake = min(wake, waiting[-1].time_ns)
        if asked:
          wake = min(wake, asked[-1][0])
        now_ns = max(now_ns + 1, wake)
        self._advance(now_ns, waiting)
      else:
        commands = job.run(now_ns)
        now_ns += self._costs.ns(job.name, job.units)
        self._advance(now_ns, waiting)
        for command in commands:
          self._apply(command, now_ns)
        # Events that are already due are sent at once.
        self._advance(now_ns, waiting)
      self._tick(now_ns)
      log += self._plain.drain_log()
      if now_ns >= next_progress:
        on_progress(now_ns / SECOND)
        next_progress = now_ns + SECOND
    self._sent += self._performer.close(now_ns)
    if self._comp is not None:
      self._comped += self._comp.silence(now_ns)
    self._deliver()
    return ReplayResult(
      sent=self._sent,
      received=list(messages),
      seconds=now_ns / SECOND,
      report=self._report(messages),
      trace=self.trace,
      log=log,
      comp=self._comped,
      bars=self._bars,
    )

  def _steer(self, now_ns: int) -> None:
    if self._steering is None or now_ns - self._steered_ns < STEP_NS:
      return
    self._steered_ns = now_ns
    player = self._plain.planner.player.history
    changed, rows = self._steering.changed_rows(player, now_ns)
    if changed:
      self._engine.set_style(rows)

  def _keep_time(self, now_ns: int) -> None:
    if self._timekeeper is not None and self._timekeeper.advance(now_ns):
      beat = self._timekeeper.beat
      self._engine.set_bars(beat.bars, triplets=beat.triplets)
      if self._comp is not None:
        self._comp.set_bars(beat.bars, now_ns)
      before = self._bars[-1][1] if self._bars else None
      if beat.bars is not None and is_another(beat.bars, before, now_ns):
        self._bars.append((now_ns, beat.bars))

  def _deliver(self) -> None:
    inbox, self._inbox = self._inbox, []
    for message in inbox:
      self._engine.receive(message)
      if self._timekeeper is not None:
        self._timekeeper.receive(message)
    for sounded in self._performer.feedback():
      self._engine.feedback(sounded)

  def _advance(self, to_ns: int, waiting: list[Message]) -> None:
    """The ports' side up to a time: inputs and what is due, in order."""
    while True:
      due = self._performer.next_due_ns()
      next_ns = waiting[-1].time_ns if waiting else to_ns + 1
      first = min(to_ns + 1 if due is None else due, next_ns)
      if first > to_ns:
        self._reached_ns = max(self._reached_ns, to_ns)
        self._play_comp(to_ns)
        return
      if next_ns <= first:
        message = waiting.pop()
        self._performer.receive(message)
        self._play_comp(message.time_ns, message)
        self._inbox.append(message)
      else:
        # A plan that arrives late is played late, not in the past.
        self._send(max(first, self._reached_ns))

  def _play_comp(self, now_ns: int, played: Message | None = None) -> None:
    """The comp up to a time, and what the player played then."""
    if self._comp is not None:
      self._comped += self._comp.due(now_ns)
      if played is not None:
        self._comp.receive(played)

  def _send(self, now_ns: int) -> None:
    for message in self._performer.due(now_ns):
      self._meters.jitter_ms.append(max(0.0, (now_ns - message.time_ns) / 1e6))
      self._sent.append(Message(now_ns, message.data))
      if is_note_on(message.data):
        self._meters.note_sent(now_ns)

  def _apply(self, command: Command, now_ns: int) -> None:
    performer, meters = self._performer, self._meters
    match command:
      case Replan(from_ns, events, reacts_to, why):
        performer.plan(from_ns, events)
        meters.planned(now_ns)
        if why == "reply":
          meters.replied(reacts_to[0], now_ns)
        else:
          meters.answered(reacts_to, now_ns)
      case Release(within_ns, keys):
        performer.release(now_ns, within_ns=within_ns, keys=keys)
      case End():
        performer.end(now_ns)
      case Panic():
        self._sent += performer.panic(now_ns)

  def _tick(self, now_ns: int) -> None:
    engine = self._plain
    together = engine.controls.mode == "simultaneous"
    self._meters.tick(
      now_ns,
      plays=self._performer.next_due_ns() is not None,
      counts=together or engine.replying,
    )

  def _report(self, messages: Sequence[Message]) -> dict[str, Any]:
    report = self._meters.report()
    notes_out = sum(is_note_on(m.data) for m in self._sent)
    return {
      **report,
      "notes_in": sum(is_note_on(m.data) for m in messages),
      "notes_out": notes_out,
      "stuck_notes": stuck_notes(self._sent),
      "clips": dict(sorted(self._performer.clips.items())),
    }


def stuck_notes(sent: Sequence[Message]) -> int:
  """Number of keys with a note-on and no note-off."""
  open_keys: set[int] = set()
  for message in sent:
    if is_note_on(message.data):
      open_keys.add(message.data[1])
    elif is_note_off(message.data):
      open_keys.discard(message.data[1])
  return len(open_keys)
