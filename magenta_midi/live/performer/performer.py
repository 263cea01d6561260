"""Performer: sends what is due, within limits, and ends what it began.

All of the model's messages to the instrument pass through it. So every note-on
has its note-off, whatever the model, the ports or the player do.
"""

import bisect
import collections
import dataclasses
import operator
from collections.abc import Sequence

from magenta_midi.live.performer.limits import Gate, Limits
from magenta_midi.live.performer.sustain import PEDAL, Sustain
from magenta_midi.live.player import Keyboard
from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  PlannedNote,
  PlannedPedal,
  Sounded,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.midi.io.messages import control_change, note_off, note_on

__all__ = ["Performer"]

MS = 1_000_000
ALL_SOUND_OFF, RESET, ALL_NOTES_OFF = 120, 121, 123
# At the end of a piece all notes have ended after this time.
RING_NS = 4 * SECOND
# A model process that sends nothing for longer counts as dead.
SILENT_NS = 3 * SECOND // 2
# Least length of a note that is sent late, unless it is shorter anyway.
MIN_NS = 20 * MS
# Outcomes that are remembered: far more than the events of several plans.
REMEMBERED = 1024
# A pedal that comes up by itself belongs to no planned event.
NO_ID = -1

Planned = PlannedNote | PlannedPedal
_by_time = operator.attrgetter("time_ns")


@dataclasses.dataclass(slots=True)
class _Open:
  """A note of the model whose key is down."""

  id: int
  end_ns: int


def _order(event: Planned) -> tuple[int, int, int]:
  """Time; pedal before notes; as planned."""
  return event.time_ns, isinstance(event, PlannedNote), event.id


