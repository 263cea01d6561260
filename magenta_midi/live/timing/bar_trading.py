"""Trading of bars: turns of four or eight bars, on a grid."""

from collections.abc import Callable

from magenta_midi.live.protocol.events import SECOND

__all__ = ["BarAt", "Trade"]

# The bar at a time of the session, counted from 0 and never falling; negative
# before the first, as in a count-in.
BarAt = Callable[[int], int]

_HOUR_NS = 3600 * SECOND


class Trade:
  """Bars of the player and bars of the model, in alternation."""

  def __init__(self, length: int, bar_at: BarAt, *, ai_first: bool):
    """Turns of so many bars, counted from the grid's bar 0.

    Raises:
      ValueError: The length is neither 4 nor 8.
    """
    if length not in (4, 8):
      raise ValueError(f"trades are of 4 or 8 bars, got {length}.")
    self._length, self._bar_at = length, bar_at
    self._model_parity = 0 if ai_first else 1

  def turn_at(self, time_ns: int) -> int:
    """The number of the turn at a time; negative before the first bar."""
    return self._bar_at(time_ns) // self._length

  def is_models(self, turn: int) -> bool:
    """Whether it is the model's."""
    return turn >= 0 and turn % 2 == self._model_parity

  def next_model_ns(self, from_ns: int, after_turn: int) -> int | None:
    """When the model's next turn begins.

    Args:
      from_ns: Not before; if it has begun by then, that time.
      after_turn: Turns up to this one do not count.

    Returns:
      To the nanosecond; None if not within the hour: the clock stands.
    """
    turn = max(self.turn_at(from_ns), after_turn + 1)
    while not self.is_models(turn):
      turn += 1
    bar = turn * self._length
    if self._bar_at(from_ns) >= bar:
      return from_ns
    reach_ns = SECOND
    while self._bar_at(from_ns + reach_ns) < bar:
      reach_ns *= 2
      if reach_ns > _HOUR_NS:
        return None
    before_ns, at_ns = from_ns, from_ns + reach_ns
    while at_ns - before_ns > 1:
      middle_ns = (before_ns + at_ns) // 2
      if self._bar_at(middle_ns) < bar:
        before_ns = middle_ns
      else:
        at_ns = middle_ns
    return at_ns
