"""Calibration of a keyboard: its touch, its pedal, its latency."""

import bisect
import dataclasses
import itertools
import json
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from magenta_midi.bounded_files import read_json
from magenta_midi.limits import AMOUNT
from magenta_midi.live.io.control_map import config_folder
from magenta_midi.live.protocol.events import SECOND, is_note_on, is_sustain
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.pedal import pedal_after
from magenta_midi.plain_text import line, nfc
from magenta_midi.settings import check_bounds, check_numbers, convert

__all__ = ["Calibration", "calibrate", "config_folder", "round_trip"]

# Fewer notes do not show a range.
MIN_NOTES = 8
# Shares of the notes that are softer, at either end: one stray note is none.
_LOW_SHARE, _HIGH_SHARE = 0.05, 0.95
# A foot that rests between two extremes for so long marks the half-pedal.
_DWELL_NS = SECOND // 2
# Distance from both extremes, as a share of the way between them.
_BETWEEN_SHARE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """One keyboard; the defaults fit most, and change nothing.

  The model receives, and a session stores, velocities of a keyboard with the
  default touch; what is passed on to an instrument stays as it was played.

  Attributes:
    velocity_low: Of the softest notes, 1 to 127.
    velocity_typical: Of notes as they come.
    velocity_high: Of the loudest.
    pedal_inverted: Whether a pedal that is not touched sends the high value.
    pedal_continuous: Whether it sends values in between.
    pedal_down_at: The half-pedal point, 0 to 127: from here on (inverted:
      from here downwards) the dampers are off the strings.
    round_trip_ms: From sending a message to hearing it again through a cable
      or a loop, milliseconds; None: not measured.
  """

  velocity_low: int = 20
  velocity_typical: int = 64
  velocity_high: int = 110
  pedal_inverted: bool = False
  pedal_continuous: bool = False
  pedal_down_at: int = 64
  round_trip_ms: float | None = None

  def __post_init__(self):
    """Raises ValueError where a number is out of range."""
    check_numbers(self)
    low, typical, high = (
      self.velocity_low,
      self.velocity_typical,
      self.velocity_high,
    )
    if not 1 <= low <= typical <= high <= 127:
      raise ValueError(
        "velocities must ascend from low over typical to high within 1..127,"
        f" got {low}, {typical}, {high}"
      )
    if not 0 <= self.pedal_down_at <= 127:
      raise ValueError(
        f"pedal_down_at must be in 0..127, got {self.pedal_down_at}"
      )
    check_bounds(self, AMOUNT, "round_trip_ms")

  def usual_velocity(self, velocity: int) -> int:
    """Velocity on a keyboard of the default touch, 1 to 127.

    Straight between softest, typical and loudest notes; ascending.
    """
    default = type(self)()
    # Later ones count where this keyboard's are equal.
    points = {
      1: 1,
      127: 127,
      self.velocity_low: default.velocity_low,
      self.velocity_high: default.velocity_high,
      self.velocity_typical: default.velocity_typical,
    }
    known = sorted(points)
    above = bisect.bisect_left(known, velocity)
    if above == len(known) or known[above] == velocity or not above:
      return points[known[min(above, len(known) - 1)]]
    low, high = known[above - 1], known[above]
    share = (velocity - low) / (high - low)
    return round(points[low] + share * (points[high] - points[low]))

  def pedal_is_down(self, value: int) -> bool:
    """Whether controller 64 at a value, 0 to 127, holds the sound.

    Without hysteresis: the point was measured on this pedal, so half-pedal is
    the player's choice, not a foot at rest. What follows gets 0 or 127.
    """
    down_at = self.pedal_down_at
    if self.pedal_inverted:
      value, down_at = 127 - value, 127 - down_at
    return pedal_after(value, False, down_at=down_at)

  @staticmethod
  def path(name: str) -> Path:
    """The file of a keyboard of a name."""
    # Quoted: names hold colons and slashes, and no two may share a file.
    file = urllib.parse.quote(nfc(name), safe=" ()+,-_")
    return config_folder() / "keyboards" / f"{file}.json"

  @classmethod
  def load(cls, name: str) -> "Calibration":
    """Reads the calibration of a keyboard; the defaults if none was saved.

    Raises:
      ValueError: The file is damaged.
      OSError: It cannot be read.
    """
    path = cls.path(name)
    return cls.read(path) if path.exists() else cls()

  @classmethod
  def read(cls, path: Path) -> "Calibration":
    """Reads a file that `save` wrote.

    Raises:
      ValueError: It is damaged.
      OSError: It cannot be read, or is no regular file of bounded size.
    """
    try:
      values = read_json(path)
      values = {f.name: values[f.name] for f in dataclasses.fields(cls)}
      return convert(cls, values, source="json")
    except (ValueError, KeyError, TypeError) as error:
      reason = line(error, longest=200)
      raise ValueError(
        f"{path}: is no calibration ({reason}). Calibrate again with"
        " magenta-midi ports --calibrate, or delete the file."
      ) from None

  def save(self, name: str) -> Path:
    """Keeps it for a keyboard; returns the file.

    Raises:
      OSError: It cannot be written.
    """
    path = self.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"keyboard": name, **dataclasses.asdict(self)}
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
    return path


