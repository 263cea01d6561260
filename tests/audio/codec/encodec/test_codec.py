"""EnCodec as a codec: all that the protocol promises, and no compilation."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from magenta_midi.audio.codec.encodec.codec import EncodecCodec
from magenta_midi.audio.codec.encodec.config import MONO_24_KHZ, EncodecConfig
from magenta_midi.audio.codec.encodec.weights import random_encodec
from magenta_midi.audio.codec.encodec.windows import EncodecWindows
from tests.support.codecs import check_codec, sound

# The published shape, made small.
TINY = EncodecConfig(
  ratios=(4, 3, 2), filters=4, width=8, levels=4, codebook_size=32
)


@pytest.fixture(scope="module")
def codec():
  return random_encodec(TINY)


def test_it_keeps_what_codecs_promise(codec):
  start = TINY.start_frames * TINY.hop
  lengths = (start - 1, start, start + 1, start + TINY.hop)
  check_codec(codec, frames=60.3, tolerance=1e-4, lengths=lengths)


def test_other_shapes_do_too():
  config = dataclasses.replace(
    TINY,
    channels=2,
    ratios=(2, 5),
    residual_layers=2,
    shortcut=False,
    kernel=5,
    last_kernel=3,
    lstm_layers=1,
  )
  check_codec(random_encodec(config), frames=50.1, tolerance=1e-4)


def test_without_a_mirror_image_nothing_waits():
  codec = random_encodec(dataclasses.replace(TINY, mirrored=False))
  assert codec.facts.latency_samples == codec.facts.hop
  check_codec(codec, frames=12.7, examples=4, tolerance=1e-4)


def test_a_stream_compiles_nothing(codec):
  encoder, decoder = codec.encoder(), codec.decoder(2)
  compiled = []

  def listener(event, duration, **kwargs):
    del duration, kwargs
    if "compile" in event:
      compiled.append(event)

  jax.monitoring.register_event_duration_secs_listener(listener)
  try:
    samples = sound(codec.facts, 110.3)
    for size in (1, 500, len(samples)):
      codes = [encoder.push(samples[:size]), encoder.flush()]
      codes = np.concatenate(codes)[:, :2]
      for count in (1, 8, len(codes)):
        decoder.push(codes[:count])
        decoder.flush()
  finally:
    jax.monitoring.unregister_event_duration_listener(listener)
  assert compiled == []


def test_facts_of_the_published_shape():
  assert MONO_24_KHZ.hop == 320
  assert MONO_24_KHZ.start_frames == 7
  assert MONO_24_KHZ.top == 512


def test_windows_are_another_class():
  config = dataclasses.replace(
    TINY, causal=False, group_norm=True, window=240, window_step=230
  )
  windows = random_encodec(config)
  network = nnx.merge(windows._graph, windows._weights)
  with pytest.raises(ValueError, match="Use EncodecWindows"):
    EncodecCodec(config, network)
  with pytest.raises(ValueError, match="Use EncodecCodec"):
    EncodecWindows(TINY, network)


def test_windows_are_crossfaded():
  config = dataclasses.replace(
    TINY,
    causal=False,
    group_norm=True,
    window=240,
    window_step=228,
    normalized=True,
  )
  codec = random_encodec(config)
  samples = sound(codec.facts, 31.5)
  coded = codec.encode(samples)
  assert [len(one.codes) for one in coded] == [10, 10, 10, 3]
  whole = codec.decode(coded)
  assert whole.shape == (3 * 228 + 3 * 24, 1)
  assert np.isfinite(whole).all()
  # Alone where no other window is.
  alone = codec.decode(coded[:1])
  np.testing.assert_allclose(whole[:228], alone[:228], rtol=1e-5, atol=1e-6)
  # Between its neighbours where two are.
  second = codec.decode(coded[1:2])
  low = np.minimum(alone[228:], second[:12]) - 1e-5
  high = np.maximum(alone[228:], second[:12]) + 1e-5
  assert ((low <= whole[228:240]) & (whole[228:240] <= high)).all()
  # Twice as loud: the same codes.
  for one, louder in zip(coded, codec.encode(2 * samples), strict=True):
    np.testing.assert_array_equal(one.codes, louder.codes)
    assert louder.loudness == pytest.approx(2 * one.loudness, rel=1e-4)
  first = [one._replace(codes=one.codes[:, :1]) for one in coded]
  assert codec.decode(first).shape == whole.shape


def test_windows_that_cannot_be():
  config = dataclasses.replace(
    TINY, causal=False, group_norm=True, window=240, window_step=240
  )
  codec = random_encodec(config)
  coded = codec.encode(sound(codec.facts, 21))
  with pytest.raises(ValueError, match="no windows"):
    codec.decode([])
  with pytest.raises(ValueError, match="window 0 must have 10 frames, got 1"):
    codec.decode([coded[2], coded[0]])
  for loudness in (0.0, -1.0, np.nan, np.inf):
    with pytest.raises(ValueError, match="loudness of window 0"):
      codec.decode([coded[0]._replace(loudness=loudness)])
  with pytest.raises(ValueError, match="at sample 3"):
    codec.encode(np.full((4, 1), [[0.1]] * 3 + [[np.nan]], np.float32))
  with pytest.raises(ValueError, match="level 0"):
    codec.decode([coded[0]._replace(codes=coded[0].codes + 32)])
