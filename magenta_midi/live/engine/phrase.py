"""A call: one phrase of the player, which a reply answers."""

import itertools
import statistics
from typing import NamedTuple

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.analysis.analysis import CHORD_S

__all__ = ["Call", "Phrase"]


class Call(NamedTuple):
  """The player's last phrase; times are of the session's clock.

  Attributes:
    start_ns: Its first onset.
    end_ns: When its last sound was damped, or it was cut short.
    notes: How many.
    median_gap_s: Between successive onsets, chords counted once; 0 for one.
    upper_gap_s: Of ten such gaps nine are shorter.
    loudness: Mean velocity.
  """

  start_ns: int
  end_ns: int
  notes: int
  median_gap_s: float
  upper_gap_s: float
  loudness: float

  @property
  def length_ns(self) -> int:
    """From the first onset to the end."""
    return self.end_ns - self.start_ns

  @property
  def density(self) -> float:
    """Notes a second; of less than a second, as if it were one."""
    return self.notes / max(self.length_ns / SECOND, 1.0)


class Phrase:
  """A phrase while it is being played.

  Attributes:
    onsets: Times, ns.
  """

  def __init__(self):
    """No notes yet."""
    self.onsets: list[int] = []
    self._velocity_sum = 0

  def add(self, time_ns: int, velocity: int) -> None:
    """Takes one more note."""
    self.onsets.append(time_ns)
    self._velocity_sum += velocity

  def closed(self, end_ns: int) -> Call:
    """The phrase as it ended; it has at least one note."""
    onsets = self.onsets
    gaps = sorted(
      (b - a) / SECOND
      for a, b in itertools.pairwise(onsets)
      if b - a > CHORD_S * SECOND
    )
    return Call(
      start_ns=onsets[0],
      end_ns=max(end_ns, onsets[-1] + 1),
      notes=len(onsets),
      median_gap_s=statistics.median(gaps) if gaps else 0.0,
      upper_gap_s=gaps[int(0.9 * (len(gaps) - 1) + 0.5)] if gaps else 0.0,
      loudness=self._velocity_sum / len(onsets),
    )