def calibrate(
  messages: Sequence[tuple[int, bytes]], *, round_trip_ms: float | None = None
) -> Calibration:
  """Reads touch and pedal from what a player did on request.

  Args:
    messages: Time in nanoseconds and message, in order: notes from soft to
      loud; the pedal all the way down and up a few times; the pedal held
      still where the sound just starts to hold; at last the foot off it.
    round_trip_ms: As `round_trip` measured it.

  Returns:
    The calibration; the pedal's defaults where it never moved.

  Raises:
    ValueError: There are too few notes.
  """
  velocities = sorted(data[2] for _, data in messages if is_note_on(data))
  if len(velocities) < MIN_NOTES:
    raise ValueError(
      f"expected at least {MIN_NOTES} notes from soft to loud, got"
      f" {len(velocities)}. See that this is the right port, and play again."
    )
  last = len(velocities) - 1
  inverted, continuous, down_at = _pedal(
    [(time_ns, data[2]) for time_ns, data in messages if is_sustain(data)]
  )
  return Calibration(
    velocity_low=velocities[round(_LOW_SHARE * last)],
    velocity_typical=velocities[last // 2],
    velocity_high=velocities[round(_HIGH_SHARE * last)],
    pedal_inverted=inverted,
    pedal_continuous=continuous,
    pedal_down_at=down_at,
    round_trip_ms=round_trip_ms,
  )


def _pedal(moves: list[tuple[int, int]]) -> tuple[bool, bool, int]:
  """Whether it is inverted, whether continuous, and where it is down."""
  values = [value for _, value in moves]
  if not values or max(values) == min(values):
    return False, False, 64
  low, high = min(values), max(values)
  # The foot was off it at the end.
  inverted = 2 * values[-1] > low + high
  margin = max(1.0, _BETWEEN_SHARE * (high - low))
  between = {v for v in values if low + margin < v < high - margin}
  # How long the pedal stood still, and where.
  dwells = [
    (later - time_ns, value)
    for (time_ns, value), (later, _) in itertools.pairwise(moves)
    if value in between and later - time_ns >= _DWELL_NS
  ]
  if dwells:
    return inverted, True, max(dwells)[1]
  # Of two equal distances the one that is not the resting one.
  middle = (low + high) // 2 if inverted else (low + high + 1) // 2
  return inverted, bool(between), middle


def round_trip(
  sent_ns: Sequence[int], returned: Sequence[tuple[int, bytes]]
) -> float | None:
  """The median time from sending a probe to hearing it again.

  Args:
    sent_ns: When each probe was sent; probe i carries the value i.
    returned: Time and message of those that came back, in any order.

  Returns:
    Milliseconds; None where fewer than half of them came back.
  """
  back = {data[2]: time_ns for time_ns, data in reversed(returned)}
  times = sorted(
    back[i] - time_ns for i, time_ns in enumerate(sent_ns) if i in back
  )
  if not times or 2 * len(times) < len(sent_ns):
    return None
  return times[len(times) // 2] / 1e6
