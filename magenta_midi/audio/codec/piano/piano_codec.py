"""The piano codec: 75 frames of four codes a second, 3.3 kbit/s.

Trained on pianos only; other sound is described as well as a piano could play
it. It is mono: left and right are mixed. Frames are encoded and decoded one by
one, also those of a whole sound, so that a stream gives the very same codes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.audio.codec.codec import (
  CodecFacts,
  checked_codes,
  checked_levels,
  checked_samples,
)
from magenta_midi.audio.codec.piano.network import (
  DecoderState,
  EncoderState,
  PianoNetwork,
)
from magenta_midi.audio.codec.piano.weights import read_codec
from magenta_midi.typing import Float, Int

__all__ = ["PianoCodec", "PianoDecoder", "PianoEncoder", "piano_codec"]

NAME = "piano"


@lru_cache(maxsize=1)
def piano_codec() -> PianoCodec:
  """The codec in the package, the same one each time.

  Raises:
    CodecFileError: It is missing or damaged.
  """
  return PianoCodec.load(Path(__file__).parent)


class PianoCodec:
  """An `AudioCodec` with a network; see `piano_codec` and `load`.

  Args:
    network: Its weights are not changed.
    training: Facts of its training.

  Attributes:
    facts: Rates, sizes and latencies.
    training: As given.
  """

  def __init__(
    self, network: PianoNetwork, training: dict[str, Any] | None = None
  ):
    config = network.config
    self.training = training or {}
    self.facts = CodecFacts(
      name=NAME,
      sample_rate=config.sample_rate,
      channels=1,
      hop=config.hop,
      levels=config.levels,
      codebook_size=config.codes,
      encode_latency_samples=0,
      decode_latency_samples=config.overlap,
    )
    self._network = network
    graph, state = nnx.split(network)
    self._leaves, tree = jax.tree.flatten(state)

    def network_of(leaves: list[jax.Array]) -> PianoNetwork:
      return nnx.merge(graph, jax.tree.unflatten(tree, leaves))

    def encode(
      leaves: list[jax.Array], samples: jax.Array, state: EncoderState
    ) -> tuple[jax.Array, EncoderState]:
      return network_of(leaves).encode(samples, state)

    def decode(
      leaves: list[jax.Array], latents: jax.Array, state: DecoderState
    ) -> tuple[jax.Array, DecoderState]:
      return network_of(leaves).decoder(latents, state)

    self._encode, self._decode = jax.jit(encode), jax.jit(decode)
    self._tables: np.ndarray | None = None

  @classmethod
  def load(cls, folder: Path) -> PianoCodec:
    """Reads a codec that a training wrote.

    Raises:
      CodecFileError: It is missing or damaged.
    """
    return cls(*read_codec(folder))

  def encode(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """Encodes a whole sound; see `AudioCodec.encode`.

    Args:
      samples: Floating point [n, 1], or [n, 2] to be mixed to mono.

    Raises:
      ValueError: As `AudioCodec.encode`.
    """
    samples = checked_samples(self.facts, _mono(samples))
    encoder = PianoEncoder(self)
    return np.concatenate([encoder.push(samples), encoder.flush()])

  def decode(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """Decodes frames; the last 27 ms fade out. See `AudioCodec.decode`.

    Raises:
      ValueError: As `AudioCodec.decode`.
    """
    codes = checked_codes(self.facts, codes)
    decoder = PianoDecoder(self, codes.shape[1])
    return np.concatenate([decoder.push(codes), decoder.flush()])

  def encoder(self) -> PianoEncoder:
    """Makes an encoder of a new stream."""
    return PianoEncoder(self)

  def decoder(self, levels: int | None = None) -> PianoDecoder:
    """Makes a decoder of a new stream; see `AudioCodec.decoder`.

    Raises:
      ValueError: The codec has not so many levels.
    """
    return PianoDecoder(self, checked_levels(self.facts, levels))

  def encode_frame(
    self, samples: Float[np.ndarray, " n"], state: EncoderState
  ) -> tuple[jax.Array, EncoderState]:
    """Codes `[l]` of one frame, not yet awaited, and what comes after."""
    codes, state = self._encode(self._leaves, samples[None], state)
    return codes[0, 0], state

  def decode_frame(
    self, latent: Float[np.ndarray, " d"], state: DecoderState
  ) -> tuple[jax.Array, DecoderState]:
    """Samples of one frame, not yet awaited, and what comes after."""
    samples, state = self._decode(self._leaves, latent[None, None], state)
    return samples[0], state

  def latents(self, codes: Int[np.ndarray, "f l"]) -> Float[np.ndarray, "f d"]:
    """What the decoder gets for codes, of the first levels or of all."""
    if self._tables is None:
      quantizer = self._network.quantizer
      books = jnp.asarray(quantizer.books[...])
      tables = [
        project(book)
        for project, book in zip(quantizer.out, books, strict=True)
      ]
      self._tables = np.asarray(jnp.stack(tables))
    levels = np.arange(codes.shape[1])
    return self._tables[levels, codes].sum(axis=1, dtype=np.float32)

  def encoder_state(self) -> EncoderState:
    """After silence."""
    return self._network.encoder_state()

  def decoder_state(self) -> DecoderState:
    """Before the first frame."""
    return self._network.decoder_state()


class PianoEncoder:
  """An `AudioEncoder`; takes stereo too, which is mixed to mono."""

  def __init__(self, codec: PianoCodec):
    self._codec, self._facts = codec, codec.facts
    self._start = codec.encoder_state()
    self._reset()
    # Compiles.
    nothing = np.zeros(self._facts.hop, np.float32)
    jax.block_until_ready(codec.encode_frame(nothing, self._start)[0])

  def _reset(self) -> None:
    self._state = self._start
    self._left = np.zeros(0, np.float32)

  def push(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """Takes samples `[n, 1]` or `[n, 2]`; see `AudioEncoder.push`."""
    samples = checked_samples(self._facts, _mono(samples), some=False)
    hop, found = self._facts.hop, []
    waiting = np.concatenate([self._left, samples[:, 0]])
    whole = len(waiting) // hop * hop
    for frame in waiting[:whole].reshape(-1, hop):
      codes, self._state = self._codec.encode_frame(frame, self._state)
      found.append(codes)
    self._left = waiting[whole:]
    if not found:
      return np.zeros((0, self._facts.levels), np.int32)
    return np.array(jax.device_get(found), np.int32)

  def flush(self) -> Int[np.ndarray, "f l"]:
    """Fills the last frame with silence; see `AudioEncoder.flush`."""
    rest = -len(self._left) % self._facts.hop
    last = self.push(np.zeros((rest, 1), np.float32))
    self._reset()
    return last


class PianoDecoder:
  """An `AudioDecoder` for codes of so many levels."""

  def __init__(self, codec: PianoCodec, levels: int):
    self._codec, self._facts = codec, codec.facts
    self._levels = levels
    self._start = codec.decoder_state()
    self._reset()
    # Compiles.
    latent = codec.latents(np.zeros((1, levels), np.int32))[0]
    jax.block_until_ready(codec.decode_frame(latent, self._start)[0])

  def _reset(self) -> None:
    self._state = self._start
    self._begun = False
    # Samples before the first, which come out first.
    self._early = self._facts.decode_latency_samples

  def push(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """Takes frames; see `AudioDecoder.push`."""
    codes = checked_codes(self._facts, codes, levels=self._levels, some=False)
    found = []
    for latent in self._codec.latents(codes):
      samples, self._state = self._codec.decode_frame(latent, self._state)
      found.append(samples)
    if not found:
      return np.zeros((0, 1), np.float32)
    self._begun = True
    return self._heard(np.concatenate(jax.device_get(found)))

  def flush(self) -> Float[np.ndarray, "n c"]:
    """Gives the last samples, which fade out; see `AudioDecoder.flush`."""
    rest = np.zeros(0, np.float32)
    if self._begun:
      rest = np.array(self._state.sums[0])
    last = self._heard(rest)
    self._reset()
    return last

  def _heard(self, samples: Float[np.ndarray, " n"]) -> np.ndarray:
    """Samples [n, 1] without those before the first."""
    early = min(self._early, len(samples))
    self._early -= early
    return samples[early:, None]


def _mono(samples: np.ndarray) -> np.ndarray:
  """The mean of two channels; all else as it is, to be checked."""
  shape = np.shape(samples)
  if len(shape) != 2 or shape[1] != 2:
    return samples
  if not np.issubdtype(np.asarray(samples).dtype, np.floating):
    return np.asarray(samples)[:, :1]
  return np.mean(samples, axis=1, keepdims=True)
