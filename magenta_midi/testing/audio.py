"""Stand-ins for tests of audio: a codec that loses nothing, an echo."""

from __future__ import annotations

import numpy as np

from magenta_midi.audio.codec.codec import (
  CodecFacts,
  checked_codes,
  checked_levels,
  checked_samples,
)
from magenta_midi.typing import Float, Int

__all__ = ["EchoGenerator", "IdentityCodec"]

# Samples are whole multiples of 1 / _SCALE, from -4 on to below 4.
_SCALE, _ZERO = 2**16, 2**18


class IdentityCodec:
  """Each sample is a level of its frame, as a whole number of 2^-16.

  What is such a number and within -4..4 comes back as it was.
  """

  def __init__(
    self, *, hop: int = 4, channels: int = 2, sample_rate: int = 1000
  ):
    """Makes one with hop * channels levels."""
    self.facts = CodecFacts(
      name="identity codec",
      sample_rate=sample_rate,
      channels=channels,
      hop=hop,
      levels=hop * channels,
      codebook_size=2 * _ZERO,
      encode_latency_samples=0,
      decode_latency_samples=0,
    )

  @property
  def silence(self) -> int:
    """The code of a sample that is 0."""
    return _ZERO

  def encode(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """See `AudioCodec`; the last frame is filled with silence."""
    samples = checked_samples(self.facts, samples)
    frames = self.facts.frames(len(samples))
    padded = np.zeros((frames * self.facts.hop, self.facts.channels))
    padded[: len(samples)] = samples
    codes = np.clip(np.rint(padded * _SCALE) + _ZERO, 0, 2 * _ZERO - 1)
    return codes.astype(np.int32).reshape(frames, self.facts.levels)

  def decode(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """See `AudioCodec`; samples of absent levels are 0."""
    codes = checked_codes(self.facts, codes)
    full = np.full((len(codes), self.facts.levels), _ZERO, np.int32)
    full[:, : codes.shape[1]] = codes
    samples = (full - _ZERO).astype(np.float32) / np.float32(_SCALE)
    return samples.reshape(-1, self.facts.channels)

  def encoder(self) -> _Encoder:
    """See `AudioCodec`."""
    return _Encoder(self)

  def decoder(self, levels: int | None = None) -> _Decoder:
    """See `AudioCodec`."""
    return _Decoder(self, checked_levels(self.facts, levels))


class _Encoder:
  def __init__(self, codec: IdentityCodec):
    self._codec = codec
    self._rest = np.zeros((0, codec.facts.channels), np.float32)

  def push(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    facts = self._codec.facts
    samples = checked_samples(facts, samples, some=False)
    waiting = np.concatenate([self._rest, samples])
    whole = len(waiting) // facts.hop * facts.hop
    self._rest = waiting[whole:]
    if not whole:
      return np.zeros((0, facts.levels), np.int32)
    return self._codec.encode(waiting[:whole])

  def flush(self) -> Int[np.ndarray, "f l"]:
    rest, self._rest = self._rest, self._rest[:0]
    if not len(rest):
      return np.zeros((0, self._codec.facts.levels), np.int32)
    return self._codec.encode(rest)


class _Decoder:
  def __init__(self, codec: IdentityCodec, levels: int):
    self._codec, self._levels = codec, levels

  def push(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    facts = self._codec.facts
    codes = checked_codes(facts, codes, levels=self._levels, some=False)
    if not len(codes):
      return self.flush()
    return self._codec.decode(codes)

  def flush(self) -> Float[np.ndarray, "n c"]:
    return np.zeros((0, self._codec.facts.channels), np.float32)


class EchoGenerator:
  """Says again the newest frames of its context; keeps what it was given.

  Attributes:
    contexts: Of each call, a copy.
    negatives: Likewise.
  """

  def __init__(self, frames: int, *, silence: int = _ZERO):
    """Makes one.

    Args:
      frames: That it returns.
      silence: The code in place of those that are absent.
    """
    self._frames, self._silence = frames, silence
    self.contexts: list[np.ndarray] = []
    self.negatives: list[np.ndarray] = []

  def generate(
    self,
    context: Int[np.ndarray, "f l"],
    negative: Int[np.ndarray, "f l"],
    controls: object,
  ) -> Int[np.ndarray, "m l"]:
    """See `magenta_midi.audio.injection.engine.Generator`."""
    self.contexts.append(context.copy())
    self.negatives.append(negative.copy())
    newest = context[-self._frames :]
    return np.where(newest < 0, self._silence, newest)
