"""Registry of style models by their names in checkpoints."""

from __future__ import annotations

from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.model import StyleModel
from magenta_midi.style.music_coca import LEVELS, MusicCoCa

__all__ = ["STYLE_MODELS", "get_style_model"]

STYLE_MODELS = (MidiCoCa.name, MusicCoCa.name, DescriptorStyle.name)


def get_style_model(
  name: str | None = None,
  *,
  levels: int | None = None,
) -> StyleModel:
  """Makes the style model that a checkpoint was trained with.

  Args:
    name: One of STYLE_MODELS, from the entry `model` of the checkpoint's
      `style`; None: the embedded model, for checkpoints trained without style.
    levels: Number of tokens that the checkpoint reads, from its entry `levels`;
      None: all.

  Raises:
    ValueError: The name is unknown, or the model has another number of levels.
  """
  name = MidiCoCa.name if name is None else name
  if name == MusicCoCa.name:
    return MusicCoCa(LEVELS if levels is None else levels)
  if name not in STYLE_MODELS:
    raise ValueError(
      f"the style model must be one of {', '.join(STYLE_MODELS)}, got "
      f"{name!r}. Look at `style` in the checkpoint's config.json."
    )
  embedded = name == MidiCoCa.name
  model = MidiCoCa.embedded() if embedded else DescriptorStyle()
  if levels not in (None, model.levels):
    raise ValueError(
      f"the style model {name} has {model.levels} levels, but {levels} are "
      "asked for. Look at `style` in the checkpoint's config.json."
    )
  return model
