"""The beat of a session: whose it is, and where it falls.

A MIDI clock comes first, then bars that were counted in, then the pulse of the
player's own notes, near the tempo that was asked for if there was one. Where
none of these is known, there is no beat, and play is free.

It stands beside the engine, which is told of each change (`Engine.set_bars`):
so a session's record holds what was decided.
"""

from typing import NamedTuple

from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.midi_clock import ClockFollower
from magenta_midi.live.timing.pulse_lock import PulseLock
from magenta_midi.midi.analysis.beat_follower import BeatFollower
from magenta_midi.midi.meter import Meter

__all__ = ["Beat", "Timekeeper"]

_MS = SECOND // 1000
# The player's pulse is looked at so often.
_LOOK_NS = 100 * _MS
# Bars that differ by less are the same: at the next beat, and in tempo.
_SAME_NS, _SAME_TEMPO = 2 * _MS, 5e-4
# Below this confidence for so long, while the player plays, the beat is lost.
_UNSURE, _UNSURE_NS = 0.3, 6 * SECOND
# A player who has struck nothing for so long rests; the beat goes on.
_RESTS_NS = 3 * SECOND // 2


class Beat(NamedTuple):
  """The beat at a time.

  Attributes:
    bars: None: there is none.
    source: Whose it is: `clock`, `asked` (tempo or taps), `player`, or empty.
    triplets: Whether the player's beat is felt in three.
  """

  bars: Bars | None = None
  source: str = ""
  triplets: bool = False


