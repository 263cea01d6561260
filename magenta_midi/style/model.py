"""Interface of all style models."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from magenta_midi.style.prompt import Prompt
from magenta_midi.typing import Float, Int

EMBEDDING_DIM = 768

# Row of the style table for "no style". Without style all levels have this row;
# an embedding of zeros is not used.
MASK_TOKEN = 0


@runtime_checkable
class StyleModel(Protocol):
  """Embeds prompts as vectors; similar styles have similar vectors."""

  # The name of the style model in checkpoints.
  name: ClassVar[str]

  @property
  def levels(self) -> int:
    """Number of tokens of an embedding."""
    ...

  @property
  def table_rows(self) -> int:
    """Number of rows of the style table that the tokens need."""
    ...

  def embed(self, prompt: Prompt) -> Float[np.ndarray, " 768"]:
    """Embeds a prompt as a float32 vector of unit length.

    Vectors of MusicCoCa have other lengths: divide cosines by them.

    Args:
      prompt: Text, a `Score`, the path of a MIDI file (a `Path`, or text that
        ends in .mid or similar), an embedding, or a list of (such an item,
        weight). Models of audio also accept a `Waveform` or an audio file.

    Raises:
      ValueError: The model cannot use the prompt, or a file cannot be read; one
        line states what would work.
    """
    ...

  # A trained model has a `digest` of its weights: tokens of other weights have
  # another meaning. Optional: `neutral`, the unit vector of a text that says
  # nothing about music; `understands(text)`, see below; `hears_audio`, True if
  # it embeds audio itself; and `warm_up()`, which compiles all that prompts
  # need.

  def tokenize(
    self, embedding: Float[np.ndarray, " 768"]
  ) -> Int[np.ndarray, " l"]:
    """Converts an embedding to rows of the style table, int32.

    Each level has separate rows, so one table is enough for all. No row is the
    mask.
    """
    ...


def neutral_similarity(
  model: StyleModel, embedding: Float[np.ndarray, " 768"]
) -> float | None:
  """Cosine to the embedding of a text without meaning; None: unknown."""
  neutral = getattr(model, "neutral", None)
  return None if neutral is None else float(embedding @ neutral)


def understands(model: StyleModel, text: str) -> bool:
  """Whether the model finds a description of music in a text.

  A model that cannot tell is taken to understand every text.

  Raises:
    ValueError: The text is too long.
  """
  own = getattr(model, "understands", None)
  return True if own is None else bool(own(text))
