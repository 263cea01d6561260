"""Limits of what the model may send to an instrument."""

import collections
import dataclasses

from magenta_midi.limits import COUNT, POSITIVE
from magenta_midi.live.protocol.events import SECOND, PlannedNote
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["Gate", "Limits"]

MS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Limits of the output; each use of a limit is counted."""

  # Highest velocity.
  velocity_cap: int = 110
  # A piano's keys.
  lowest_key: int = 21
  highest_key: int = 108
  # Highest number of keys down at once; more note-ons are dropped.
  sounding: int = 12
  # Most onsets in any second.
  onsets_per_s: int = 25
  # Shortest time between two note-ons of one key, ms.
  restrike_ms: int = 40
  # No key stays down longer, s.
  longest_s: float = 11.0
  # A note-on later than this is dropped, so that no burst is played, ms.
  late_ms: int = 30

  def __post_init__(self) -> None:
    """Refuses limits that no instrument can use."""
    check_numbers(self)
    if not 0 <= self.lowest_key <= self.highest_key <= 127:
      raise ValueError(
        f"keys must be in 0..127, lowest first; got {self.lowest_key} to"
        f" {self.highest_key}."
      )
    if not 1 <= self.velocity_cap <= 127:
      raise ValueError(
        f"velocity_cap must be in 1..127, got {self.velocity_cap}."
      )
    # With 0, two note-ons of a key could have the same time.
    check_bounds(self, COUNT, "sounding", "onsets_per_s")
    check_bounds(self, COUNT, "restrike_ms", "late_ms")
    check_bounds(self, POSITIVE, "longest_s")


class Gate:
  """Gate that decides which notes may begin, given those that did.

  Args:
    limits: The limits.
  """

  def __init__(self, limits: Limits):
    self._limits = limits
    # Times of each key's last note-on: planned and sent.
    self._note_ons: dict[int, tuple[int, int]] = {}
    self._onsets: collections.deque[int] = collections.deque(
      maxlen=limits.onsets_per_s
    )

  def refusal(self, note: PlannedNote, sounding: int) -> str:
    """Why a note may not begin; empty if it may.

    Uses planned times, so that the music does not depend on the delay of a
    machine; `ready_ns` takes account of the times of sending.

    Args:
      note: It would be next.
      sounding: How many other keys are down.
    """
    limits, time_ns = self._limits, note.time_ns
    if not limits.lowest_key <= note.key <= limits.highest_key:
      return "key"
    last = self._note_ons.get(note.key)
    if last is not None and time_ns - last[0] < limits.restrike_ms * MS:
      return "re-strike"
    full = len(self._onsets) == limits.onsets_per_s
    if full and time_ns - self._onsets[0] < SECOND:
      return "onsets"
    return "sounding" if sounding >= limits.sounding else ""

  def ready_ns(self, note: PlannedNote) -> int:
    """Earliest time to send a note: its time, or after the rest of its key.

    The second is later only if the key's last note-on was sent late.
    """
    last, rest_ns = self._note_ons.get(note.key), self._limits.restrike_ms * MS
    if last is None or note.time_ns - last[0] < rest_ns:
      return note.time_ns
    return max(note.time_ns, last[1] + rest_ns)

  def note_on(self, key: int, time_ns: int, sent_ns: int) -> None:
    """Records a note-on of player or model.

    Args:
      key: 0 to 127.
      time_ns: When that was planned.
      sent_ns: When it happened.
    """
    self._note_ons[key] = (time_ns, sent_ns)

  def counted(self, time_ns: int) -> None:
    """An onset of the model, as planned."""
    # A late plan may go back by a little: the newest time counts.
    last_ns = self._onsets[-1] if self._onsets else time_ns
    self._onsets.append(max(time_ns, last_ns))