class Timekeeper:
  """Finds the beat of a session while it is played.

  Args:
    controls: At the start: their tempo.
    meter: A MIDI clock does not send it; the player's is not tracked.

  Attributes:
    beat: As it was last reported by `advance`.
    confidence: In the pulse of the player's notes, 0 to 1; None: too few.
  """

  def __init__(self, controls: Controls, meter: Meter | None = None):
    self.beat = Beat()
    self.confidence: float | None = None
    self._meter = meter = meter or Meter()
    self._follower = BeatFollower()
    self._lock = PulseLock(meter.beats)
    self._clock = ClockFollower(meter)
    self._counted: Bars | None = None
    self._asked_bpm = 0.0
    # A tempo was asked for and its first beat is not known yet.
    self._awaits_beat = False
    self._reached_ns = 0
    self._struck_ns = -_RESTS_NS
    self._sure_ns = 0
    self._triplets = meter.triplets
    self._said: list[str] = []
    self.set_controls(controls, 0)

  # Input.

  def receive(self, message: Message) -> None:
    """The player struck a key, or a clock ticks."""
    if self._clock.receive(message) or not is_note_on(message.data):
      return
    time_ns, key = message.time_ns, message.data[1]
    # Hands are never behind the follower's clock, though a message may be.
    time_ns = max(time_ns, self._struck_ns)
    self._struck_ns = time_ns
    self._follower.hear(time_ns / SECOND, key)
    if self._awaits_beat:
      self._ask(time_ns)

  def tell(self, bars: Bars, *, follows: bool) -> None:
    """Bars from here on.

    Args:
      bars: Counted in, or tapped.
      follows: Whether the player's pulse moves them; else they stand, as a
        metronome's.
    """
    self._asked_bpm, self._awaits_beat = float(bars.bpm), False
    self._counted = None if follows else bars
    self._lock.begin(bars, asked=True)

  def set_controls(self, controls: Controls, now_ns: int) -> None:
    """Takes another tempo, if it is one: from the next beat on.

    With 0 the player's own counts again.
    """
    if abs(controls.tempo - self._asked_bpm) < 1e-3:
      return
    self._asked_bpm = controls.tempo
    if not controls.tempo:
      self._counted, self._awaits_beat = None, False
      self._lock.begin(self._lock.bars)
    elif self._counted is not None:
      self._counted = _retimed(self._counted, controls.tempo, now_ns)
      self._lock.begin(self._counted, asked=True)
    elif self.beat.bars is not None:
      bars = _retimed(self.beat.bars, controls.tempo, now_ns)
      self._lock.begin(bars, asked=True)
    else:
      self._awaits_beat = True

  def _ask(self, beat_ns: int) -> None:
    """The player's first note is the first beat of the tempo asked for."""
    self._awaits_beat = False
    bars = Bars(self._asked_bpm, self._meter.beats, beat_ns)
    self._lock.begin(bars, asked=True)

  # Time.

  def advance(self, now_ns: int) -> bool:
    """Goes on to a time, by a tenth of a second at most.

    Returns:
      Whether the beat is another than before.
    """
    if now_ns - self._reached_ns > 30 * SECOND:
      # Nothing is followed through so long a gap.
      self._reached_ns = now_ns - _LOOK_NS
    if self._reached_ns + _LOOK_NS <= now_ns:
      self._reached_ns += _LOOK_NS
      self._look(self._reached_ns)
    else:
      self._follower.advance(now_ns / SECOND)
    found = self._choose(now_ns)
    if _same(found, self.beat, now_ns):
      return False
    self.beat = found
    return True

  def news(self) -> list[str]:
    """Lines for the player since the last call."""
    said, self._said = self._said, []
    return said

  def _look(self, now_ns: int) -> None:
    self._follower.advance(now_ns / SECOND)
    pulse = self._follower.pulse()
    self.confidence = None if pulse is None else pulse.confidence
    resting = now_ns - self._struck_ns > _RESTS_NS
    # In a rest the tracker's guess spreads; what it says then is no pulse.
    if pulse is not None and not resting:
      self._lock.follow(pulse, now_ns)
      if pulse.confidence >= _UNSURE:
        self._triplets = pulse.triplets or self._meter.triplets
    if resting or (self.confidence or 0.0) >= _UNSURE:
      self._sure_ns = now_ns
    elif now_ns - self._sure_ns > _UNSURE_NS and not self._asked_bpm:
      self._lock.begin(None)

  def _choose(self, now_ns: int) -> Beat:
    bars = self._clock.bars(now_ns)
    if bars is not None:
      return Beat(bars, "clock", self._triplets)
    if self.beat.source == "clock":
      self._leave_clock(now_ns)
    if self._counted is not None:
      return Beat(self._counted, "asked", self._triplets)
    if self._lock.bars is None:
      return Beat()
    source = "asked" if self._asked_bpm else "player"
    return Beat(self._lock.bars, source, self._triplets)

  def _leave_clock(self, now_ns: int) -> None:
    """Its bars go on, led by the player."""
    how = "is silent" if self._clock.lost(now_ns) else "was stopped"
    goes_on = "the counted tempo" if self._counted else "your own beat"
    self._said.append(f"the MIDI clock {how}: {goes_on} counts now.")
    if self._counted is None:
      self._lock.begin(self.beat.bars)


def _retimed(bars: Bars, bpm: float, now_ns: int) -> Bars:
  """Another tempo from the last beat on; beats are counted on."""
  beat = (now_ns - bars.start_ns) // round(bars.beat_ns)
  at_ns = bars.time_of(0, beat)
  start_ns = at_ns - beat * 60 * SECOND / bpm
  return Bars(bpm, bars.beats_per_bar, round(start_ns))


def _same(a: Beat, b: Beat, now_ns: int) -> bool:
  if a.bars is None or b.bars is None:
    return a == b
  if (a.source, a.triplets, a.bars.beats_per_bar) != (
    *(b.source, b.triplets),
    b.bars.beats_per_bar,
  ):
    return False
  if abs(a.bars.bpm / b.bars.bpm - 1) > _SAME_TEMPO:
    return False
  beat = (now_ns - a.bars.start_ns) // round(a.bars.beat_ns) + 1
  return abs(a.bars.time_of(0, beat) - b.bars.time_of(0, beat)) <= _SAME_NS
