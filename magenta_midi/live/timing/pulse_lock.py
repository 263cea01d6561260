"""Bars that go along with a player's pulse, within bounds."""

import math

from magenta_midi.limits import TEMPO
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.analysis.beat_follower import Pulse

__all__ = ["SURE", "PulseLock"]

# From this confidence on a pulse is followed.
SURE = 0.5
# Share of a pulse's offset that is taken over each time, in beat and in tempo:
# asked ten times a second, the bars catch up within a second.
_GAIN = 0.15
# A pulse this near is the same one, as a share of a beat and as a logarithm of
# the tempo; one further off must last so long before it counts.
_NEAR_BEAT, _NEAR_TEMPO = 0.15, 0.12
_LASTS_NS = 3 * SECOND
# How far from a tempo that was asked for the player may lead, as a logarithm.
_LEEWAY = math.log(1.1)


class PulseLock:
  """Bars of a steady tempo that are corrected a little at each pulse.

  A pulse of half or twice the tempo, or half a beat off, is the same music
  counted in another way: it moves the bars, and does not turn them around until
  it has lasted for 3 s.

  Attributes:
    bars: None before the first pulse that is sure.
  """

  def __init__(self, beats_per_bar: int):
    self.bars: Bars | None = None
    self._beats_per_bar = beats_per_bar
    self._asked_bpm: float | None = None
    # Since when the pulse has been another; None: it is not.
    self._other_ns: int | None = None

  def begin(self, bars: Bars | None, *, asked: bool = False) -> None:
    """Goes on from other bars.

    Args:
      bars: None: none, until a pulse is sure.
      asked: Whether their tempo was asked for: then the player's stays within
        10 % of it.
    """
    self.bars, self._other_ns = bars, None
    self._asked_bpm = float(bars.bpm) if bars is not None and asked else None

  def follow(self, pulse: Pulse, now_ns: int) -> None:
    """Moves the bars towards a pulse; call it ten times a second."""
    known = TEMPO.low <= pulse.bpm <= TEMPO.high
    if pulse.confidence < SURE or not known:
      self._other_ns = None
    elif self.bars is None:
      self.bars = self._bars_of(pulse)
    else:
      self._correct(self.bars, pulse, now_ns)

  def _correct(self, bars: Bars, pulse: Pulse, now_ns: int) -> None:
    period_s = bars.beat_ns / SECOND
    # At the level that is counted: half and twice the tempo are the same.
    level = round(math.log2(pulse.period_s / period_s))
    stretch = math.log(pulse.period_s / period_s / 2.0**level)
    beats = (pulse.beat_s - bars.start_ns / SECOND) / period_s
    off = (beats + 0.25) % 0.5 - 0.25
    near = abs(stretch) < _NEAR_TEMPO and abs(off) < _NEAR_BEAT
    between = level == 0 and abs((beats + 0.5) % 1 - 0.5) > 0.25
    if near and not between:
      self._other_ns = None
    elif self._other_ns is None:
      self._other_ns = now_ns
    elif now_ns - self._other_ns > _LASTS_NS:
      self._turn_to(pulse)
      return
    if near:
      period_s = self._allowed(period_s * math.exp(_GAIN * stretch))
      index = math.floor((now_ns - bars.start_ns) / bars.beat_ns)
      at_ns = bars.time_of(0, index) + _GAIN * off * bars.beat_ns
      start_ns = round(at_ns - index * period_s * SECOND)
      self.bars = Bars(60 / period_s, bars.beats_per_bar, start_ns)

  def _turn_to(self, pulse: Pulse) -> None:
    """Takes over a pulse that is another one."""
    self._other_ns = None
    bars = self._bars_of(pulse)
    if self._asked_bpm is not None:
      bpm = 60 / self._allowed(bars.beat_ns / SECOND)
      # A tempo that was not asked for says nothing of the beat either.
      if abs(math.log(bpm / bars.bpm)) > 1e-6:
        return
    self.bars = bars

  def _allowed(self, period_s: float) -> float:
    shortest_s, longest_s = 60 / TEMPO.high, 60 / TEMPO.low
    if self._asked_bpm is not None:
      asked_s = 60 / self._asked_bpm
      slack = math.exp(_LEEWAY)
      shortest_s = max(shortest_s, asked_s / slack)
      longest_s = min(longest_s, asked_s * slack)
    return min(max(period_s, shortest_s), longest_s)

  def _bars_of(self, pulse: Pulse) -> Bars:
    """A pulse's bars; their numbers go on, and a chart with them."""
    # The tracker's bars have four beats.
    fours, bars = self._beats_per_bar == 4, self.bars
    beat = pulse.place if fours else 0
    if bars is not None:
      beat = round((pulse.beat_s * SECOND - bars.start_ns) / bars.beat_ns)
      if fours:
        beat += (pulse.place - beat + 2) % 4 - 2
    start_s = pulse.beat_s - beat * pulse.period_s
    return Bars(pulse.bpm, self._beats_per_bar, round(start_s * SECOND))
