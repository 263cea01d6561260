"""Clicks of a metronome and of a count-in, as they are sent and written."""

from typing import NamedTuple

__all__ = ["CLICK_CHANNEL", "CLICK_S", "Click"]

# General MIDI's percussion, and its high and low wood block.
CLICK_CHANNEL = 10
_ACCENT_KEY, _CLICK_KEY = 76, 77
_ACCENT_VELOCITY, _CLICK_VELOCITY = 100, 70
CLICK_S = 0.05


class Click(NamedTuple):
  """A click; the first of a bar has the accent.

  Attributes:
    time_s: When, in seconds.
    accent: Whether it is louder and higher.
  """

  time_s: float
  accent: bool

  @property
  def key(self) -> int:
    """Of General MIDI's percussion."""
    return _ACCENT_KEY if self.accent else _CLICK_KEY

  @property
  def velocity(self) -> int:
    """1 to 127."""
    return _ACCENT_VELOCITY if self.accent else _CLICK_VELOCITY
