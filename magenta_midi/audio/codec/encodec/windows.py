"""EnCodec in windows: networks that are not causal, as the 48 kHz one.

Each window of a second is coded for itself, at its own loudness; neighbours
overlap by a hundredth and are crossfaded. It is no `AudioCodec`: the loudness
of a window is no code, frames of neighbours overlap by one and a half, and no
frame is known before its window's last sample.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from magenta_midi.audio.codec.codec import (
  CodecFacts,
  checked_codes,
  checked_samples,
)
from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.network import Encodec
from magenta_midi.typing import Float, Int

__all__ = ["CodedWindow", "EncodecWindows"]

# As published: what is divided by is never 0.
_QUIETEST = 1e-8


class CodedWindow(NamedTuple):
  """One window.

  Attributes:
    codes: int32 [frames, levels].
    loudness: What its samples were divided by; 1 where nothing is normalized.
  """

  codes: np.ndarray
  loudness: float


class EncodecWindows:
  """An EnCodec network that codes windows.

  Attributes:
    config: Sizes of the network.
    facts: See `CodecFacts`; its latencies are a window's.
  """

  def __init__(self, config: EncodecConfig, network: Encodec):
    """Takes a network; nothing is compiled yet.

    Args:
      config: The sizes that the network was made of.
      network: With its weights.

    Raises:
      ValueError: The network codes no windows.
    """
    if not config.window:
      raise ValueError("this EnCodec codes no windows. Use EncodecCodec.")
    self.config = config
    self.facts = CodecFacts(
      name=f"EnCodec {config.sample_rate / 1000:g} kHz",
      sample_rate=config.sample_rate,
      channels=config.channels,
      hop=config.hop,
      levels=config.levels,
      codebook_size=config.codebook_size,
      encode_latency_samples=config.window,
      decode_latency_samples=config.window,
    )
    self._graph, self._weights = nnx.split(network)

  def encode(self, samples: np.ndarray) -> list[CodedWindow]:
    """Codes each window.

    Args:
      samples: As for `AudioCodec.encode`.

    Returns:
      The windows in order; the last one may have fewer frames.

    Raises:
      ValueError: See `AudioCodec.encode`.
    """
    config, windows = self.config, []
    samples = checked_samples(self.facts, samples)
    for begin in range(0, len(samples), config.window_step):
      part = samples[begin : begin + config.window]
      count = len(part)
      loudness = 1.0
      if config.normalized:
        mono = part.mean(axis=1, dtype=np.float64)
        loudness = float(np.sqrt(np.mean(mono**2)) + _QUIETEST)
      rest = [(0, config.window - count), (0, 0)]
      scaled = np.pad(part / np.float32(loudness), rest)
      codes = _encode(self._graph, self._weights, scaled, np.int32(count))
      frames = self.facts.frames(count)
      windows.append(CodedWindow(np.asarray(codes)[:frames], loudness))
    return windows

  def decode(self, windows: list[CodedWindow]) -> Float[np.ndarray, "n c"]:
    """Decodes windows and crossfades neighbours.

    Args:
      windows: In order; all but the last one have as many frames as a window.

    Returns:
      float32 samples; of the last window as many as its frames have, at least
      as many as were encoded.

    Raises:
      ValueError: There are no windows, one has not the right number of frames,
        its loudness is no positive number, or see `AudioCodec.decode`.
    """
    config, hop = self.config, self.config.hop
    if not windows:
      raise ValueError(f"{self.facts.name} was given no windows.")
    whole = self.facts.frames(config.window)
    for number, window in enumerate(windows):
      frames = len(checked_codes(self.facts, window.codes))
      last = number == len(windows) - 1
      if frames > whole or (frames < whole and not last):
        raise ValueError(
          f"window {number} must have {whole} frames, got {frames}."
        )
      if not 0 < window.loudness < np.inf:
        raise ValueError(
          f"the loudness of window {number} must be above 0 and finite, got"
          f" {window.loudness}."
        )
    size = config.window_step * (len(windows) - 1)
    size += len(windows[-1].codes) * hop
    # Longer than `size` where the last window lies inside the one before.
    size = max(size, (len(windows) > 1) * self._end(len(windows) - 2))
    sound = np.zeros((size, config.channels), np.float32)
    weights = np.zeros((size, 1), np.float32)
    ramp = self._ramp(len(windows[0].codes) * hop)
    for number, window in enumerate(windows):
      begin = number * config.window_step
      part = self._decoded(window)
      weight = ramp[: len(part)]
      sound[begin : begin + len(part)] += weight * part
      weights[begin : begin + len(part)] += weight
    return sound / weights

  def _end(self, number: int) -> int:
    whole = self.facts.frames(self.config.window) * self.config.hop
    return number * self.config.window_step + whole

  def _decoded(self, window: CodedWindow) -> np.ndarray:
    whole, levels = self.facts.frames(self.config.window), self.facts.levels
    count, some = window.codes.shape
    rest = [(0, whole - count), (0, levels - some)]
    codes = np.pad(window.codes.astype(np.int32), rest, constant_values=-1)
    samples = _decode(self._graph, self._weights, codes, np.int32(count))
    samples = np.asarray(samples)[: count * self.config.hop]
    return samples * np.float32(window.loudness)

  def _ramp(self, size: int) -> Float[np.ndarray, "n 1"]:
    """Weights [n, 1] that grow to the middle of a window, then fall."""
    place = np.linspace(0, 1, size + 2)[1:-1, None]
    return (0.5 - np.abs(place - 0.5)).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def _encode(
  graph: Any, weights: Any, block: Array, count: Array
) -> Int[Array, "f l"]:
  network: Encodec = nnx.merge(graph, weights)
  vectors, _, _ = network.encoder.begin(jnp.asarray(block), count)
  return network.quantizer.encode(vectors)


@partial(jax.jit, static_argnums=0)
def _decode(
  graph: Any, weights: Any, block: Array, count: Array
) -> Float[Array, "n c"]:
  network: Encodec = nnx.merge(graph, weights)
  vectors = network.quantizer.decode(jnp.asarray(block))
  return network.decoder.begin(vectors, count)[0]
