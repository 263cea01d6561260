"""What the model may do to an instrument, whatever it plans."""

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Bounds outside the model; each time one takes effect is counted."""

  # Loudest note.
  velocity_cap: int = 110
  # A piano's keys.
  lowest_key: int = 21
  highest_key: int = 108
  # Most notes at once.
  sounding: int = 12
  # Most onsets in any second.
  onsets_per_s: int = 25
  # A key is struck again at the earliest after so much, ms.
  restrike_ms: int = 40
  # No note lasts longer, s.
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
    for name in ("sounding", "onsets_per_s", "longest_s", "late_ms"):
      if getattr(self, name) <= 0:
        raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
