"""The player's present chord as a weak prior, where there is no chart."""

import dataclasses
import functools

import numpy as np

from magenta_midi.generate.key_prior import KeyPrior
from magenta_midi.live.engine.harmony import Harmony
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.analysis.chords import Chord
from magenta_midi.midi.harmony.chart import ChordTimeline
from magenta_midi.midi.harmony.chord_symbols import (
  NO_CHORD,
  ChordSymbol,
  parse_chord,
)

__all__ = ["FOLLOW_WEIGHT", "FollowedChord"]

# Of a chord that fits entirely.
FOLLOW_WEIGHT = 0.35
# A chord that fits so well counts nothing, and one that fits so well entirely.
_FAINT, _SURE = 0.75, 0.95
# So long after the player's last note the chord no longer counts.
_LASTS_S = 3.0


class FollowedChord:
  """The chord that the player's notes make, as of the last of them."""

  def __init__(self):
    """Knows no chord yet."""
    self._chord: ChordSymbol | None = None
    self._weight = 0.0
    self._from_s = 0.0

  def look(self, harmony: Harmony, now_ns: int) -> bool:
    """Takes the chord of a time; whether the prior is another than before."""
    before = (self._chord, self._weight)
    found = harmony.chord(now_ns)
    self._chord, self._weight = None, 0.0
    if found is not None:
      sure = (found.score - _FAINT) / (_SURE - _FAINT)
      self._weight = round(FOLLOW_WEIGHT * min(max(sure, 0.0), 1.0), 2)
    if found is not None and self._weight:
      self._chord = _symbol(found, harmony.bass(now_ns))
    self._from_s = now_ns / SECOND
    return self._chord is not None or before != (None, 0.0)

  def prior(self, bars: Bars | None) -> KeyPrior | None:
    """The prior from the last note on; None: there is no clear chord."""
    if self._chord is None:
      return None
    start_s = np.array([self._from_s - 1.0, self._from_s + _LASTS_S])
    chords = ChordTimeline(start_s, (self._chord, NO_CHORD))
    grid = None if bars is None else bars.grid
    return KeyPrior(chords, grid, self._weight, told=False)


def _symbol(chord: Chord, bass: int | None) -> ChordSymbol:
  root = chord.root
  low = root if bass is None else bass % 12
  return _spelled(chord.name, low if low in chord.pitch_classes else root)


@functools.lru_cache(maxsize=512)
def _spelled(name: str, bass: int) -> ChordSymbol:
  return dataclasses.replace(parse_chord(name), bass=bass)
