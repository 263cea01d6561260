"""EnCodec's three parts: encoder, quantizer, decoder."""

from __future__ import annotations

import jax
from flax import nnx
from jax import Array

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.seanet import make_decoder, make_encoder
from magenta_midi.audio.codec.quantizer import nearest_codes, summed_vectors
from magenta_midi.typing import Float, Int

__all__ = ["Encodec", "Quantizer"]


class Quantizer(nnx.Module):
  """The codebooks of all levels."""

  def __init__(self, config: EncodecConfig, *, rngs: nnx.Rngs):
    shape = (config.levels, config.codebook_size, config.width)
    self.codebooks = nnx.Param(jax.random.normal(rngs.params(), shape))

  def encode(self, vectors: Float[Array, "t d"]) -> Int[Array, "t l"]:
    """See `nearest_codes`."""
    return nearest_codes(vectors, self.codebooks[...])

  def decode(self, codes: Int[Array, "t l"]) -> Float[Array, "t d"]:
    """See `summed_vectors`."""
    return summed_vectors(codes, self.codebooks[...])


class Encodec(nnx.Module):
  """The whole network, with random weights until others are loaded."""

  def __init__(self, config: EncodecConfig, *, rngs: nnx.Rngs):
    self.encoder = make_encoder(config, rngs)
    self.quantizer = Quantizer(config, rngs=rngs)
    self.decoder = make_decoder(config, rngs)
