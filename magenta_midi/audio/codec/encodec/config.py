"""Sizes of EnCodec networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from magenta_midi.limits import Bounds
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["MONO_24_KHZ", "STEREO_48_KHZ", "EncodecConfig"]

# Far beyond what is published; a stranger's file must not ask for more memory
# than there is.
_WIDTH = Bounds(1, 4096, whole=True)
_FEW = Bounds(1, 64, whole=True)
_LAYERS = Bounds(0, 4, whole=True)
_RATE = Bounds(4000, 384_000, "Hz", whole=True)
_CHANNELS = Bounds(1, 2, whole=True)
_CODES = Bounds(2, 65_536, whole=True)
_WINDOW = Bounds(0, 10_000_000, "samples", whole=True)
_MAX_RATIOS = 8
# Residual blocks of the encoder: tracing thousands of layers takes a minute.
_MAX_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class EncodecConfig:
  """What the networks are made of; the defaults are those of 24 kHz mono."""

  sample_rate: int = 24_000
  channels: int = 1
  # Strides of the decoder from frames to samples; the encoder's are reversed.
  ratios: tuple[int, ...] = (8, 5, 4, 2)
  # Channels of the first convolution; each stride doubles them.
  filters: int = 32
  # Residual blocks before each stride, the kernel of each, the factor by which
  # dilation grows from one to the next, and how much narrower they are inside.
  residual_layers: int = 1
  residual_kernel: int = 3
  dilation_growth: int = 2
  compress: int = 2
  # Whether a residual block's input goes through a convolution, too.
  shortcut: bool = True
  # Samples that the first convolution reads, and frames that the last one does.
  kernel: int = 7
  last_kernel: int = 7
  lstm_layers: int = 2
  # Width of the vector of a frame.
  width: int = 128
  levels: int = 32
  codebook_size: int = 1024
  # Whether each frame depends only on what came before it.
  causal: bool = True
  # Whether the output of each convolution is normalized over the whole window.
  group_norm: bool = False
  # What lies before the first sample: its mirror image, or silence.
  mirrored: bool = True
  # Windows that are encoded each for itself, and from one to the next; 0: the
  # sound is encoded as one.
  window: int = 0
  window_step: int = 0
  # Whether each window is scaled to the same loudness.
  normalized: bool = False

  def __post_init__(self) -> None:
    """Refuses sizes that no network can have."""
    check_numbers(self)
    if not 1 <= len(self.ratios) <= _MAX_RATIOS:
      raise ValueError(
        f"ratios must be 1..{_MAX_RATIOS} strides, got {len(self.ratios)}."
      )
    check_bounds(self, _RATE, "sample_rate")
    check_bounds(self, _CHANNELS, "channels")
    check_bounds(self, _FEW, "ratios", "residual_kernel", "kernel")
    check_bounds(self, _FEW, "last_kernel", "compress", "levels")
    check_bounds(self, _FEW, "dilation_growth")
    check_bounds(self, _LAYERS, "residual_layers", "lstm_layers")
    check_bounds(self, _WIDTH, "filters", "width")
    check_bounds(self, _CODES, "codebook_size")
    check_bounds(self, _WINDOW, "window", "window_step")
    if self.filters << len(self.ratios) > _WIDTH.high:
      raise ValueError(
        f"filters must be at most {int(_WIDTH.high) >> len(self.ratios)} with"
        f" {len(self.ratios)} ratios, got {self.filters}."
      )
    if len(self.ratios) * self.residual_layers > _MAX_BLOCKS:
      raise ValueError(
        f"residual_layers must be at most {_MAX_BLOCKS // len(self.ratios)}"
        f" with {len(self.ratios)} ratios, got {self.residual_layers}."
      )
    if self.dilation_growth ** max(0, self.residual_layers - 1) > 4096:
      raise ValueError("dilation_growth is too large for residual_layers.")
    if self.filters < self.compress:
      raise ValueError(
        f"compress must be at most filters ({self.filters}), got"
        f" {self.compress}."
      )
    if self.causal and self.group_norm:
      raise ValueError(
        "group_norm reads the whole window, so causal must be false."
      )
    if self.window:
      if not 1 <= self.window_step <= self.window:
        raise ValueError(
          f"window_step must be 1..{self.window}, got {self.window_step}."
        )
      if self.causal:
        raise ValueError("a causal network needs no window.")
    elif not self.causal or self.normalized:
      raise ValueError(
        "a network that is not causal, or is normalized, needs a window."
      )

  @property
  def hop(self) -> int:
    """Samples of a frame."""
    return math.prod(self.ratios)

  @property
  def top(self) -> int:
    """Channels at the rate of frames."""
    return self.filters << len(self.ratios)

  @property
  def start_frames(self) -> int:
    """Frames that must be known before the first one can be computed.

    The mirror image before the first sample is as long as a convolution
    reaches back.
    """
    if not self.mirrored:
      return 1
    needed = 1
    for reach, stride in self._reaches():
      # A layer that runs at `stride` inputs a frame needs `reach + 1` of them.
      needed = max(needed, -(-(reach + 1) // stride))
    return needed

  def _reaches(self) -> list[tuple[int, int]]:
    """How far each convolution reaches back, and its inputs a frame."""
    rate = self.hop
    reaches = [(self.kernel - 1, rate), (self.last_kernel - 1, rate)]
    reaches += [(self.kernel - 1, 1), (self.last_kernel - 1, 1)]
    for ratio in reversed(self.ratios):
      for layer in range(self.residual_layers):
        dilation = self.dilation_growth**layer
        reaches.append(((self.residual_kernel - 1) * dilation, rate))
      reaches.append((ratio, rate))
      rate //= ratio
    return reaches


# The published models.
MONO_24_KHZ = EncodecConfig()
STEREO_48_KHZ = EncodecConfig(
  sample_rate=48_000,
  channels=2,
  levels=16,
  causal=False,
  group_norm=True,
  window=48_000,
  window_step=47_520,
  normalized=True,
)
