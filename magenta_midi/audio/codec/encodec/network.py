"""EnCodec's three parts: encoder, quantizer, decoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.seanet import make_decoder, make_encoder
from magenta_midi.typing import Float, Int

__all__ = ["Encodec", "Quantizer"]


class Quantizer(nnx.Module):
  """Residual vector quantization: each level codes what is left over."""

  def __init__(self, config: EncodecConfig, *, rngs: nnx.Rngs):
    shape = (config.levels, config.codebook_size, config.width)
    self.codebooks = nnx.Param(jax.random.normal(rngs.params(), shape))

  def encode(self, vectors: Float[Array, "t d"]) -> Int[Array, "t l"]:
    """Codes of each frame, of all levels."""

    def level(rest: Array, codebook: Array) -> tuple[Array, Array]:
      # Distances but for the length of `rest`, which is the same for all codes.
      near = 2 * jnp.dot(rest, codebook.T, precision=jax.lax.Precision.HIGHEST)
      codes = jnp.argmax(near - jnp.sum(codebook**2, axis=1)[None], axis=1)
      return rest - codebook[codes], codes

    _, codes = jax.lax.scan(level, vectors, self.codebooks[...])
    return codes.T.astype(jnp.int32)

  def decode(self, codes: Int[Array, "t l"]) -> Float[Array, "t d"]:
    """Vectors of frames; negative codes add nothing."""

    def level(sum_: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
      codebook, chosen = pair
      vectors = codebook[jnp.maximum(chosen, 0)]
      return sum_ + jnp.where(chosen[:, None] >= 0, vectors, 0.0), None

    codebooks = self.codebooks[...]
    start = jnp.zeros((len(codes), codebooks.shape[2]))
    return jax.lax.scan(level, start, (codebooks, codes.T))[0]


class Encodec(nnx.Module):
  """The whole network, with random weights until others are loaded."""

  def __init__(self, config: EncodecConfig, *, rngs: nnx.Rngs):
    self.encoder = make_encoder(config, rngs)
    self.quantizer = Quantizer(config, rngs=rngs)
    self.decoder = make_decoder(config, rngs)
