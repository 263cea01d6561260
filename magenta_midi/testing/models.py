"""A model that compiles in seconds; its weights are drawn, not trained."""

from typing import Any

from flax import nnx

from magenta_midi.generate.generator import Generator
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.style.controls import (
  CONTROL_BUCKETS,
  CONTROL_ROWS,
  CONTROLS,
)
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED

__all__ = ["STYLE_ENTRY", "tiny_generator", "tiny_styled_generator"]

# Entry in config.json of a checkpoint with style and controls.
STYLE_ENTRY: dict[str, Any] = dict(
  model=DescriptorStyle.name,
  levels=DescriptorStyle().levels,
  rows=DescriptorStyle().table_rows,
  controls=CONTROL_BUCKETS,
)


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


def tiny_styled_generator(**overrides: Any) -> Generator:
  """One whose slots are those of STYLE_ENTRY, and whose styles differ.

  Args:
    **overrides: See `tiny_generator`.
  """
  generator = tiny_generator(
    style_slots=STYLE_ENTRY["levels"] + len(CONTROLS),
    style_vocab_size=STYLE_ENTRY["rows"] + CONTROL_ROWS,
    **overrides,
  )
  # Drawn rows are small beside the rest of what is attended to.
  table = generator.model.style_embedder.embedding
  table[...] = 20 * table[...]
  return generator
