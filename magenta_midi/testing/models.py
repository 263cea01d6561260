"""A model that compiles in seconds; its weights are drawn, not trained."""

from typing import Any

from flax import nnx

from magenta_midi.generate.streaming import Generator
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED

__all__ = ["tiny_generator"]


def tiny_generator(
  *, codec: Codec | None = None, seed: int = 0, **overrides: Any
) -> Generator:
  """A generator with the `tiny` preset and drawn weights.

  Args:
    codec: By default `note`.
    seed: Of the weights.
    **overrides: Fields of `DepthformerConfig`.
  """
  codec = NoteCodec() if codec is None else codec
  config = preset(
    "tiny",
    level_sizes=codec.vocabulary.level_sizes,
    reserved=RESERVED,
    **overrides,
  )
  model = Depthformer(config, rngs=nnx.Rngs(seed))
  model.eval()
  return Generator(model, codec)
