"""Style: text, music or a blend of both as one vector, and as tokens."""

from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.style.model import EMBEDDING_DIM, MASK_TOKEN, StyleModel
from magenta_midi.style.prompt import Prompt, PromptItem

__all__ = [
  "StyleModel",
  "DescriptorStyle",
  "Prompt",
  "PromptItem",
  "EMBEDDING_DIM",
  "MASK_TOKEN",
]
