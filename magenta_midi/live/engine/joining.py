"""Both at once: how the model comes in, and keeps its foot light."""

from magenta_midi.live.engine.note_history import PlayerRecord
from magenta_midi.live.protocol.events import SECOND

__all__ = ["entrance", "pedal_blurs"]

# The own pedal is down for at most so long, and so long after the last own key
# came up: two pedals blur each other.
PEDAL_NS, IDLE_PEDAL_NS = 5 * SECOND, 3 * SECOND // 2
# Fewer own notes than this in so long are brought up to it, by at most such a
# factor on the model's own rate.
ENTRANCE_NS, ENTRANCE_NOTES, MAX_ENTRANCE = 3 * SECOND, 5, 4.0


def entrance(own: PlayerRecord, now_ns: int) -> float:
  """How much livelier than its own rate the model has to be to join in.

  Silence confirms itself: who hears no own notes in the context takes it for
  the other's turn.

  Args:
    own: What the model has played.
    now_ns: Of the session's clock.

  Returns:
    A factor on its rate, 1 to 4.
  """
  since_ns = now_ns - ENTRANCE_NS
  lately = sum(note.onset_ns >= since_ns for note in own.notes[-16:])
  return MAX_ENTRANCE ** max(0.0, 1 - lately / ENTRANCE_NOTES)


def pedal_blurs(own: PlayerRecord, now_ns: int) -> bool:
  """Whether the own pedal has been down for too long, or over nothing."""
  if not own.pedal_down:
    return False
  down_ns = own.pedals[-1][0]
  if now_ns - down_ns >= PEDAL_NS:
    return True
  last_ns = max((note.end_ns or 0 for note in own.notes[-12:]), default=0)
  return now_ns - max(last_ns, down_ns) >= IDLE_PEDAL_NS
