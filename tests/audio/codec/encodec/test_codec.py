"""EnCodec as a codec: all that the protocol promises, and no compilation."""

import dataclasses

import jax
import numpy as np
import pytest

from magenta_midi.audio.codec.encodec.config import MONO_24_KHZ, EncodecConfig
from magenta_midi.audio.codec.encodec.weights import random_encodec
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


def test_windows_are_not_for_this_class():
  config = dataclasses.replace(
    TINY, causal=False, group_norm=True, window=240, window_step=230
  )
  from magenta_midi.audio.codec.encodec.codec import EncodecCodec
  from magenta_midi.audio.codec.encodec.windows import EncodecWindows

  windows = random_encodec(config)
  with pytest.raises(ValueError, match="Use EncodecWindows"):
    EncodecCodec(config, None)  # pyright: ignore
  with pytest.raises(ValueError, match="Use EncodecCodec"):
    EncodecWindows(TINY, None)  # pyright: ignore
  samples = sound(windows.facts, 31.5)
  coded = windows.encode(samples)
  assert [len(one.codes) for one in coded] == [10, 10, 10, 3]
