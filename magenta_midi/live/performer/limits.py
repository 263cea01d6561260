"""Limits of what the model may send to an instrument."""

import collections
import dataclasses

from magenta_midi.live.protocol.events import SECOND, PlannedNote

__all__ = ["Gate", "Limits"]

MS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Bounds outside the model; each time one takes effect is counted."""

  # Loudest note.
  velocity_cap: int = 110
  # A piano's keys.
  lowest_key: int = 21
  highest_key: int = 108
  # Most keys down at once; one more is not struck.
  sounding: int = 12
  # Most onsets in any second.
  onsets_per_s: int = 25
  # A key is struck again at the earliest after so much, ms.
  restrike_ms: int = 40
  # No key stays down longer, s.
  longest_s: float = 11.0
  # A note-on later than this is not played: never a burst, ms.
  late_ms: int = 30

  def __post_init__(self) -> None:
    """Refuses what no instrument could be played with."""
    if not 0 <= self.lowest_key <= self.highest_key <= 127:
      raise ValueError(
        f"keys must be in 0..127, lowest first; got {self.lowest_key} to"
        f" {self.highest_key}."
      )
    if not 1 <= self.velocity_cap <= 127:
      raise ValueError(
        f"velocity_cap must be in 1..127, got {self.velocity_cap}."
      )
    # Without a rest a key could be struck twice in one moment.
    for name in (
      "sounding",
      "onsets_per_s",
      "restrike_ms",
      "longest_s",
      "late_ms",
    ):
      if getattr(self, name) <= 0:
        raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")


class Gate:
  """Gate that decides which notes may begin, given those that did.

  Args:
    limits: What is too much.
  """

  def __init__(self, limits: Limits):
    self._limits = limits
    # Of each key's last strike: the planned time and that of sending.
    self._strikes: dict[int, tuple[int, int]] = {}
    self._onsets: collections.deque[int] = collections.deque(
      maxlen=limits.onsets_per_s
    )

  def refusal(self, note: PlannedNote, sounding: int) -> str:
    """Why a note may not begin; empty if it may.

    Goes by planned times, so that what is played does not depend on how late
    a machine is; `ready_ns` sees to the times of sending.

    Args:
      note: It would be next.
      sounding: How many other keys are down.
    """
    limits, time_ns = self._limits, note.time_ns
    if not limits.lowest_key <= note.key <= limits.highest_key:
      return "key"
    last = self._strikes.get(note.key)
    if last is not None and time_ns - last[0] < limits.restrike_ms * MS:
      return "re-strike"
    full = len(self._onsets) == limits.onsets_per_s
    if full and time_ns - self._onsets[0] < SECOND:
      return "onsets"
    return "sounding" if sounding >= limits.sounding else ""

  def ready_ns(self, note: PlannedNote) -> int:
    """When a note may be sent: its time, or after its key had a rest.

    The second is later only where the key's last strike was sent late.
    """
    last, rest_ns = self._strikes.get(note.key), self._limits.restrike_ms * MS
    if last is None or note.time_ns - last[0] < rest_ns:
      return note.time_ns
    return max(note.time_ns, last[1] + rest_ns)

  def struck(self, key: int, time_ns: int, sent_ns: int) -> None:
    """A key went down, by player or model.

    Args:
      key: 0 to 127.
      time_ns: When that was planned.
      sent_ns: When it happened.
    """
    self._strikes[key] = (time_ns, sent_ns)

  def counted(self, time_ns: int) -> None:
    """An onset of the model, as planned."""
    # A late plan may go back by a little: the newest time counts.
    last_ns = self._onsets[-1] if self._onsets else time_ns
    self._onsets.append(max(time_ns, last_ns))
