"""Settings of the note codec, and its table of durations."""

import dataclasses
import functools

import numpy as np

from magenta_midi.tokens.grid import MAX_DURATION_S, GridConfig
from magenta_midi.typing import Float, Int

__all__ = [
  "KEYS",
  "PEDAL_DOWN",
  "PEDAL_UP",
  "NoteCodecConfig",
]

KEYS = 128
PEDAL_DOWN = 128  # codes of the key level beyond the keys
PEDAL_UP = 129

_TIE_S = 1e-9
# The promised precision of a round trip; settings that cannot keep it are
# refused.
_DURATION_RELATIVE = 0.05
_DURATION_ABSOLUTE_S = 0.010


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoteCodecConfig(GridConfig):
  """Settings of the `note` codec.

  Raises:
    ValueError: A setting breaks the promised round trip (onset 5 ms, velocity
      2, duration 5 % or 10 ms) or the settings do not fit each other.
  """

  # Durations of 10 ms to 10 s: first linear, then geometric. HELD is one more.
  duration_bins: int = 63
  # Whether the context has frames for the player's note-offs; RELEASED is then
  # one more duration. Never predicted.
  releases: bool = False

  def __post_init__(self):
    super().__post_init__()
    if not 2 <= self.duration_bins <= 1000:
      raise ValueError(
        f"duration_bins must be in 2..1000, got {self.duration_bins}."
      )
    table = self.duration_table_s
    middle = (table[1:] + table[:-1]) / 2
    worst = np.diff(table) / 2
    allowed = np.maximum(_DURATION_RELATIVE * middle, _DURATION_ABSOLUTE_S)
    if np.any(worst > allowed):
      raise ValueError(
        f"duration_bins must be enough for 5 % or 10 ms (60 are), got "
        f"{self.duration_bins}."
      )

  @property
  def end(self) -> int:
    """The onset code END: the model plays no more in this chunk."""
    return self.horizon_steps

  @property
  def held(self) -> int:
    """The duration code HELD: the note still sounds, its length is unknown."""
    return self.duration_bins

  @property
  def released(self) -> int:
    """The duration code RELEASED: the end of a held note, not a new note."""
    return self.duration_bins + 1

  @property
  def duration_codes(self) -> int:
    """Number of codes of the duration level."""
    return self.duration_bins + 1 + self.releases

  # Duration.

  @property
  def duration_table_s(self) -> Float[np.ndarray, " n"]:
    """Seconds of each duration code, ascending, 10 ms to 10 s; read-only."""
    return _duration_table_s(self.duration_bins)

  def duration_to_code(
    self, duration_s: Float[np.ndarray, "*n"]
  ) -> Int[np.ndarray, "*n"]:
    """The nearest code, ties upward; clipped at both ends of the table."""
    edges = _duration_edges_s(self.duration_bins)
    return np.asarray(np.searchsorted(edges, duration_s, side="right")).astype(
      np.int32
    )

  def code_to_duration_s(
    self, code: Int[np.ndarray, "*n"]
  ) -> Float[np.ndarray, "*n"]:
    """Seconds of each code.

    Raises:
      ValueError: A code is HELD, which has no length, or out of range.
    """
    if np.size(code) and not 0 <= np.min(code) <= np.max(code) < self.held:
      raise ValueError(
        f"duration codes must be in 0..{self.held - 1} to have a length, got "
        f"{np.min(code)}..{np.max(code)} (HELD is {self.held})."
      )
    return np.asarray(self.duration_table_s[code])


@functools.lru_cache
def _duration_table_s(bins: int) -> np.ndarray:
  """Multiples of 10 ms while geometric spacing would be finer than that."""
  first_ms, last_ms = 10.0, 1000 * MAX_DURATION_S
  for even in range(1, bins):
    ratio = (last_ms / (even * first_ms)) ** (1 / (bins - even))
    if even * first_ms * (ratio - 1) >= first_ms:
      break
  else:
    raise ValueError(f"duration_bins must be fewer than 1000, got {bins}.")
  rest = even * first_ms * ratio ** np.arange(1, bins - even + 1)
  table = np.concatenate([first_ms * np.arange(1, even + 1), np.round(rest)])
  table /= 1000
  table.setflags(write=False)
  return table


@functools.lru_cache
def _duration_edges_s(bins: int) -> np.ndarray:
  table = _duration_table_s(bins)
  # As with steps: a tie rounds up, whatever the float error.
  return (table[1:] + table[:-1]) / 2 - _TIE_S
