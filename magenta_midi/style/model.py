"""What every style model offers."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from magenta_midi.style.prompt import Prompt
from magenta_midi.typing import Float, Int

EMBEDDING_DIM = 768

# Row of the style table for "no style": an absent style is this at every
# level, never an embedding of zeros.
MASK_TOKEN = 0


@runtime_checkable
class StyleModel(Protocol):
  """Turns prompts into vectors, near each other where the style is."""

  # What a checkpoint calls the style model it was trained with.
  name: ClassVar[str]

  @property
  def levels(self) -> int:
    """Tokens of an embedding."""
    ...

  @property
  def table_rows(self) -> int:
    """Rows of the style table of a model that reads the tokens."""
    ...

  def embed(self, prompt: Prompt) -> Float[np.ndarray, " 768"]:
    """The prompt as a vector, float32, of unit length.

    MusicCoCa's alone has other lengths: cosines are to divide by them.

    Args:
      prompt: Text, a `Score`, the path of a MIDI file (a `Path`, or text
        that ends in .mid or the like), an embedding, or a list of (such an
        item, weight);
        for models that hear audio also a `Waveform` or an audio file.

    Raises:
      ValueError: The prompt means nothing to this model, or a file is not
        read; one line says what would work.
    """
    ...

  # A model that is trained has a `digest`, of its weights: tokens of another
  # mean something else.
  # A model may also offer `neutral`, the unit vector of a text that says
  # nothing, and `neutral_cosine`, nearer than which a text says nothing; and
  # `warm_up()`, after which no prompt compiles anything.

  def tokenize(
    self, embedding: Float[np.ndarray, " 768"]
  ) -> Int[np.ndarray, " l"]:
    """The embedding as rows of the style table, int32; none is the mask.

    Each level has rows of its own, so that one table serves all of them.
    """
    ...


def neutral_similarity(
  model: StyleModel, embedding: Float[np.ndarray, " 768"]
) -> float | None:
  """Cosine with the embedding of a text that says nothing; None: unknown."""
  neutral = getattr(model, "neutral", None)
  return None if neutral is None else float(embedding @ neutral)


def means_nothing(
  model: StyleModel, embedding: Float[np.ndarray, " 768"]
) -> bool:
  """Whether a text's embedding is that of one that says nothing."""
  similarity = neutral_similarity(model, embedding)
  return similarity is not None and similarity > getattr(
    model, "neutral_cosine", 1.0
  )
