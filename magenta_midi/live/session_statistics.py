"""Statistics of a live session: latency, notes, limits, losses."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from magenta_midi.live.protocol.events import Message, is_note_on
from magenta_midi.live.protocol.messages import (
  ModelReport,
  ModelState,
  PlanReceived,
  PortReport,
  PortsState,
)
from magenta_midi.live.recording.metrics import percentiles

__all__ = ["SessionStatistics"]


class SessionStatistics:
  """Figures of one session.

  Attributes:
    notes_in: Note-ons of the player.
    notes_out: Note-ons of the model.
    clips: Limit -> how often it took effect.
    dropped: Messages of the player that were lost.
    model: Newest state of the model; None before the first.
  """

  def __init__(self, recent: int | None):
    """Starts at zero.

    Args:
      recent: Number of answers that percentiles cover; None: all.
    """
    self.notes_in = self.notes_out = 0
    self.clips: dict[str, int] = {}
    self.dropped = 0
    self.model: ModelState | None = None
    self._compute_ms: deque[float] = deque(maxlen=recent)
    self._late_ms: deque[float] = deque(maxlen=recent)

  def count(self, received: Iterable[Message], sent: Iterable[Message]) -> None:
    """Counts the notes of both."""
    self.notes_in += sum(is_note_on(m.data) for m in received)
    self.notes_out += sum(is_note_on(m.data) for m in sent)

  def handle(self, report: ModelReport | PortReport) -> None:
    """Takes the figures of a report."""
    match report:
      case ModelState():
        self.model = report
      case PlanReceived() if report.why != "reply":
        self._compute_ms.append(report.compute_ns / 1e6)
      case PortsState():
        self._late_ms.extend(late / 1e6 for late in report.late_ns)
        self.clips, self.dropped = report.clips, report.dropped

  def compute_ms(
    self, points: tuple[int, ...] = (50, 95, 99)
  ) -> dict[str, float | None]:
    """From the player's event to its answer in the ports' process."""
    return percentiles(list(self._compute_ms), points)

  def jitter_ms(self) -> dict[str, float | None]:
    """By how much note-ons were late."""
    return percentiles(list(self._late_ms), (50, 99))

  def report(self) -> dict[str, Any]:
    """All figures, JSON-able."""
    model = self.model
    return {
      "notes_in": self.notes_in,
      "notes_out": self.notes_out,
      "compute_ms": self.compute_ms(),
      "jitter_ms": self.jitter_ms(),
      "compiles_while_playing": model.compiles if model else None,
      "adapter_switches": model.switches if model else None,
      "slowest_switch_ms": model.slowest_switch_ms if model else None,
      "clips": self.clips,
      "messages_dropped": self.dropped,
    }
