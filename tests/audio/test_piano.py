import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.piano import (
  FIRST_UNDAMPED_KEY,
  MAX_S,
  SAMPLE_RATE,
  TAIL_S,
  sample_count,
  sounding_blocks,
  sounding_samples,
  sounding_until,
  synthesize,
)
from magenta_midi.midi.score import PEDAL_DTYPE, Score


def play(
  onset_s=(0.0,), duration_s=1.0, key=60, velocity=64, part=0, pedal=None
):
  count = len(onset_s)
  if pedal is not None:
    pedal = np.array(pedal, PEDAL_DTYPE)
  return Score.from_arrays(
    onset_s=np.array(onset_s, float),
    duration_s=np.full(count, duration_s, float),
    key=np.full(count, key),
    velocity=np.full(count, velocity),
    part=np.full(count, part),
    pedal=pedal,
  )


def level(samples, start_s, end_s):
  """Root mean square of a stretch."""
  stretch = samples[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
  return float(np.sqrt(np.mean(stretch.astype(np.float64) ** 2)))


def spectrum(samples):
  mono = samples.astype(np.float64).sum(1)
  power = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), 4 * len(mono))) ** 2
  return np.fft.rfftfreq(4 * len(mono), 1 / SAMPLE_RATE), power


def test_an_empty_score_is_silence():
  samples = synthesize(Score.empty())
  assert samples.shape == (TAIL_S * SAMPLE_RATE, 2)
  assert not samples.any()


