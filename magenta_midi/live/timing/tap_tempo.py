"""Tempo and beat from taps of a key, pedal or button."""

import numpy as np

from magenta_midi.limits import TEMPO
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars

__all__ = ["TapTempo"]

# After so long the next tap is the first of others: 20 beats a minute are 3 s.
_PAUSE_NS = 3 * SECOND
# A gap this much longer or shorter than those before begins anew, as a factor.
_OTHER = 1.6
# Taps that the tempo is taken from.
_LAST = 8


class TapTempo:
  """Takes one tap after the other; the first is the first beat of a bar."""

  def __init__(self, beats_per_bar: int):
    self._beats_per_bar = beats_per_bar
    self._taps: list[int] = []
    self._first = 0  # beats before those kept

  def tap(self, time_ns: int) -> Bars | None:
    """The bars that the taps ask for; None: one alone is no tempo."""
    taps = self._taps
    if taps and not self._goes_on(time_ns):
      taps.clear()
    if not taps:
      self._first = 0
    taps.append(time_ns)
    if len(taps) > _LAST:
      del taps[0]
      self._first += 1
    if len(taps) < 2:
      return None
    count = np.arange(len(taps))
    beat_ns, at_ns = np.polyfit(count, np.array(taps) - float(taps[0]), 1)
    bpm = 60 * SECOND / float(beat_ns)
    if not TEMPO.low <= bpm <= TEMPO.high:
      return None
    start_ns = taps[0] + float(at_ns) - self._first * float(beat_ns)
    return Bars(bpm, self._beats_per_bar, round(start_ns))

  def _goes_on(self, time_ns: int) -> bool:
    gap_ns = time_ns - self._taps[-1]
    if not 0 < gap_ns <= _PAUSE_NS:
      return False
    if len(self._taps) < 2:
      return True
    usual_ns = (self._taps[-1] - self._taps[0]) / (len(self._taps) - 1)
    return usual_ns / _OTHER < gap_ns < usual_ns * _OTHER
