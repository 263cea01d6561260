"""The embedded piano codec: what it has learned."""

import numpy as np
import pytest
from flax import nnx

from magenta_midi.audio.codec.distances import log_mel_distance_db
from magenta_midi.audio.codec.piano.network import PianoNetwork
from magenta_midi.audio.codec.piano.piano_codec import PianoCodec, piano_codec
from magenta_midi.audio.piano import synthesize
from magenta_midi.midi.score import Score

# The embedded codec has 3.3, an untrained one 24.
FAR_DB = 5.0


@pytest.fixture(scope="module")
def codec():
  return piano_codec()


@pytest.fixture(scope="module")
def scale():
  """A scale of C major of 3 s, mono at 48 kHz."""
  keys = [60, 62, 64, 65, 67, 69, 71, 72]
  score = Score.from_arrays(
    onset_s=[0.3 * place for place in range(8)],
    duration_s=[0.3] * 8,
    key=keys,
    velocity=[80] * 8,
  )
  sound = synthesize(score, 48_000).mean(axis=1)[: 3 * 48_000]
  return (sound * 0.5 / np.abs(sound).max())[:, None].astype(np.float32)


def distance(codec, sound, levels=4):
  decoded = codec.decode(codec.encode(sound)[:, :levels])
  return log_mel_distance_db(
    sound[:, 0], decoded[: len(sound), 0], codec.facts.sample_rate
  )


def test_its_facts(codec):
  assert codec.facts.sample_rate == 48_000
  assert codec.facts.frame_rate == 75
  assert codec.facts.bits_per_second == 3300
  assert codec.facts.latency_samples == 1920
  assert codec.training["steps"] > 0


def test_a_scale_is_near_its_original(codec, scale):
  assert distance(codec, scale) < FAR_DB
  untrained = PianoCodec(PianoNetwork(codec._network.config, rngs=nnx.Rngs(0)))
  assert distance(untrained, scale) > 2 * FAR_DB


def test_each_level_brings_it_nearer(codec, scale):
  far = [distance(codec, scale, levels) for levels in (1, 2, 4)]
  assert far[0] > far[1] > far[2]


def test_silence_stays_silent(codec):
  silence = np.zeros((48_000, 1), np.float32)
  decoded = codec.decode(codec.encode(silence))
  # -60 dB of full scale.
  assert np.abs(decoded).max() < 1e-3


def test_an_onset_comes_when_it_was_played(codec, scale):
  """Within a frame: what comes out is not late against what went in."""
  sound = np.concatenate([np.zeros((24_000, 1), np.float32), scale[:24_000]])
  decoded = codec.decode(codec.encode(sound))[:, 0]

  def onset(samples):
    envelope = np.abs(samples)
    return int(np.argmax(envelope > 0.2 * envelope.max()))

  assert abs(onset(decoded) - onset(sound[:, 0])) < codec.facts.hop


def test_a_stream_is_the_whole(codec, scale):
  rng = np.random.default_rng(0)
  encoder, decoder = codec.encoder(), codec.decoder(2)
  codes, sound, at = [], [], 0
  while at < len(scale):
    length = int(rng.integers(0, 3000))
    codes.append(encoder.push(scale[at : at + length]))
    sound.append(decoder.push(codes[-1][:, :2]))
    at += length
  codes.append(encoder.flush())
  sound += [decoder.push(codes[-1][:, :2]), decoder.flush()]
  whole = codec.encode(scale)
  np.testing.assert_array_equal(np.concatenate(codes), whole)
  np.testing.assert_array_equal(
    np.concatenate(sound), codec.decode(whole[:, :2])
  )
