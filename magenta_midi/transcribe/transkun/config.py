"""Sizes of Transkun 2.0, as its package ships it."""

from __future__ import annotations

from dataclasses import dataclass

from magenta_midi.limits import COUNT, TARGET_S
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["TranskunConfig"]


@dataclass(frozen=True, kw_only=True)
class TranskunConfig:
  """What the network is made of; the defaults are the published model's."""

  rate_hz: int = 44_100
  # Samples from frame to frame, and of a frame.
  hop: int = 1024
  window: int = 4096
  mels: int = 229
  # Windows of a frame: Hann, and Gaussians that were learned.
  windows: int = 6
  # A segment, and from one to the next, s.
  segment_s: float | int = 16
  step_s: float | int = 8
  # Channels of the first convolution; the transformer has four times as many.
  base: int = 64
  heads: int = 8
  layers: int = 6
  # Of the heads of velocity and of times.
  hidden: int = 512
  # What is transcribed: controllers as negative numbers, then keys.
  targets: tuple[int, ...] = (-64, -67, *range(21, 109))

  def __post_init__(self) -> None:
    """Refuses sizes that no network can have."""
    check_numbers(self)
    sizes = ("rate_hz", "hop", "window", "mels", "windows")
    check_bounds(self, COUNT, *sizes, "base", "heads", "layers", "hidden")
    check_bounds(self, TARGET_S, "segment_s", "step_s")

  @property
  def segment(self) -> int:
    """Samples of a segment."""
    return round(self.segment_s * self.rate_hz)

  @property
  def frames(self) -> int:
    """Frames of a segment; the first one lies around its first sample."""
    return -(-self.segment // self.hop) + 1

  @property
  def step_frames(self) -> int:
    """Frames from one segment to the next."""
    return -(-round(self.step_s * self.rate_hz) // self.hop)

  @property
  def width(self) -> int:
    """Width of the transformer."""
    return 4 * self.base