def test_length_is_the_score_and_its_tail():
  samples = synthesize(play([0.5], duration_s=1.25), 22_050)
  assert samples.shape == (np.ceil((1.75 + TAIL_S) * 22_050), 2)
  assert samples.dtype == np.float32
  assert np.abs(samples[: 22_050 // 2]).max() < 1e-7
  assert np.abs(samples[-1]).max() < 1e-4


@pytest.mark.parametrize("key", [28, 40, 52, 60, 69, 81, 93, 105])
def test_the_fundamental_is_in_tune(key):
  samples = synthesize(play(duration_s=2.0, key=key))[: 2 * SAMPLE_RATE]
  hertz, power = spectrum(samples)
  expected = 440 * 2 ** ((key - 69) / 12)
  near = (hertz > expected * 0.95) & (hertz < expected * 1.05)
  found = hertz[near][np.argmax(power[near])]
  resolution_cents = 1200 * np.log2(1 + (hertz[1] / 2) / expected)
  assert abs(1200 * np.log2(found / expected)) < 2 + resolution_cents


@pytest.mark.parametrize("key", [36, 60, 84])
def test_a_harder_blow_is_louder_and_brighter(key):
  levels, centroids = [], []
  for velocity in (20, 50, 80, 110):
    samples = synthesize(play(key=key, velocity=velocity))
    hertz, power = spectrum(samples[:SAMPLE_RATE])
    levels.append(level(samples, 0, 1))
    centroids.append(np.sum(hertz * power) / np.sum(power))
  assert (np.diff(levels) > 0).all()
  assert (np.diff(centroids) > 0).all()
  assert 8 < levels[-1] / levels[0] < 60


def test_high_partials_die_first_and_bass_rings_longest():
  samples = synthesize(play(duration_s=4.0, key=48, velocity=100))
  centroids = []
  for start_s in (0.05, 1.0, 2.5):
    start = int(start_s * SAMPLE_RATE)
    hertz, power = spectrum(samples[start : start + SAMPLE_RATE])
    centroids.append(np.sum(hertz * power) / np.sum(power))
  assert centroids[0] > centroids[1] > centroids[2]

  kept = []
  for key in (28, 52, 76, 100):
    samples = synthesize(play(duration_s=2.0, key=key))
    kept.append(level(samples, 1.5, 2.0) / level(samples, 0.0, 0.5))
  assert (np.diff(kept) < 0).all()


def test_the_damper_takes_a_tenth_of_a_second():
  samples = synthesize(play(duration_s=1.0))
  sounding = level(samples, 0.9, 1.0)
  # What is left is the room.
  assert level(samples, 1.03, 1.05) > 0.1 * sounding
  assert level(samples, 1.2, 1.3) < 0.1 * sounding
  assert level(samples, 2.0, 2.3) < 0.001 * sounding


def test_the_pedal_keeps_the_strings_sounding():
  dry = synthesize(play(duration_s=0.3))
  held = synthesize(
    play(duration_s=0.3, pedal=[(0.1, True, 0), (2.0, False, 0)])
  )
  assert level(held, 1.5, 1.9) > 20 * level(dry, 1.5, 1.9)
  assert level(held, 2.3, 2.5) < 0.1 * level(held, 1.5, 1.9)


def test_when_strings_stop():
  pedal = [(0.5, True, 0), (2.0, False, 0), (3.0, True, 0)]
  score = play([0.0, 0.8, 2.0, 3.0], duration_s=0.2, pedal=pedal)
  # Released before the pedal; caught, until the next blow; free; caught.
  stop_s, restruck = sounding_until(score)
  np.testing.assert_allclose(stop_s, [0.2, 2.0, 2.2, score.end_s + TAIL_S])
  np.testing.assert_array_equal(restruck, [False, True, False, False])


def test_the_pedal_of_one_part_leaves_the_other_alone():
  score = Score.from_arrays(
    onset_s=np.array([0.0, 0.0]),
    duration_s=np.array([0.5, 0.5]),
    key=np.array([60, 64]),
    velocity=np.array([64, 64]),
    part=np.array([0, 1]),
    pedal=np.array([(0.1, True, 1), (1.5, False, 1)], PEDAL_DTYPE),
  )
  stop_s, _ = sounding_until(score)
  np.testing.assert_allclose(stop_s, [0.5, 1.5])


def test_the_highest_keys_have_no_dampers():
  damped = synthesize(play(duration_s=0.1, key=FIRST_UNDAMPED_KEY - 1))
  free = synthesize(play(duration_s=0.1, key=FIRST_UNDAMPED_KEY))
  assert level(free, 0.3, 0.6) > 3 * level(damped, 0.3, 0.6)


def test_bass_is_left_and_treble_right():
  low = synthesize(play(key=28))
  high = synthesize(play(key=100))
  assert level(low[:, :1], 0, 1) > 1.2 * level(low[:, 1:], 0, 1)
  assert level(high[:, 1:], 0, 1) > 1.2 * level(high[:, :1], 0, 1)


def dense_score(seconds, notes_a_second):
  random = np.random.default_rng(0)
  count = seconds * notes_a_second
  times = np.arange(0, seconds, 0.7)
  return Score.from_arrays(
    onset_s=np.sort(random.uniform(0, seconds, count)),
    duration_s=random.uniform(0.05, 1.5, count),
    key=random.integers(0, 128, count),
    velocity=random.integers(1, 128, count),
    pedal=np.array(
      [(at, index % 2 == 0, 0) for index, at in enumerate(times)], PEDAL_DTYPE
    ),
  )


def test_dense_playing_is_finite_unclipped_and_repeatable():
  score = dense_score(seconds=40, notes_a_second=40)
  samples = synthesize(score)
  assert np.isfinite(samples).all()
  assert 0.3 < np.abs(samples).max() < 1
  np.testing.assert_array_equal(samples, synthesize(score))


def test_every_key_blown_at_once_does_not_clip():
  count = 128
  score = Score.from_arrays(
    onset_s=np.zeros(count),
    duration_s=np.full(count, 0.5),
    key=np.arange(count),
    velocity=np.full(count, 127),
  )
  assert 0.8 < np.abs(synthesize(score)).max() < 1


def test_a_soft_note_is_not_turned_up():
  soft = synthesize(play(velocity=10))
  assert 0 < np.abs(soft).max() < 0.05


def test_what_cannot_be_played_is_refused():
  with pytest.raises(ValueError, match="at least 8000 Hz, got 100"):
    synthesize(play(), 100)
  with pytest.raises(ValueError, match=r"at most 14400 s .* got 20001 s"):
    synthesize(play([20_000.0]))
  with pytest.raises(ValueError, match=r"at most 172800 s .* got 172801 s"):
    sample_count(play([MAX_S]))


def joined(score, rate, block_s):
  mix = np.zeros((sample_count(score, rate), 2), np.float32)
  for start, block in sounding_blocks(score, rate, block_s=block_s):
    mix[start : start + block.shape[1]] = block.T
  return mix


@settings(max_examples=30)
@given(
  notes=st.lists(
    st.tuples(st.floats(0, 40), st.floats(0.01, 30), st.integers(0, 127)),
    min_size=1,
    max_size=12,
  ),
  pedal=st.booleans(),
  block_s=st.floats(0.1, 50),
)
def test_blocks_of_any_length_are_the_whole(notes, pedal, block_s):
  onset_s, duration_s, key = map(np.array, zip(*notes, strict=True))
  score = Score.from_arrays(
    onset_s=onset_s,
    duration_s=duration_s,
    key=key,
    velocity=np.full(len(notes), 80),
    pedal=np.array([(0.5, True, 0)] if pedal else [], PEDAL_DTYPE),
  )
  whole = joined(score, 8000, 1000)
  np.testing.assert_array_equal(joined(score, 8000, block_s), whole)
  np.testing.assert_array_equal(synthesize(score, 8000), limit(whole))
  heard = np.flatnonzero(whole.any(1))
  assert len(heard) <= sounding_samples(score, 8000) <= len(whole)


def test_a_day_with_two_notes_costs_two_blocks():
  score = play([10.0, 86_000.0], duration_s=0.5)
  blocks = [(start, block.shape[1]) for start, block in sounding_blocks(score)]
  assert len(blocks) == 2
  assert sum(count for _, count in blocks) < 600 * SAMPLE_RATE
  assert sounding_samples(score) < 60 * SAMPLE_RATE
  (early, _), (late, count) = blocks
  assert early <= 10 * SAMPLE_RATE
  assert late <= 86_000 * SAMPLE_RATE < late + count
