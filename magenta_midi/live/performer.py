"""The last word on what is sent: due notes, who owns a key, what is too much.

Nothing reaches the instrument but through here, so every note-on has its
note-off, whatever the model, the ports or the player do.
"""

import collections
import dataclasses
from collections.abc import Sequence

from magenta_midi.live.events import (
  SECOND,
  Message,
  PlannedNote,
  PlannedPedal,
  Sounded,
  is_note_off,
  is_note_on,
  is_sustain,
)
from magenta_midi.live.limits import Limits
from magenta_midi.live.wire import control_change, note_off, note_on

__all__ = ["Performer"]

MS = 1_000_000
PEDAL, ALL_SOUND_OFF, ALL_NOTES_OFF = 64, 120, 123
DOWN_FROM = 64
# At the end of a piece the pedal comes up at the latest after so much.
RING_NS = 4 * SECOND


@dataclasses.dataclass(slots=True)
class _Open:
  """A note of ours that sounds."""

  id: int
  onset_ns: int
  end_ns: int


class Performer:
  """Plays plans on one instrument; works on the time it is given.

  Args:
    limits: What is too much.
    channel: Ours, 1 to 16.
    shared: Whether the player's keys sound on the same instrument.

  Attributes:
    clips: How often each limit took effect.
    loudness_offset: Added to every velocity.
  """

  def __init__(self, *, limits: Limits, channel: int = 2, shared: bool = False):
    self.limits = limits
    self.channel = channel
    self.shared = shared
    self.loudness_offset = 0
    self.clips: collections.Counter[str] = collections.Counter()
    self._plan: list[PlannedNote | PlannedPedal] = []
    self._open: dict[int, _Open] = {}
    self._struck_ns: dict[int, int] = {}
    self._onsets: collections.deque[int] = collections.deque()
    self._feedback: list[Sounded] = []
    # Told to the instrument and to be told, in order.
    self._player_keys: set[int] = set()
    self._player_pedal = False
    self._own_pedal = False
    self._sent_pedal = False
    self._pedal_up_ns: int | None = None
    self._seen_id = -1
    self._present = True

  # The player.

  @property
  def player_keys(self) -> list[int]:
    """Keys that the player holds, ascending."""
    return sorted(self._player_keys)

  @property
  def sounding(self) -> list[int]:
    """Our keys that are down, ascending."""
    return sorted(self._open)

  def hear(self, message: Message) -> None:
    """A message of the player: keys that are theirs, and their pedal."""
    time_ns, data = message
    if is_note_on(data):
      self._player_keys.add(data[1])
      if self.shared and data[1] in self._open:
        # The key is the player's now: no note-off of ours may end it.
        note = self._open.pop(data[1])
        self._tell(note.id, time_ns, "off", data[1], 0, "taken over")
    elif is_note_off(data):
      self._player_keys.discard(data[1])
    elif is_sustain(data):
      self._player_pedal = data[2] >= DOWN_FROM

  # Plans.

  def plan(
    self, from_ns: int, events: Sequence[PlannedNote | PlannedPedal]
  ) -> None:
    """Replaces what was planned from a time on.

    Args:
      from_ns: What begins before it stands.
      events: In any order; those that sounded already are left out.
    """
    kept = [event for event in self._plan if event.time_ns < from_ns]
    ids = {event.id for event in kept}
    kept += [
      event
      for event in events
      if event.id > self._seen_id and event.id not in ids
    ]
    # Pedal before notes, keys ascending: the codec's order.
    kept.sort(key=lambda e: (e.time_ns, getattr(e, "key", -1), e.id))
    self._plan = kept
    if events:
      self._pedal_up_ns = None

  def next_due_ns(self) -> int | None:
    """When `due` has something to do; None: nothing is planned or sounds."""
    times = [note.end_ns for note in self._open.values()]
    if self._plan:
      times.append(self._plan[0].time_ns)
    if self._pedal_up_ns is not None:
      times.append(self._pedal_up_ns)
    return min(times, default=None)

  def due(self, now_ns: int) -> list[Message]:
    """What is to be sent now: what ends, pedals, then what begins."""
    sent: list[Message] = []
    due = []
    while self._plan and self._plan[0].time_ns <= now_ns:
      due.append(self._plan.pop(0))
    late_ns = now_ns - self.limits.late_ms * MS
    # Everything happens in the order of its time, ends first.
    for event in due:
      self._end_notes(event.time_ns, sent)
      self._seen_id = max(self._seen_id, event.id)
      if isinstance(event, PlannedPedal):
        self._move_pedal(event, sent)
      elif event.time_ns < late_ns:
        self._drop(event, now_ns, "late")
      else:
        self._strike(event, sent)
    self._end_notes(now_ns, sent)
    if self._pedal_up_ns is not None and self._pedal_up_ns <= now_ns:
      self._own_pedal, self._pedal_up_ns = False, None
    self._send_pedal(now_ns, sent)
    # After a standstill: ends before anything begins.
    sent.sort(key=lambda m: not is_note_off(m.data)) if due and (
      due[0].time_ns < late_ns
    ) else None
    return sent if self._present else []

  def _end_notes(self, now_ns: int, sent: list[Message]) -> None:
    ends = sorted(
      (note.end_ns, key)
      for key, note in self._open.items()
      if note.end_ns <= now_ns
    )
    for end_ns, key in ends:
      self._lift(key, end_ns, sent)

  def _lift(
    self, key: int, time_ns: int, sent: list[Message], reason: str = ""
  ) -> None:
    note = self._open.pop(key)
    sent.append(Message(time_ns, note_off(self.channel, key)))
    self._tell(note.id, time_ns, "off", key, 0, reason)

  def _move_pedal(self, event: PlannedPedal, sent: list[Message]) -> None:
    self._own_pedal = event.down
    self._tell(event.id, event.time_ns, "pedal", -1, 127 * event.down)
    self._send_pedal(event.time_ns, sent)

  def _send_pedal(self, time_ns: int, sent: list[Message]) -> None:
    """Ours, or on a shared instrument the OR of both."""
    down = self._own_pedal or (self.shared and self._player_pedal)
    if down != self._sent_pedal:
      self._sent_pedal = down
      data = control_change(self.channel, PEDAL, 127 * down)
      sent.append(Message(time_ns, data))

  def _strike(self, note: PlannedNote, sent: list[Message]) -> None:
    limits, key, now_ns = self.limits, note.key, note.time_ns
    if not limits.lowest_key <= key <= limits.highest_key:
      return self._drop(note, now_ns, "key")
    if self.shared and key in self._player_keys:
      return self._drop(note, now_ns, "held by the player")
    struck_ns = self._struck_ns.get(key)
    if struck_ns is not None and now_ns - struck_ns < limits.restrike_ms * MS:
      return self._drop(note, now_ns, "re-strike")
    while self._onsets and self._onsets[0] <= now_ns - SECOND:
      self._onsets.popleft()
    if len(self._onsets) >= limits.onsets_per_s:
      return self._drop(note, now_ns, "onsets")
    if key in self._open:
      self._lift(key, now_ns, sent)
    if len(self._open) >= limits.sounding:
      return self._drop(note, now_ns, "sounding")
    velocity = max(1, note.velocity + self.loudness_offset)
    if velocity > limits.velocity_cap:
      velocity = limits.velocity_cap
      self.clips["velocity"] += 1
    length_ns = max(1, note.duration_ns)
    longest_ns = round(limits.longest_s * SECOND)
    if length_ns > longest_ns:
      length_ns = longest_ns
      self.clips["length"] += 1
    self._open[key] = _Open(note.id, now_ns, now_ns + length_ns)
    self._struck_ns[key] = now_ns
    self._onsets.append(now_ns)
    sent.append(Message(now_ns, note_on(self.channel, key, velocity)))
    self._tell(note.id, now_ns, "on", key, velocity)
    return None

  def _drop(self, note: PlannedNote, now_ns: int, reason: str) -> None:
    self.clips[reason] += 1
    self._tell(note.id, now_ns, "dropped", note.key, note.velocity, reason)

  def _tell(
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
    """What became of planned events since the last call."""
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
      within_ns: What sounds ends within it.
      keys: These only, and the plan goes on; None: everything stops.
    """
    until_ns = now_ns + within_ns
    for key, note in self._open.items():
      if keys is None or key in keys:
        note.end_ns = min(note.end_ns, until_ns)
    if keys is None:
      self._plan = []
      self._pedal_up_ns = until_ns

  def end(self, now_ns: int) -> None:
    """No new onsets; the last chord rings, the pedal up within 4 s."""
    self._plan = []
    ends = [note.end_ns for note in self._open.values()]
    for note in self._open.values():
      note.end_ns = min(note.end_ns, now_ns + RING_NS)
    if self._own_pedal:
      ring_ns = min(max(ends, default=now_ns), now_ns + RING_NS)
      self._pedal_up_ns = min(max(ring_ns, now_ns + SECOND), now_ns + RING_NS)

  def panic(self, now_ns: int) -> list[Message]:
    """Silence, now: every key, the pedal, and whatever else may sound."""
    self._plan = []
    sent: list[Message] = []
    for key in self.sounding:
      self._lift(key, now_ns, sent, "panic")
    self._own_pedal, self._sent_pedal = False, False
    self._pedal_up_ns = None
    for controller in (PEDAL, ALL_NOTES_OFF, ALL_SOUND_OFF):
      data = control_change(self.channel, controller, 0)
      sent.append(Message(now_ns, data))
    return sent

  def close(self, now_ns: int) -> list[Message]:
    """The last thing of a session: silence."""
    return self.panic(now_ns)

  def lost(self, now_ns: int) -> None:
    """The instrument is gone: nothing is sent, nothing is kept for later."""
    self._present = False
    self._plan = []
    silent: list[Message] = []
    for key in self.sounding:
      self._lift(key, now_ns, silent, "lost")

  def back(self, now_ns: int) -> list[Message]:
    """It is here again; returns what it must be told first."""
    self._present = True
    return self.panic(now_ns)

  def watchdog(self, now_ns: int, heard_from_model_ns: int) -> None:
    """Lets the pedal up where a silent model left it down."""
    silent = now_ns - heard_from_model_ns > 3 * SECOND // 2
    idle = not self._plan and not self._open
    if silent and idle and self._own_pedal and self._pedal_up_ns is None:
      self._pedal_up_ns = now_ns + RING_NS
