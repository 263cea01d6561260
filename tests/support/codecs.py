"""What every audio codec must do: the tests of each run these."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.audio.codec.codec import AudioCodec

__all__ = ["check_codec", "pieces", "sound"]


def sound(facts, frames, seed=0):
  """Noise of changing loudness [n, c], with a note in it."""
  rng = np.random.default_rng(seed)
  n = round(frames * facts.hop)
  noise = rng.standard_normal((n, facts.channels))
  time = np.arange(n)[:, None] / facts.sample_rate
  note = np.sin(2 * np.pi * 440 * time)
  loud = 0.1 + 0.1 * np.sin(np.linspace(0, 7, n))[:, None]
  return (loud * (noise + note)).astype(np.float32)


def pieces(whole, sizes):
  """Cuts an array into pieces; sizes are taken again and again."""
  start = 0
  for size in itertools.cycle(sizes):
    if start >= len(whole):
      return
    yield whole[start : start + size]
    start += size


def check_codec(
  codec, *, frames=23.4, examples=8, tolerance=1e-5, flips=0.0, lengths=()
):
  """Checks a codec against everything that `AudioCodec` promises.

  Args:
    codec: Any codec; small ones are quick.
    frames: Length of the sound that is coded, in frames.
    examples: Ways to cut it into pieces.
    tolerance: By how much samples of a stream may differ from the whole.
    flips: Share of codes of a stream that may, where rounding decides.
    lengths: More lengths in samples of which the shapes are checked.
  """
  assert isinstance(codec, AudioCodec)
  facts = codec.facts
  assert facts.frame_rate == facts.sample_rate / facts.hop
  samples = sound(facts, frames)
  codes = codec.encode(samples)
  decoded = codec.decode(codes)
  _check_shapes(codec, samples, codes, decoded, lengths)
  _check_streams(codec, samples, codes, decoded, examples, tolerance, flips)
  _check_levels(codec, codes, tolerance)
  _check_latency(codec, samples, codes)
  _check_refusals(codec, codes)


def _check_shapes(codec, samples, codes, decoded, lengths):
  facts = codec.facts
  _check_codes(facts, codes, len(samples))
  assert decoded.shape == (len(codes) * facts.hop, facts.channels)
  assert decoded.dtype == np.float32
  assert np.isfinite(decoded).all()
  # The same again, also of other types, and the input is as it was.
  before = samples.copy()
  np.testing.assert_array_equal(codec.encode(samples), codes)
  wide = samples.astype(np.float64)
  np.testing.assert_array_equal(codec.encode(wide), codes)
  np.testing.assert_array_equal(samples, before)
  np.testing.assert_array_equal(codec.decode(codes.astype(np.int64)), decoded)
  for length in (1, facts.hop - 1, facts.hop, facts.hop + 1, *lengths):
    if length < 1:
      continue
    short = codec.encode(samples[:length])
    _check_codes(facts, short, length)
    assert len(codec.decode(short)) == len(short) * facts.hop


def _check_codes(facts, codes, samples):
  assert codes.dtype == np.int32
  assert codes.shape == (facts.frames(samples), facts.levels)
  assert codes.min() >= 0
  assert codes.max() < facts.codebook_size


def _check_streams(codec, samples, codes, decoded, examples, tolerance, flips):
  facts = codec.facts
  encoder, decoder = codec.encoder(), codec.decoder()

  def agree(found, expected):
    assert found.dtype == np.int32
    assert found.shape == expected.shape
    assert np.mean(found != expected) <= flips

  @settings(max_examples=examples)
  @given(
    st.lists(st.integers(0, 3 * facts.hop), min_size=1, max_size=9).filter(any),
    st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any),
  )
  def check(sizes, counts):
    # The same objects: flush begins a new stream.
    made = [encoder.push(part) for part in pieces(samples, sizes)]
    agree(np.concatenate([*made, encoder.flush()]), codes)
    made = [decoder.push(part) for part in pieces(codes, counts)]
    found = np.concatenate([*made, decoder.flush()])
    assert found.dtype == np.float32
    assert found.shape == decoded.shape
    np.testing.assert_allclose(found, decoded, rtol=0, atol=tolerance)

  check()
  # Two streams of a codec know nothing of each other; short ones end.
  one, other = codec.encoder(), codec.encoder()
  half = len(samples) // 2
  first = [one.push(samples[:half]), other.push(samples[half:])]
  rest = [one.push(samples[half:]), other.push(samples[:0])]
  agree(np.concatenate([first[0], rest[0], one.flush()]), codes)
  agree(
    np.concatenate([first[1], rest[1], other.flush()]),
    codec.encode(samples[half:]),
  )
  assert encoder.flush().shape == (0, facts.levels)
  assert decoder.flush().shape == (0, facts.channels)
  for count in (1, facts.hop, 2 * facts.hop + 1):
    made = [encoder.push(samples[:count]), encoder.flush()]
    agree(np.concatenate(made), codec.encode(samples[:count]))
  np.testing.assert_allclose(
    np.concatenate([decoder.push(codes[:1]), decoder.flush()]),
    codec.decode(codes[:1]),
    rtol=0,
    atol=tolerance,
  )


def _check_levels(codec, codes, tolerance):
  facts = codec.facts
  for levels in sorted({1, (facts.levels + 1) // 2, facts.levels}):
    first = codes[:, :levels]
    whole = codec.decode(first)
    assert whole.shape == (len(codes) * facts.hop, facts.channels)
    decoder = codec.decoder(levels)
    made = [decoder.push(part) for part in pieces(first, [3])]
    np.testing.assert_allclose(
      np.concatenate([*made, decoder.flush()]),
      whole,
      rtol=0,
      atol=tolerance,
    )


def _check_latency(codec, samples, codes):
  """The stated latencies are kept, and reached."""
  facts = codec.facts
  step = max(1, facts.hop // 4)
  encoder, made, longest = codec.encoder(), 0, None
  for count in range(step, len(samples), step):
    made += len(encoder.push(samples[count - step : count]))
    due = (count - facts.encode_latency_samples) // facts.hop
    assert made >= due, (count, made)
    # Of the first frame that is still absent: what it needs at least.
    absent = count - (made + 1) * facts.hop
    longest = absent if longest is None else max(longest, absent)
  assert longest is not None
  assert longest >= facts.encode_latency_samples - step
  decoder, made, longest = codec.decoder(), 0, 0
  for count in range(1, len(codes) + 1):
    made += len(decoder.push(codes[count - 1 : count]))
    longest = max(longest, count * facts.hop - made)
  assert longest == facts.decode_latency_samples


def _check_refusals(codec, codes):
  facts = codec.facts
  good = sound(facts, 2.0)

  def refuse(words, call, *args):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
      call(*args)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300

  encoder, decoder = codec.encoder(), codec.decoder()
  for value in (np.nan, np.inf, -np.inf, 1e30):
    bad = good.copy()
    bad[facts.hop, -1] = value
    for call in (codec.encode, encoder.push):
      refuse(f"at sample {facts.hop}", call, bad)
  wide = np.zeros((facts.hop, facts.channels + 1), np.float32)
  for bad in (wide, good[:, 0], good[None]):
    for call in (codec.encode, encoder.push):
      refuse(f"[n, {facts.channels}]", call, bad)
  refuse("no samples", codec.encode, good[:0])
  for call in (codec.encode, encoder.push):
    refuse("Divide", call, (good * 32767).astype(np.int16))
  for value in (-1, facts.codebook_size):
    bad = codes.copy()
    bad[1, 0] = value
    for call in (codec.decode, decoder.push):
      refuse("frame 1, level 0", call, bad)
  more = np.zeros((2, facts.levels + 1), np.int32)
  for bad in (more, codes[0], more[:, :0]):
    for call in (codec.decode, decoder.push):
      refuse("codes of shape", call, bad)
  refuse("no codes", codec.decode, codes[:0])
  refuse("whole numbers", codec.decode, codes.astype(np.float32))
  for levels in (0, -1, facts.levels + 1):
    refuse(f"1..{facts.levels} levels", codec.decoder, levels)
  # What was refused has left nothing behind.
  made = [encoder.push(good), encoder.flush()]
  np.testing.assert_array_equal(np.concatenate(made), codec.encode(good))
