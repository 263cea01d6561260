"""How long a silence must last before it is the end of a phrase."""

from collections import deque

from magenta_midi.live.protocol.events import SECOND

__all__ = ["AdaptiveWait"]

# Silences remembered: some phrases of a player.
_REMEMBERED = 128


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
    own_s = self._base_s + self._factor * upper
    wait_s = (known * own_s + self._prior * self._default_s) / (
      known + self._prior
    )
    shortest_s, longest_s = self._bounds_s
    self.ns = round(min(max(wait_s, shortest_s), longest_s) * SECOND)
