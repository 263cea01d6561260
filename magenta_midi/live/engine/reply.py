"""How long a reply is, measured by the call that it answers."""

from typing import NamedTuple

from magenta_midi.live.engine.phrase import Call
from magenta_midi.live.protocol.events import SECOND

__all__ = ["Reply"]

# The measure of a reply to no call at all.
_UNCALLED_NS = 4 * SECOND


class Reply(NamedTuple):
  """The model's turn.

  Attributes:
    begins_ns: When it began, of the session's clock.
    call: What it answers; None: nobody called.
    by_bars: Whether turns are traded by bars, which alone end it.
  """

  begins_ns: int
  call: Call | None
  by_bars: bool = False

  @property
  def measure_ns(self) -> int:
    """The length of its call, at least 1 s; 4 s where there was none."""
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
    """Whether it has said enough, where no bars count.

    Past 80 % of its call's length a gap like the player's own ends it, past
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
