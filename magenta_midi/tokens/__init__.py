"""Codecs between music and integer frames, with the rules of legal frames."""

from magenta_midi.tokens.codec import Codec, codec_names, get_codec
from magenta_midi.tokens.event.codec import (
  EventCodec,
  EventCodecConfig,
  EventRules,
)
from magenta_midi.tokens.frames import Encoded, Frames
from magenta_midi.tokens.note.codec import NoteCodec, NoteCodecConfig, Rules
from magenta_midi.tokens.vocabulary import (
  MASK,
  NONE,
  PAD,
  RESERVED,
  Vocabulary,
)

__all__ = [
  "MASK",
  "NONE",
  "PAD",
  "RESERVED",
  "Codec",
  "Encoded",
  "EventCodec",
  "EventCodecConfig",
  "EventRules",
  "Frames",
  "NoteCodec",
  "NoteCodecConfig",
  "Rules",
  "Vocabulary",
  "get_codec",
  "codec_names",
]
