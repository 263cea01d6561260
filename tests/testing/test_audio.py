"""The stand-ins of the tests keep what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.codec.codec import (
  AudioCodec,
  AudioDecoder,
  AudioEncoder,
)
from magenta_midi.audio.injection.engine import Generator
from magenta_midi.testing.audio import EchoGenerator, IdentityCodec

CODEC = IdentityCodec(hop=3, channels=2)


def test_they_are_what_they_stand_for():
  assert isinstance(CODEC, AudioCodec)
  assert isinstance(CODEC.encoder(), AudioEncoder)
  assert isinstance(CODEC.decoder(), AudioDecoder)
  assert isinstance(EchoGenerator(1), Generator)


@given(st.lists(st.integers(0, 10), max_size=6), st.integers(0, 99))
def test_the_codec_loses_nothing_whole_or_in_pieces(pieces, seed):
  rng = np.random.default_rng(seed)
  whole = rng.integers(-(2**18), 2**18, (sum(pieces) + 1, 2)) / 2**16
  whole = whole.astype(np.float32)
  codes = CODEC.encode(whole)
  assert len(codes) == CODEC.facts.frames(len(whole))
  np.testing.assert_array_equal(CODEC.decode(codes)[: len(whole)], whole)
  encoder, decoder = CODEC.encoder(), CODEC.decoder()
  found, heard, start = [], [], 0
  for piece in [*pieces, 1]:
    found.append(encoder.push(whole[start : start + piece]))
    heard.append(decoder.push(found[-1]))
    start += piece
  found.append(encoder.flush())
  heard += [decoder.push(found[-1]), decoder.flush()]
  np.testing.assert_array_equal(np.concatenate(found), codes)
  np.testing.assert_array_equal(np.concatenate(heard)[: len(whole)], whole)


def test_an_echo_is_the_newest_frames_and_silence_where_there_are_none():
  echo = EchoGenerator(3, silence=7)
  context = np.array([[1], [-1], [4], [5]])
  assert echo.generate(context, context, None).tolist() == [[7], [4], [5]]
  context[:] = 0
  assert echo.contexts[0].tolist() == [[1], [-1], [4], [5]]


def test_more_levels_than_there_are_is_refused():
  with pytest.raises(ValueError, match=r"has 1\.\.6 levels, got 7"):
    CODEC.decoder(7)
