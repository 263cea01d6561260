import dataclasses

import pytest

from magenta_midi.tokens import NoteCodec, NoteCodecConfig, get_codec
from magenta_midi.tokens.codec import known_codecs


def test_note_is_known():
  assert "note" in known_codecs()
  assert get_codec("note") == NoteCodec()


def test_settings_come_through():
  codec = get_codec("note", chunk_s=1.0)
  assert codec == NoteCodec(config=NoteCodecConfig(chunk_s=1.0))
  # What a checkpoint stores brings the same codec back.
  again = get_codec(codec.name, **dataclasses.asdict(codec.config))
  assert again == codec
  assert hash(again) == hash(codec)


def test_unknown_codec():
  with pytest.raises(ValueError, match=r"one of: .*note.*; got 'midilike'\."):
    get_codec("midilike")


def test_unknown_setting():
  with pytest.raises(ValueError, match=r"among step_ms, .*; got chunks\."):
    get_codec("note", chunks=2)


def test_refused_setting():
  with pytest.raises(ValueError, match="velocity_bins must divide 128"):
    get_codec("note", velocity_bins=3)
