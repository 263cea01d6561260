"""Meters of a session: latency, replies, jitter, age of the plan."""

import numpy as np

from magenta_midi.live.protocol.events import SECOND

__all__ = ["Meters", "by_quarter", "percentiles"]

# A tick of the in-sync rate, and how old a plan of silence may be
# (StreamMUSE, RTAS 2026).
TICK_NS = SECOND // 8
REST_NS = SECOND // 2
STALE_TICKS = 32


def percentiles(
  values_ms: list[float], points: tuple[int, ...] = (50, 95, 99)
) -> dict[str, float | None]:
  """`{"p50": ...}`; None where nothing was measured."""
  return {
    f"p{point}": round(float(np.percentile(values_ms, point)), 3)
    if values_ms
    else None
    for point in points
  }


def by_quarter(values_ms: list[float]) -> list[dict[str, float | None]]:
  """50 and 99 % of each quarter of a run: whether it grew slower."""
  count = len(values_ms)
  return [
    percentiles(values_ms[i * count // 4 : (i + 1) * count // 4], (50, 99))
    for i in range(4)
  ]


class Meters:
  """Counts and times of one session.

  Args:
    horizon_ns: How far ahead nothing is planned any more.

  Attributes:
    horizon_ns: Likewise, now; it may follow the machine.
  """

  def __init__(self, horizon_ns: int):
    self.horizon_ns = horizon_ns
    # From the player's event to its answer lying in the output heap.
    self.compute_ms: list[float] = []
    # To the earliest time at which that answer could sound.
    self.reaction_ms: list[float] = []
    # From the decision that a phrase has ended to the plan of its reply, and
    # to its first note: when that comes is the model's choice.
    self.reply_ready_ms: list[float] = []
    self.first_note_ms: list[float] = []
    self._decided_ns: int | None = None
    # Sent later than due.
    self.jitter_ms: list[float] = []
    self.staleness_ms: list[float] = []
    self._ticks = 0
    self._playable = 0
    self._weighted = 0.0
    self._plan_ns: int | None = None
    self._next_tick_ns: int | None = None

  def answered(self, player_ns: tuple[int, ...], now_ns: int) -> None:
    """The plan that reacts to these events is in the heap."""
    for time_ns in player_ns:
      self.compute_ms.append((now_ns - time_ns) / 1e6)
      self.reaction_ms.append((now_ns - time_ns + self.horizon_ns) / 1e6)

  def replied(self, decided_ns: int, now_ns: int) -> None:
    """A reply is planned: the end of the phrase was detected."""
    self.reply_ready_ms.append((now_ns - decided_ns) / 1e6)
    self._decided_ns = decided_ns

  def note_sent(self, time_ns: int) -> None:
    """A note of the model was sent."""
    if self._decided_ns is not None and time_ns >= self._decided_ns:
      self.first_note_ms.append((time_ns - self._decided_ns) / 1e6)
      self._decided_ns = None

  def planned(self, now_ns: int) -> None:
    """A plan arrived, if only to rest."""
    self._plan_ns = now_ns

  def tick(self, now_ns: int, *, plays: bool, counts: bool) -> None:
    """Called often; measures each 125 ms.

    Args:
      now_ns: The time.
      plays: Whether something sounds or is planned.
      counts: Whether it is the model's to play now.
    """
    if self._plan_ns is None:
      return  # not ready yet
    if self._next_tick_ns is None:
      self._next_tick_ns = now_ns
    while now_ns >= self._next_tick_ns:
      self._next_tick_ns += TICK_NS
      if not counts:
        continue
      age_ns = now_ns - self._plan_ns
      playable = plays or age_ns <= REST_NS
      self._ticks += 1
      self._playable += playable
      stale = min(age_ns / TICK_NS, STALE_TICKS)
      self._weighted += playable * (STALE_TICKS - stale) / STALE_TICKS
      self.staleness_ms.append(min(age_ns, 100 * SECOND) / 1e6)

  def report(self) -> dict[str, object]:
    """The figures that commands print."""
    ticks = self._ticks
    return {
      "compute_ms": percentiles(self.compute_ms),
      "reaction_ms": percentiles(self.reaction_ms),
      "reply_ready_ms": percentiles(self.reply_ready_ms),
      "first_note_ms": percentiles(self.first_note_ms),
      "jitter_ms": percentiles(self.jitter_ms, (50, 99)),
      "isr": round(self._playable / ticks, 5) if ticks else None,
      "isr_w": round(self._weighted / ticks, 5) if ticks else None,
      "staleness": percentiles(self.staleness_ms),
    }
