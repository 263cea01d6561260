"""Meters as they are written: `4/4`, `3/4`, `6/8`."""

import re
from typing import NamedTuple

from magenta_midi import plain_text

__all__ = ["Meter"]

_FORM = re.compile(r"([0-9]{1,2})\s*/\s*([0-9]{1,2})")
_UNITS = (1, 2, 4, 8, 16, 32)
_MOST_BEATS = 16


class Meter(NamedTuple):
  """What a bar has.

  Attributes:
    count: Notes of the unit.
    unit: 4 for quarter notes, 8 for eighth notes ...
  """

  count: int = 4
  unit: int = 4

  @property
  def beats(self) -> int:
    """Of a bar: what a tempo counts, and what a foot taps."""
    return self.count // 3 if self.triplets else self.count

  @property
  def quarters(self) -> float:
    """Length of a beat in quarter notes."""
    return (3 if self.triplets else 1) * 4 / self.unit

  @property
  def triplets(self) -> bool:
    """Whether its beats have three parts, as those of 6/8, 9/8 and 12/8."""
    return self.unit >= 8 and self.count > 3 and self.count % 3 == 0

  @classmethod
  def parse(cls, text: str) -> "Meter":
    """Reads a meter such as `3/4`.

    Raises:
      ValueError: It is none, or has more than 16 beats a bar.
    """
    found = _FORM.fullmatch(text.strip())
    if found is not None:
      meter = cls(int(found.group(1)), int(found.group(2)))
      known = meter.count >= 1 and meter.unit in _UNITS
      if known and meter.beats <= _MOST_BEATS:
        return meter
    raise ValueError(
      f"a meter must be such as 4/4, 3/4 or 6/8, with at most {_MOST_BEATS}"
      f" beats a bar, got {plain_text.line(text, longest=20)!r}."
    )
