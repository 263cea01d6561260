import dataclasses

import pytest

from magenta_midi.midi.score import Score
from magenta_midi.tokens import (
  Codec,
  EventCodec,
  NoteCodec,
  NoteCodecConfig,
  get_codec,
)
from magenta_midi.tokens.codec import Rules, codec_names


def test_codec_names():
  assert codec_names() == ("event", "note")
  assert get_codec("note") == NoteCodec()
  assert get_codec("event") == EventCodec()


@pytest.mark.parametrize("name", codec_names())
def test_codecs_implement_the_interface(name):
  codec = get_codec(name)
  assert isinstance(codec, Codec)
  assert codec.levels == codec.vocabulary.levels
  rules = codec.rules_at(Score.empty(), 0.0)
  assert isinstance(rules, Rules)
  assert rules.step == 0 and not rules.pedal_down
  assert codec.end_frame()[0] == codec.config.end
  assert len(codec.encode_context(Score.empty(), 5.0).step) == 0


@pytest.mark.parametrize("name", codec_names())
def test_settings_are_used(name):
  codec = get_codec(name, chunk_s=1.0)
  assert codec.config.chunk_s == 1.0
  if name == "note":
    assert codec == NoteCodec(config=NoteCodecConfig(chunk_s=1.0))
  # Settings from a checkpoint make the same codec.
  again = get_codec(codec.name, **dataclasses.asdict(codec.config))
  assert again == codec
  assert hash(again) == hash(codec)


def test_unknown_codec():
  with pytest.raises(ValueError, match=r"one of: .*note.*; got 'midilike'\."):
    get_codec("midilike")


def test_unknown_setting():
  with pytest.raises(ValueError, match=r"among step_ms, .*; got chunks\."):
    get_codec("note", chunks=2)


def test_invalid_setting():
  with pytest.raises(ValueError, match="velocity_bins must divide 128"):
    get_codec("note", velocity_bins=3)
