"""Comp: plays a chart plainly beside the duet, on a channel of its own.

It keeps to bars and to a chart that may change at any time, and neither player
hears it as theirs. What it began it ends.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.harmony.comping import (
  BASE_VELOCITY,
  CompHit,
  comp_velocity,
)
from magenta_midi.midi.io.messages import control_change, note_off, note_on

__all__ = ["Comp", "comp_channel"]

# A hit that is later than this is left out: bars have jumped, or the machine
# stood still.
_LATE_NS = SECOND // 10
# Bars that move by less count on, beats: no hit is lost, none comes twice.
_SAME_PLACE = 0.5
# Hits that lie nearer are the same, beats.
_NEAR = 1e-6
# How fast the player's velocity is followed: the share of each note.
_FOLLOWS = 0.15
_ALL_SOUND_OFF, _ALL_NOTES_OFF = 120, 123


def comp_channel(model_channel: int) -> int:
  """Its channel, 1 to 16, beside the player's and the model's."""
  return 3 if model_channel != 3 else 4


class Comp:
  """Plays hits where bars put them; works on the time it is given.

  Args:
    channel: 1 to 16.

  Attributes:
    loudness: Added to velocities, which are below the player's.
  """

  def __init__(self, channel: int):
    self.channel = channel
    self.loudness = 0
    self._on = False
    self._hits: Sequence[CompHit] = ()
    self._places: list[float] = []
    self._round = 0.0  # beats of the chart
    self._bars: Bars | None = None
    # Hits up to this beat, counted from the first bar, were played or left out.
    self._done = -math.inf
    self._next: tuple[float, CompHit] | None = None
    # Keys that sound, and when they end.
    self._open: dict[int, int] = {}
    self._velocity = float(BASE_VELOCITY)
    self._present = True

  @property
  def sounding(self) -> list[int]:
    """Keys that sound, ascending."""
    return sorted(self._open)

  # What it keeps to.

  def set_chart(
    self, hits: Sequence[CompHit], beats: float | int, now_ns: int
  ) -> None:
    """Takes another chart from here on; none where there are no hits.

    Args:
      hits: Of one round, by beat.
      beats: Of one round.
      now_ns: The time.
    """
    self._hits, self._round = hits, float(beats)
    self._places = [hit.beat for hit in hits]
    self._done = -math.inf
    self._go_on(now_ns)

  def set_bars(self, bars: Bars | None, now_ns: int) -> None:
    """Takes other bars from here on; with none it falls silent."""
    before = self._beat(now_ns)
    self._bars = bars
    if bars is None:
      # They are sent as the next that is due.
      self._open = {key: min(end, now_ns) for key, end in self._open.items()}
    elif not abs(self._beat(now_ns) - before) < _SAME_PLACE:
      self._done = -math.inf
      self._go_on(now_ns)
    self._next = self._following()

  def switch(self, on: bool, now_ns: int) -> None:
    """Plays from the next hit on, or no more: then what sounds ends in time."""
    if on != self._on:
      self._on = on
      self._go_on(now_ns)

  def receive(self, message: Message) -> None:
    """A message of the player: how loud they play."""
    if is_note_on(message.data):
      self._velocity += _FOLLOWS * (message.data[2] - self._velocity)

  def lost(self, now_ns: int) -> list[Message]:
    """The instrument is gone; what is due meanwhile is never sent."""
    self._present = False
    return self._end_all(now_ns) + self.due(now_ns)

  def back(self) -> None:
    """It is back."""
    self._present = True

  # What it plays.

  def next_due_ns(self) -> int | None:
    """When `due` has something to do; None: nothing sounds or will."""
    times = list(self._open.values())
    if self._next is not None and self._bars is not None:
      times.append(self._bars.time_of(0, self._next[0]))
    return min(times, default=None)

  def due(self, now_ns: int) -> list[Message]:
    """Messages to send now, stamped with the times they were planned for."""
    sent = self._ended(now_ns)
    while self._next is not None and self._bars is not None:
      beat, hit = self._next
      time_ns = self._bars.time_of(0, beat)
      if time_ns > now_ns:
        break
      self._done = beat
      self._next = self._following()
      if self._present and now_ns - time_ns <= _LATE_NS:
        sent += self._strike(hit, time_ns)
    return sent

  def silence(self, now_ns: int) -> list[Message]:
    """Every note ends now, and whatever else its channel may hold."""
    sent = self._end_all(now_ns)
    for controller in (_ALL_NOTES_OFF, _ALL_SOUND_OFF):
      data = control_change(self.channel, controller, 0)
      sent.append(Message(now_ns, data))
    return sent

  def _strike(self, hit: CompHit, time_ns: int) -> list[Message]:
    assert self._bars is not None
    keys = [key for key, _ in hit.keys]
    ended = self.sounding if hit.ends else [k for k in keys if k in self._open]
    sent = [self._off(key, time_ns) for key in ended]
    velocity = comp_velocity(hit, self._velocity, self.loudness)
    for key, beats in hit.keys:
      self._open[key] = time_ns + max(1, round(beats * self._bars.beat_ns))
      sent.append(Message(time_ns, note_on(self.channel, key, velocity)))
    return sent

  def _ended(self, now_ns: int) -> list[Message]:
    ends = sorted((end_ns, key) for key, end_ns in self._open.items())
    return [self._off(key, end_ns) for end_ns, key in ends if end_ns <= now_ns]

  def _end_all(self, now_ns: int) -> list[Message]:
    return [self._off(key, now_ns) for key in self.sounding]

  def _off(self, key: int, time_ns: int) -> Message:
    del self._open[key]
    return Message(time_ns, note_off(self.channel, key))

  # Where it is.

  def _beat(self, now_ns: int) -> float:
    """Beats since the first bar; nan without bars."""
    bars = self._bars
    if bars is None:
      return math.nan
    return (now_ns - bars.start_ns) / bars.beat_ns

  def _go_on(self, now_ns: int) -> None:
    """Looks for the next hit from here on."""
    if self._bars is not None:
      self._done = max(self._done, self._beat(now_ns) - 2 * _NEAR)
    self._next = self._following()

  def _following(self) -> tuple[float, CompHit] | None:
    """The first hit after those that are done, and its beat."""
    if not self._on or not self._hits or self._bars is None:
      return None
    done = self._done + _NEAR
    turn = max(0, math.floor(done / self._round))
    index = bisect.bisect_right(self._places, done - turn * self._round)
    if index == len(self._hits):
      turn, index = turn + 1, 0
    hit = self._hits[index]
    return turn * self._round + hit.beat, hit
