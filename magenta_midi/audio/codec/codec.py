"""Codec: what every audio codec of the package has in common.

A codec cuts sound into frames of `hop` samples and describes each by `levels`
numbers (codes): the first level says most, each further one corrects what the
levels before it left over. Any number of first levels can be decoded.

Streaming: `encoder()` and `decoder()` make objects that take sound or codes in
pieces of any length. The pieces that they return, joined, are what `encode` and
`decode` return for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = [
  "AudioCodec",
  "AudioDecoder",
  "AudioEncoder",
  "CodecFacts",
  "checked_codes",
  "checked_levels",
  "checked_samples",
]

# 40 dB over full scale. Louder ones are mostly integers that were not scaled.
LOUDEST = 100.0


@dataclass(frozen=True, kw_only=True)
class CodecFacts:
  """What is known of a codec before it runs.

  Attributes:
    name: What errors call it.
    sample_rate: Samples a second.
    channels: Channels of its sound; 1 is mono, 2 are left and right.
    hop: Samples of a frame.
    levels: Codes of a frame (quantizers).
    codebook_size: Codes are 0..codebook_size - 1, at every level.
    encode_latency_samples: Frame k is returned as soon as
      (k + 1) * hop + encode_latency_samples samples have been pushed.
    decode_latency_samples: As soon as f frames have been pushed,
      f * hop - decode_latency_samples samples have been returned.
  """

  name: str
  sample_rate: int
  channels: int
  hop: int
  levels: int
  codebook_size: int
  encode_latency_samples: int
  decode_latency_samples: int

  def __post_init__(self) -> None:
    for field in ("sample_rate", "channels", "hop", "levels", "codebook_size"):
      if getattr(self, field) < 1:
        raise ValueError(
          f"{field} must be at least 1, got {getattr(self, field)}."
        )
    for field in ("encode_latency_samples", "decode_latency_samples"):
      if getattr(self, field) < 0:
        raise ValueError(
          f"{field} must be at least 0, got {getattr(self, field)}."
        )

  @property
  def frame_rate(self) -> float:
    """Frames a second."""
    return self.sample_rate / self.hop

  @property
  def bits_per_second(self) -> float:
    """Size of the codes of all levels."""
    return self.frame_rate * self.levels * np.log2(self.codebook_size)

  @property
  def latency_samples(self) -> int:
    """From a sample that goes in until it comes out again, at most.

    That is without the time that encoding and decoding take.
    """
    return self.hop + self.encode_latency_samples + self.decode_latency_samples

  def frames(self, samples: int) -> int:
    """Frames of so many samples; the last one may be padded."""
    return -(-samples // self.hop)


@runtime_checkable
class AudioEncoder(Protocol):
  """Encodes one stream. Making it compiles; `push` and `flush` never do."""

  def push(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """Takes the next samples and returns the frames that are complete.

    Args:
      samples: [n, c] as for `AudioCodec.encode`; n may be 0.

    Returns:
      int32 codes, often none.

    Raises:
      ValueError: As `AudioCodec.encode`; the stream goes on as if the samples
        had not come.
    """
    ...

  def flush(self) -> Int[np.ndarray, "f l"]:
    """Ends the stream and returns its last frames; a new one begins."""
    ...


@runtime_checkable
class AudioDecoder(Protocol):
  """Decodes one stream. Making it compiles; `push` and `flush` never do."""

  def push(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """Takes the next frames and returns the samples that are certain.

    Args:
      codes: [f, l] as for `AudioCodec.decode`, with the number of levels that
        the decoder was made for; f may be 0.

    Raises:
      ValueError: As `AudioCodec.decode`; the stream goes on as if the frames
        had not come.
    """
    ...

  def flush(self) -> Float[np.ndarray, "n c"]:
    """Ends the stream and returns its last samples; a new one begins."""
    ...


@runtime_checkable
class AudioCodec(Protocol):
  """Sound to codes and back. The same input always gives the same output."""

  @property
  def facts(self) -> CodecFacts:
    """Rates, sizes and latencies."""
    ...

  def encode(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """Encodes a whole sound.

    Args:
      samples: Floating point [n, c], full scale 1, at `facts.sample_rate`.

    Returns:
      int32 codes of `facts.frames(n)` frames, all levels.

    Raises:
      ValueError: There are no samples, not as many channels as the codec has,
        or a sample is NaN, infinite or far beyond full scale.
    """
    ...

  def decode(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """Decodes frames to sound.

    Args:
      codes: Whole numbers [f, l] with 1..`facts.levels` levels, the first ones.

    Returns:
      float32 samples, `facts.hop` of each frame; full scale is 1, and a sample
      may lie a little beyond.

    Raises:
      ValueError: There are no frames, no or too many levels, or a code is not
        in 0..codebook_size - 1.
    """
    ...

  def encoder(self) -> AudioEncoder:
    """Makes an encoder of a new stream."""
    ...

  def decoder(self, levels: int | None = None) -> AudioDecoder:
    """Makes a decoder of a new stream.

    Args:
      levels: Levels of the codes that it will get; None: all.

    Raises:
      ValueError: The codec has not so many levels.
    """
    ...


def checked_samples(
  facts: CodecFacts, samples: np.ndarray, *, some: bool = True
) -> Float[np.ndarray, "n c"]:
  """Returns samples as contiguous float32, or says what is wrong with them.

  Args:
    facts: Of the codec that gets them.
    samples: See `AudioCodec.encode`.
    some: Whether there must be any.

  Raises:
    ValueError: See `AudioCodec.encode`.
  """
  shape = np.shape(samples)
  if len(shape) != 2 or shape[1] != facts.channels:
    raise ValueError(
      f"{facts.name} takes samples of shape [n, {facts.channels}], got"
      f" {list(shape)}."
    )
  if not np.issubdtype(np.asarray(samples).dtype, np.floating):
    raise ValueError(
      f"{facts.name} takes floating-point samples of full scale 1, got"
      f" {np.asarray(samples).dtype}. Divide 16-bit samples by 32768."
    )
  if some and not len(samples):
    raise ValueError(f"{facts.name} was given no samples.")
  # Neither NaN nor infinity passes.
  good = np.abs(samples) <= LOUDEST
  if not good.all():
    at = int(np.flatnonzero(~good.all(axis=1))[0])
    value = float(samples[at][~good[at]][0])
    raise ValueError(
      f"samples must be finite and within full scale 1, got {value:g} at"
      f" sample {at}."
    )
  return np.ascontiguousarray(samples, np.float32)


def checked_codes(
  facts: CodecFacts,
  codes: np.ndarray,
  *,
  levels: int | None = None,
  some: bool = True,
) -> Int[np.ndarray, "f l"]:
  """Returns codes as contiguous int32, or says what is wrong with them.

  Args:
    facts: Of the codec that gets them.
    codes: See `AudioCodec.decode`.
    levels: How many there must be; None: any number that the codec has.
    some: Whether there must be any frames.

  Raises:
    ValueError: See `AudioCodec.decode`.
  """
  shape = np.shape(codes)
  low, high = (1, facts.levels) if levels is None else (levels, levels)
  if len(shape) != 2 or not low <= shape[1] <= high:
    wanted = str(high) if low == high else f"{low}..{high}"
    raise ValueError(
      f"{facts.name} takes codes of shape [frames, {wanted}], got"
      f" {list(shape)}."
    )
  if not np.issubdtype(np.asarray(codes).dtype, np.integer):
    raise ValueError(
      f"codes must be whole numbers, got {np.asarray(codes).dtype}."
    )
  if some and not len(codes):
    raise ValueError(f"{facts.name} was given no codes.")
  wrong = (codes < 0) | (codes >= facts.codebook_size)
  if wrong.any():
    frame, level = (int(place[0]) for place in np.nonzero(wrong))
    raise ValueError(
      f"codes of {facts.name} must be in 0..{facts.codebook_size - 1}, got"
      f" {int(codes[frame, level])} (frame {frame}, level {level})."
    )
  return np.ascontiguousarray(codes, np.int32)


def checked_levels(facts: CodecFacts, levels: int | None) -> int:
  """Returns a number of levels that a decoder can be made for.

  Args:
    facts: Of the codec.
    levels: None: all.

  Raises:
    ValueError: The codec has not so many, or none were asked for.
  """
  if levels is None:
    return facts.levels
  if not 1 <= levels <= facts.levels:
    raise ValueError(
      f"{facts.name} has 1..{facts.levels} levels, got {levels}."
    )
  return int(levels)
