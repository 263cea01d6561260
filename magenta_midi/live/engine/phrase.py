"""Phrases: the player's call, the silence that ends it, and its reply."""

import itertools
import statistics
from collections import deque
from typing import NamedTuple

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.analysis.analysis import CHORD_S

__all__ = ["AdaptiveWait", "Call", "Phrase", "Reply"]

# Silences that the wait remembers: those of some phrases of a player.
_REMEMBERED = 128
# The measure of a reply to no call at all.
_UNCALLED_NS = 4 * SECOND


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


class AdaptiveWait:
  """A wait that follows the silences inside a player's phrases.

  It is `base_s` plus `factor` times a quantile of the last silences, legato
  counting as silences of 0; while few are known, the default weighs in.
  """

  def __init__(
    self,
    *,
    default_s: float,
    prior: int,
    quantile: float,
    factor: float,
    base_s: float,
    bounds_s: tuple[float, float],
  ):
    """Starts with the default; see `TurnSettings`."""
    self._default_s, self._prior = default_s, prior
    self._quantile, self._factor, self._base_s = quantile, factor, base_s
    self._bounds_s = bounds_s
    self._silences: deque[float] = deque(maxlen=_REMEMBERED)
    self.ns = round(default_s * SECOND)

  def learn(self, silence_s: float) -> None:
    """Takes one more silence from inside a phrase, and adapts."""
    self._silences.append(silence_s)
    ordered = sorted(self._silences)
    known = len(ordered)
    place = self._quantile * (known - 1)
    low = int(place)
    high = min(low + 1, known - 1)
    upper = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    adapted_s = self._base_s + self._factor * upper
    wait_s = (known * adapted_s + self._prior * self._default_s) / (
      known + self._prior
    )
    shortest_s, longest_s = self._bounds_s
    self.ns = round(min(max(wait_s, shortest_s), longest_s) * SECOND)


class Reply(NamedTuple):
  """The model's turn.

  Attributes:
    begins_ns: When it began, of the session's clock.
    call: What it answers; None: there was no call.
    by_bars: Whether turns are traded by bars, which alone end it.
  """

  begins_ns: int
  call: Call | None
  by_bars: bool = False

  @property
  def measure_ns(self) -> int:
    """The length of its call, at least 1 s; 4 s without a call."""
    if self.call is None:
      return _UNCALLED_NS
    return max(self.call.length_ns, SECOND)

  @property
  def latest_end_ns(self) -> int | None:
    """It is at most half as long again as its call; None: bars end it."""
    return None if self.by_bars else self.begins_ns + self.measure_ns * 3 // 2

  def may_end(self, now_ns: int) -> bool:
    """Whether it is long enough for a pause to end it."""
    if self.by_bars:
      return False
    return now_ns - self.begins_ns >= self.measure_ns * 4 // 5

  def max_gap_ns(self, now_ns: int) -> int | None:
    """It does not pause for longer than its call did, until it may end."""
    if self.may_end(now_ns):
      return None
    gap_s = 1.0 if self.call is None else 2 * self.call.upper_gap_s
    return round(min(max(gap_s, 0.6), 2.0) * SECOND)

  def should_end(
    self, now_ns: int, last_onset_ns: int, longest_gap_s: float
  ) -> bool:
    """Whether it is long enough, where no bars count.

    Past 80 % of its call's length a gap like those of the player ends it, past
    150 % nothing else is needed.

    Args:
      now_ns: Of the session's clock.
      last_onset_ns: Its last onset.
      longest_gap_s: No gap has to be longer.
    """
    played_ns = now_ns - self.begins_ns
    if played_ns >= self.measure_ns * 3 // 2:
      return True
    # A gap longer than nine in ten of the player's; never so short that a
    # fast run's next note would be late.
    gap_s = 0.0 if self.call is None else self.call.upper_gap_s
    gap_ns = round(min(max(1.5 * gap_s, 0.3), longest_gap_s) * SECOND)
    return self.may_end(now_ns) and now_ns - last_onset_ns >= gap_ns
