"""Codec of a checkpoint."""

from pathlib import Path

from magenta_midi.model.checkpoint import CheckpointError, read_config
from magenta_midi.plain_text import line
from magenta_midi.tokens.codec import Codec, codec_names, get_codec

__all__ = ["read_codec"]


def read_codec(folder: Path) -> Codec:
  """Reads the codec that a checkpoint was trained with.

  Raises:
    CheckpointError: The codec is missing, or it is not a MIDI codec.
  """
  described = read_config(folder)["codec"]
  name, midi = described["name"], ", ".join(codec_names())
  if name not in codec_names():
    kind = (
      "SpectroStream audio tokens: a Magenta RealTime checkpoint, for"
      " export-t5x and train --init-from"
      if name == "spectrostream"
      else "another kind"
    )
    shown = line(name, longest=60)
    raise CheckpointError(
      f"{folder}: its codec is {shown!r} ({kind}); this command plays MIDI"
      f" codecs ({midi}). Give a checkpoint that `magenta-midi train` wrote, or"
      " leave --checkpoint out."
    )
  try:
    return get_codec(name, **described.get("settings", {}))
  except (TypeError, ValueError) as error:
    raise CheckpointError(f"{folder}/config.json: {error}") from None
