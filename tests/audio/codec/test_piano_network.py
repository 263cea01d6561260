"""The piano codec's network, files and streams, with drawn weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.audio.codec.codec import AudioCodec
from magenta_midi.audio.codec.distances import mel_filters
from magenta_midi.audio.codec.piano import network as piano_network
from magenta_midi.audio.codec.piano.network import (
  PianoCodecConfig,
  PianoNetwork,
)
from magenta_midi.audio.codec.piano.piano_codec import PianoCodec
from magenta_midi.audio.codec.piano.weights import (
  CONFIG,
  WEIGHTS,
  CodecFileError,
  read_codec,
  write_codec,
)

SIZES = PianoCodecConfig(
  codes=32,
  code_width=4,
  latent_width=8,
  width=16,
  mlp_width=24,
  encoder_blocks=1,
  decoder_blocks=2,
  tone_bins=32,
  bands=16,
)
HOP = SIZES.hop


def drawn_network(seed: int = 0) -> PianoNetwork:
  return PianoNetwork(SIZES, rngs=nnx.Rngs(seed))


@pytest.fixture(scope="module")
def codec() -> PianoCodec:
  return PianoCodec(drawn_network())


def noise(samples: int, seed: int = 0) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return (0.1 * rng.standard_normal((samples, 1))).astype(np.float32)


def pieces(whole: np.ndarray, rng: np.random.Generator, most: int):
  """Pieces of drawn lengths, some empty."""
  at = 0
  while at < len(whole):
    length = int(rng.integers(0, most))
    yield whole[at : at + length]
    at += length


def test_it_is_a_codec(codec):
  assert isinstance(codec, AudioCodec)
  assert codec.facts.frame_rate == 75
  assert codec.facts.latency_samples == 3 * HOP


@pytest.mark.parametrize("samples", [1, HOP, 10 * HOP + 7])
def test_a_stream_gives_the_codes_of_the_whole(codec, samples):
  sound, rng = noise(samples), np.random.default_rng(1)
  encoder = codec.encoder()
  for _ in range(2):  # a flushed one begins anew
    found = [encoder.push(piece) for piece in pieces(sound, rng, 3 * HOP)]
    found.append(encoder.flush())
    whole = codec.encode(sound)
    assert whole.dtype == np.int32
    assert whole.shape == (codec.facts.frames(samples), 4)
    np.testing.assert_array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_a_stream_gives_the_sound_of_the_whole(codec, levels, frames):
  rng = np.random.default_rng(2)
  codes = rng.integers(0, 32, (frames, levels))
  decoder = codec.decoder(levels)
  whole = codec.decode(codes)
  assert whole.dtype == np.float32
  assert whole.shape == (frames * HOP, 1)
  for _ in range(2):
    found = [decoder.push(piece) for piece in pieces(codes, rng, 4)]
    found.append(decoder.flush())
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_latencies_are_those_of_the_facts(codec):
  encoder, decoder = codec.encoder(), codec.decoder()
  facts, sound = codec.facts, noise(6 * HOP)
  assert len(encoder.push(sound[: HOP - 1])) == 0
  codes = encoder.push(sound[HOP - 1 :])
  assert len(codes) == 6
  returned = 0
  for pushed, frame in enumerate(codes, 1):
    returned += len(decoder.push(frame[None]))
    due = pushed * HOP - facts.decode_latency_samples
    assert returned == max(0, due)
  assert len(decoder.flush()) == 6 * HOP - returned
  assert len(decoder.flush()) == 0
  assert len(encoder.flush()) == 0


def test_a_whole_network_call_is_a_stream_too(codec):
  network = drawn_network()
  sound = noise(8 * HOP)[:, 0]
  codes, _ = network.encode(jnp.asarray(sound[None]), network.encoder_state())
  np.testing.assert_array_equal(codes[0], codec.encode(sound[:, None]))
  decoded, state = network.decode(codes, network.decoder_state())
  whole = np.concatenate([decoded[0], state.sums[0]])[SIZES.overlap :]
  np.testing.assert_allclose(
    whole, codec.decode(np.asarray(codes[0]))[:, 0], atol=1e-6
  )


def test_nothing_of_the_future_is_heard():
  network = drawn_network()
  sound = jnp.asarray(noise(6 * HOP)[None, :, 0])
  state = network.encoder_state()

  def fourth(sound):
    return jnp.sum(jnp.square(network.encoder(sound, state)[0][0, 3]))

  heard = np.flatnonzero(np.asarray(jax.grad(fourth)(sound))[0])
  # A Hann window is 0 at its first sample only.
  assert heard.max() == 4 * HOP - 1


def test_windows_give_back_an_unchanged_spectrum():
  sound = noise(12 * HOP)[:, 0]
  first, last = (
    np.asarray(window(SIZES))[0, 0]
    for window in (piano_network._analysis, piano_network._synthesis)
  )
  total = np.zeros(len(sound))
  for start in range(0, len(sound) - SIZES.window + 1, HOP):
    place = slice(start, start + SIZES.window)
    total[place] += np.fft.irfft(np.fft.rfft(sound[place] * first)) * last
  whole = slice(SIZES.overlap, -SIZES.overlap)
  np.testing.assert_allclose(total[whole], sound[whole], atol=1e-6)


def test_states_keep_their_shapes():
  network = drawn_network()
  before = network.encoder_state(2)
  _, after = network.encoder(jnp.zeros((2, 3 * HOP)), before)
  assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)
  before = network.decoder_state(2)
  _, after = network.decoder(jnp.zeros((2, 3, 8)), before)
  assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)


def test_mel_bands_hear_everything():
  filters = mel_filters(257, 64, 48_000)
  np.testing.assert_allclose(filters.sum(axis=0), 1, atol=1e-6)
  assert (filters[1:-1].sum(axis=1) > 0).all()


def test_a_push_compiles_nothing(codec):
  encoder, decoder = codec.encoder(), codec.decoder(2)
  before = codec._encode._cache_size(), codec._decode._cache_size()
  codes = encoder.push(noise(3 * HOP))
  decoder.push(codes[:, :2])
  codec.decoder(1)
  assert (codec._encode._cache_size(), codec._decode._cache_size()) == before


def test_left_and_right_are_mixed(codec):
  mono = noise(4 * HOP)
  both = np.concatenate([1.5 * mono, 0.5 * mono], axis=1)
  np.testing.assert_array_equal(codec.encode(both), codec.encode(mono))


@pytest.mark.parametrize(
  ("samples", "message"),
  [
    (np.zeros((0, 1), np.float32), "no samples"),
    (np.zeros(640, np.float32), r"shape \[n, 1\]"),
    (np.zeros((640, 3), np.float32), r"shape \[n, 1\]"),
    (np.zeros((640, 1), np.int16), "floating-point"),
    (np.zeros((640, 2), np.int16), "floating-point"),
    (np.full((640, 1), np.nan), "finite"),
    (np.full((640, 2), np.inf), "finite"),
    (np.full((640, 1), 20_000.0), "full scale"),
  ],
)
def test_bad_sound_is_one_line(codec, samples, message):
  with pytest.raises(ValueError, match=message) as caught:
    codec.encode(samples)
  assert "\n" not in str(caught.value)
  if len(samples):
    encoder = codec.encoder()
    with pytest.raises(ValueError, match=message):
      encoder.push(samples)
    # As if they had not come.
    np.testing.assert_array_equal(
      encoder.push(noise(HOP)), codec.encode(noise(HOP))
    )


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    (np.zeros((0, 4), int), "no codes"),
    (np.zeros((2, 0), int), "shape"),
    (np.zeros((2, 5), int), "shape"),
    (np.zeros((2, 4)), "whole numbers"),
    (np.full((2, 4), 32), "32"),
    (np.full((2, 4), -1), "-1"),
  ],
)
def test_bad_codes_are_one_line(codec, codes, message):
  with pytest.raises(ValueError, match=message) as caught:
    codec.decode(codes)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("levels", [0, 5])
def test_a_decoder_of_other_levels_is_refused(codec, levels):
  with pytest.raises(ValueError, match=r"has 1\.\.4 levels"):
    codec.decoder(levels)


def test_files_keep_a_codec(tmp_path):
  network = drawn_network(3)
  write_codec(tmp_path, network, dict(steps=7))
  found, facts = read_codec(tmp_path)
  assert facts == dict(steps=7)
  for one, other in zip(
    jax.tree.leaves(nnx.state(network)),
    jax.tree.leaves(nnx.state(found)),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, atol=0.02)
  again = tmp_path / "again"
  write_codec(again, found, facts)
  codec, same = PianoCodec.load(tmp_path), PianoCodec.load(again)
  sound = noise(5 * HOP)
  np.testing.assert_array_equal(codec.encode(sound), same.encode(sound))


@pytest.mark.parametrize(
  ("name", "data"),
  [
    (CONFIG, None),
    (CONFIG, b"{"),
    (CONFIG, b"[]"),
    (CONFIG, b'{"format": 2}'),
    (CONFIG, b'{"format": 1, "sizes": {"hop": "long"}}'),
    (CONFIG, json.dumps(dict(format=1, sizes=dict(width=8))).encode()),
    (WEIGHTS, None),
    (WEIGHTS, b""),
    (WEIGHTS, b"\xff" * 100),
  ],
)
def test_damaged_files_are_one_line(tmp_path, name, data):
  write_codec(tmp_path, drawn_network(), {})
  (tmp_path / name).unlink()
  if data is not None:
    (tmp_path / name).write_bytes(data)
  with pytest.raises(CodecFileError, match="not read as a codec") as caught:
    PianoCodec.load(tmp_path)
  assert "\n" not in str(caught.value)


def test_sizes_that_cannot_be_are_refused():
  with pytest.raises(ValueError, match="hop must be even"):
    PianoCodecConfig(hop=641)
  with pytest.raises(ValueError, match="tone_bins must be at most"):
    PianoCodecConfig(tone_bins=5000)
  with pytest.raises(ValueError, match="width"):
    PianoCodecConfig(width=0)
