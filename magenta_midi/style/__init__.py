"""Style: text, music or a blend of both as a vector and as tokens."""

from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.style.model import EMBEDDING_DIM, MASK_TOKEN, StyleModel
from magenta_midi.style.motion import StyleMotion
from magenta_midi.style.music_coca import MusicCoCa
from magenta_midi.style.prompt import Prompt, PromptItem
from magenta_midi.style.waveform import Waveform

__all__ = [
  "StyleModel",
  "DescriptorStyle",
  "MusicCoCa",
  "Prompt",
  "PromptItem",
  "StyleMotion",
  "Waveform",
  "EMBEDDING_DIM",
  "MASK_TOKEN",
]