class Performer:
  """Plays plans on one instrument; works on the time it is given.

  On a shared instrument the player's keys are never changed: a key of the model
  that the player presses belongs to the player from then on. The model's
  note-off follows the player's. The pedal belongs to both, see `Sustain`.

  Args:
    limits: Limits of the output.
    channel: The model's, 1 to 16.
    shared: Whether the player's keys sound on the same instrument.

  Attributes:
    clips: How often each limit took effect.
    loudness_offset: Added to every velocity.
  """

  def __init__(self, *, limits: Limits, channel: int = 2, shared: bool = False):
    if not 1 <= channel <= 16:
      raise ValueError(f"channel must be in 1..16, got {channel}.")
    self.limits = limits
    self.channel = channel
    self.shared = shared
    self.loudness_offset = 0
    self.clips: collections.Counter[str] = collections.Counter()
    self._gate = Gate(limits)
    self._now_ns = 0
    self._plan: list[Planned] = []
    self._open: dict[int, _Open] = {}
    # Keys that still need a note-off but no longer belong to a note, and since
    # when: the player took them over, or the instrument was away.
    self._needs_off: dict[int, int] = {}
    self._feedback: list[Sounded] = []
    # Events with a reported outcome, by id and onset: a model process that was
    # started again counts its ids from 0.
    self._done: set[tuple[int, int]] = set()
    self._done_lately: collections.deque[tuple[int, int]] = collections.deque()
    self._keyboard = Keyboard()
    self._sustain = Sustain(channel, shared=shared)
    self._present = True
    # When the instrument came back; None: it has received everything.
    self._back_ns: int | None = None
    self._closed = False

  # The player.

  @property
  def player_keys(self) -> list[int]:
    """Keys that the player holds, ascending."""
    return self._keyboard.held_keys

  @property
  def sounding(self) -> list[int]:
    """Keys of the model that are down, ascending."""
    return sorted(self._open)

  def receive(self, message: Message) -> None:
    """Receives a message of the player: keys and pedal."""
    time_ns, data = message
    event = self._keyboard.receive(message)
    if is_note_on(data):
      if self.shared:
        self._gate.note_on(data[1], time_ns, time_ns)
        if data[1] in self._open:
          note = self._open.pop(data[1])
          self._needs_off[data[1]] = time_ns
          self._report(note.id, time_ns, "off", data[1], 0, "taken over")
    elif is_note_off(data):
      self._let_go((data[1],), time_ns)
    elif is_sustain(data):
      self._sustain.receive(data[2], time_ns)
    elif len(data) == 3 and data[0] >> 4 == 11:
      if data[1] in (ALL_SOUND_OFF, ALL_NOTES_OFF):
        self._let_go([note.key for note in event.ended], time_ns)
      elif data[1] == RESET:
        self._sustain.receive(0, time_ns)

  def through(self, data: bytes) -> bytes | None:
    """The player's message as the instrument may get it, on its channel.

    On a shared instrument nothing that would end the model's notes: neither a
    pedal-up while the model's pedal is down, nor a note-off of a key that only
    the model holds.

    Args:
      data: A message, after `receive` was called with it.

    Returns:
      The message; None: it is kept back.
    """
    if not self.shared:
      return data
    if is_note_off(data) and data[1] in self._open:
      return None
    if is_sustain(data) and self._sustain.withholds(data):
      return None
    return data

  def _let_go(self, keys: Sequence[int], time_ns: int) -> None:
    self._needs_off.update(
      (key, time_ns) for key in keys if key in self._needs_off
    )

  # Plans.

  def plan(self, from_ns: int, events: Sequence[Planned]) -> None:
    """Replaces what was planned from a time on.

    Args:
      from_ns: What begins before it stands.
      events: In any order; those that had their fate already are left out.
    """
    if self._closed:
      return
    kept = [event for event in self._plan if event.time_ns < from_ns]
    ids = {event.id for event in kept}
    for event in events:
      if event.id not in ids and (event.id, event.time_ns) not in self._done:
        ids.add(event.id)
        kept.append(event)
    kept.sort(key=_order)
    self._plan = kept

  def _drop_plan(self, now_ns: int, reason: str) -> None:
    for event in self._plan:
      self._drop(event, now_ns, reason)
    self._plan = []

  # Sending.

  def next_due_ns(self) -> int | None:
    """When `due` has something to do; None: nothing is planned or sounds."""
    if self._closed:
      return None
    times = [note.end_ns for note in self._open.values()]
    for event in self._plan:
      # Only a key that needs its rest puts a later event first.
      times.append(self._ready_ns(event))
      if times[-1] == event.time_ns:
        break
    others = (self._sustain.next_due_ns(), self._back_ns)
    times += [time_ns for time_ns in others if time_ns is not None]
    if self._present:
      times += [self._needs_off[key] for key in self._free_keys()]
    return min(times, default=None)

  def due(self, now_ns: int) -> list[Message]:
    """Messages to send now: note-offs, pedals, then note-ons.

    Args:
      now_ns: The time; one before that of an earlier call counts as that.

    Returns:
      Messages, stamped with the times they were planned for.
    """
    now_ns = self._now_ns = max(now_ns, self._now_ns)
    if self._closed:
      return []
    count = bisect.bisect_right(self._plan, now_ns, key=_by_time)
    events, self._plan = self._plan[:count], self._plan[count:]
    if not self._present:
      self._miss(events, now_ns)
      return []
    # Offs are gathered while notes begin: a key may have to come up first.
    offs = self._send_offs() + self._end_notes(now_ns)
    moves = self._move_pedal(
      [event for event in events if isinstance(event, PlannedPedal)], now_ns
    )
    ons: list[Message] = []
    waiting: list[Planned] = []
    for note in events:
      if self._ready_ns(note) > now_ns:
        waiting.append(note)
      elif isinstance(note, PlannedNote):
        self._begin(note, now_ns, offs, ons)
    self._plan[:0] = waiting
    offs.sort(key=_by_time)
    return offs + moves + ons

  def _ready_ns(self, event: Planned) -> int:
    if isinstance(event, PlannedPedal):
      return event.time_ns
    return self._gate.ready_ns(event)

  def _miss(self, events: list[Planned], now_ns: int) -> None:
    """Drops events that are due while there is no instrument."""
    for event in events:
      self._drop(event, now_ns, "no output")
    self._sustain.due(now_ns)

  def _free_keys(self) -> list[int]:
    """Keys that still need a note-off and that the player does not hold."""
    held = self._keyboard.held if self.shared else {}
    return [key for key in self._needs_off if key not in held]

  def _send_offs(self) -> list[Message]:
    return [
      Message(self._needs_off.pop(key), note_off(self.channel, key))
      for key in self._free_keys()
    ]

  def _end_notes(self, now_ns: int) -> list[Message]:
    ended = [key for key, note in self._open.items() if note.end_ns <= now_ns]
    return [
      self._note_off(key, self._open[key].end_ns, now_ns) for key in ended
    ]

  def _note_off(
    self, key: int, time_ns: int, now_ns: int, reason: str = ""
  ) -> Message:
    note = self._open.pop(key)
    self._report(note.id, now_ns, "off", key, 0, reason)
    return Message(time_ns, note_off(self.channel, key))

  def _begin(
    self,
    note: PlannedNote,
    now_ns: int,
    offs: list[Message],
    ons: list[Message],
  ) -> None:
    limits, key, time_ns = self.limits, note.key, note.time_ns
    if now_ns - time_ns > limits.late_ms * MS:
      return self._clip(note, now_ns, "late")
    if self.shared and key in self._keyboard.held:
      return self._clip(note, now_ns, "held by the player")
    others = len(self._open) - (key in self._open)
    if reason := self._gate.refusal(note, others):
      return self._clip(note, now_ns, reason)
    if key in self._open:
      offs.append(self._note_off(key, time_ns, now_ns, "struck again"))
    reasons = []
    velocity = max(1, note.velocity + self.loudness_offset)
    if velocity > limits.velocity_cap:
      velocity = limits.velocity_cap
      reasons.append("velocity")
    length_ns = max(1, note.duration_ns)
    longest_ns = round(limits.longest_s * SECOND)
    if length_ns > longest_ns:
      length_ns = longest_ns
      reasons.append("length")
    self.clips.update(reasons)
    end_ns = max(time_ns + length_ns, now_ns + min(length_ns, MIN_NS))
    self._open[key] = _Open(note.id, end_ns)
    self._gate.note_on(key, time_ns, now_ns)
    self._gate.counted(time_ns)
    ons.append(Message(time_ns, note_on(self.channel, key, velocity)))
    self._remember(note)
    # The time of sending is the time at which it sounds.
    self._report(note.id, now_ns, "on", key, velocity, ", ".join(reasons))
    return None

  # The pedal.

  def _move_pedal(
    self, events: list[PlannedPedal], now_ns: int
  ) -> list[Message]:
    moves: list[Message] = []
    if self._back_ns is not None:
      moves += self._send_again(self._back_ns)
      self._back_ns = None
    late_ns = now_ns - self.limits.late_ms * MS
    # Of those that are late only the last state matters.
    late = sum(event.time_ns < late_ns for event in events)
    for index, event in enumerate(events):
      if index < late - 1:
        self._clip(event, now_ns, "late")
        continue
      moves += self._sustain.move(event.down, event.time_ns)
      self._report_lifted()
      self._remember(event)
      self._report(event.id, now_ns, "pedal", -1, 127 * event.down)
    moves += self._sustain.due(now_ns)
    self._report_lifted()
    return moves

  def _report_lifted(self) -> None:
    for time_ns in self._sustain.drain_lifted():
      self._report(NO_ID, time_ns, "pedal", -1, 0, "released")

  def _control(self, controller: int, value: int, time_ns: int) -> Message:
    return Message(time_ns, control_change(self.channel, controller, value))

  # Outcome of events.

  def _remember(self, event: Planned) -> None:
    name = event.id, event.time_ns
    self._done.add(name)
    self._done_lately.append(name)
    if len(self._done_lately) > REMEMBERED:
      self._done.discard(self._done_lately.popleft())

  def _clip(self, event: Planned, now_ns: int, reason: str) -> None:
    self.clips[reason] += 1
    self._drop(event, now_ns, reason)

  def _drop(self, event: Planned, now_ns: int, reason: str) -> None:
    self._remember(event)
    key, velocity = -1, 0
    if isinstance(event, PlannedNote):
      key, velocity = event.key, event.velocity
    else:
      velocity = 127 * event.down
    self._report(event.id, now_ns, "dropped", key, velocity, reason)

  def _report(
    self,
    id: int,
    time_ns: int,
    kind: str,
    key: int,
    velocity: int,
    reason: str = "",
  ) -> None:
    self._feedback.append(Sounded(id, time_ns, kind, key, velocity, reason))

  def feedback(self) -> list[Sounded]:
    """Outcomes of planned events since the last call."""
    feedback, self._feedback = self._feedback, []
    return feedback

  # Endings.

  def release(
    self,
    now_ns: int,
    *,
    within_ns: int = 0,
    keys: Sequence[int] | None = None,
  ) -> None:
    """Lets go.

    Args:
      now_ns: The time.
      within_ns: What sounds ends within it, and then the pedal comes up.
      keys: These only, and the plan goes on; None: everything stops.
    """
    until_ns = now_ns + within_ns
    for key, note in self._open.items():
      if keys is None or key in keys:
        note.end_ns = min(note.end_ns, until_ns)
    if keys is None:
      self._drop_plan(now_ns, "released")
      self._sustain.come_up(until_ns)

  def end(self, now_ns: int) -> None:
    """No new onsets; the last chord rings, all is up within 4 s."""
    last_ns = now_ns + RING_NS
    ups = [
      event.time_ns
      for event in self._plan
      if isinstance(event, PlannedPedal) and not event.down
    ]
    self._drop_plan(now_ns, "the end")
    for note in self._open.values():
      note.end_ns = min(note.end_ns, last_ns)
    ends = [note.end_ns for note in self._open.values()]
    # At the time that the model planned, else with the last key, not at once.
    self._sustain.come_up(
      min(ups[0] if ups else max([now_ns + SECOND, *ends]), last_ns)
    )

  def panic(self, now_ns: int | None = None) -> list[Message]:
    """Silence, now: every key, the pedal, and whatever else may sound.

    On a shared instrument, too, everything falls silent; only of a key that
    the player holds no note-off is sent.

    Args:
      now_ns: The time; None: that of the last `due`.
    """
    if now_ns is None:
      now_ns = self._now_ns
    self._drop_plan(now_ns, "panic")
    sent = [
      self._note_off(key, now_ns, now_ns, "panic") for key in self.sounding
    ]
    for key in self._free_keys():
      sent.append(Message(now_ns, note_off(self.channel, key)))
      # An instrument that is away has to get it again.
      if self._present:
        del self._needs_off[key]
    if self._sustain.down:
      self._report(NO_ID, now_ns, "pedal", -1, 0, "panic")
    self._sustain.drop()
    for controller in (PEDAL, ALL_NOTES_OFF, ALL_SOUND_OFF):
      sent.append(self._control(controller, 0, now_ns))
    return sent + self._sustain.drain_withheld(now_ns)

  def close(self, now_ns: int | None = None) -> list[Message]:
    """The last thing of a session: silence, and nothing after it.

    Unlike panic, it leaves the keys alone that the player holds on a shared
    instrument.
    """
    if self._closed:
      return []
    sent = self.panic(now_ns)
    self._closed = True
    if self.shared and self._keyboard.held:
      ends_all = {
        control_change(self.channel, controller, 0)
        for controller in (ALL_NOTES_OFF, ALL_SOUND_OFF)
      }
      sent = [message for message in sent if message.data not in ends_all]
    return sent

  # Lost events.

  def lost(self, now_ns: int) -> None:
    """The instrument is gone: events that are due meanwhile are never sent."""
    self._present = False
    self._back_ns = None
    for key in self.sounding:
      self._note_off(key, now_ns, now_ns, "lost")
      self._needs_off[key] = now_ns
    self._sustain.drop()

  def back(self, now_ns: int) -> None:
    """It is back; `due` first sends the note-offs of the meantime."""
    if self._present:
      return
    self.due(now_ns)
    self._present = True
    self._back_ns = now_ns

  def _send_again(self, time_ns: int) -> list[Message]:
    """Sends the state again: messages just before the loss may be missing."""
    sent = self._sustain.send_again(time_ns)
    if not (self.shared and self._keyboard.held):
      sent.insert(0, self._control(ALL_NOTES_OFF, 0, time_ns))
    return sent

  def watchdog(self, now_ns: int, last_sign_ns: int) -> bool:
    """Releases the pedal of a silent model; to be called regularly.

    Its plan is played and its notes end as planned; only its pedal would stay
    down.

    Args:
      now_ns: The time.
      last_sign_ns: When the model process last sent anything.

    Returns:
      Whether the model process counts as dead.
    """
    silent = now_ns - last_sign_ns > SILENT_NS
    if silent and not self._plan and not self._sustain.comes_up:
      ends = [note.end_ns for note in self._open.values()]
      last_ns = max(ends, default=now_ns)
      self._sustain.come_up(min(last_ns, now_ns + RING_NS))
    return silent
