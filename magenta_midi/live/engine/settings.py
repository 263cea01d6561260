"""Settings of the engine that cannot change while playing."""

import dataclasses

from magenta_midi.limits import HEARD_S, SEED, Bounds
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.meter import Meter
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["EngineSettings"]

_MS = SECOND // 1000
# Nothing in an engine takes longer than a minute.
_LENGTH_NS = Bounds(0, 60 * SECOND, "nanoseconds", whole=True)
_LENGTHS = (
  "horizon_ns",
  "refresh_ns",
  "lookahead_ns",
  "reply_within_ns",
  "backlog_ns",
  "interrupt_ns",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
  """Settings that cannot change while playing, except the commit horizon."""

  # Commit horizon: nothing is planned closer than this. It is the time of one
  # answer and the port's latency, with what both vary by.
  horizon_ns: int = 12 * _MS
  # The context is encoded again so often.
  refresh_ns: int = 400 * _MS
  # How far ahead a plan reaches while there is time.
  lookahead_ns: int = 1500 * _MS
  # A reply begins within so much after the first moment at which it can.
  reply_within_ns: int = 20 * _MS
  # Input that waited longer is not appended but encoded.
  backlog_ns: int = 50 * _MS
  # How fast held notes end when the player interrupts.
  interrupt_ns: int = 250 * _MS
  # Length of the context.
  context_s: float = 10.0
  seed: int = 0
  # As written: 4/4, 3/4, 6/8.
  meter: str = "4/4"
  # Number of the first note; see `PlannedNote.id`.
  first_id: int = 0
  # Rules for the silences that end a phrase.
  turns: TurnSettings = dataclasses.field(default_factory=TurnSettings)

  def __post_init__(self) -> None:
    """Refuses times and seeds that no engine can use."""
    check_numbers(self)
    check_bounds(self, _LENGTH_NS, *_LENGTHS)
    check_bounds(self, HEARD_S, "context_s")
    check_bounds(self, SEED, "seed")
    Meter.parse(self.meter)
