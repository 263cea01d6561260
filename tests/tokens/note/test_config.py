import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.tokens.note.config import NoteCodecConfig

CONFIG = NoteCodecConfig()
CONFIGS = [
  CONFIG,
  NoteCodecConfig(step_ms=5, velocity_bins=128),
  NoteCodecConfig(duration_bins=100, horizon_s=10.0),
]


def floats(low, high):
  return hnp.arrays(
    np.float64, st.integers(0, 30), elements=st.floats(low, high)
  )


@pytest.mark.parametrize("config", CONFIGS)
@given(time_s=floats(-100, 90_000))
def test_onsets_move_at_most_half_a_step(config, time_s):
  step = config.time_to_step(time_s)
  assert step.dtype == np.int32
  error_s = np.abs(config.step_to_time_s(step) - time_s)
  assert np.all(error_s <= config.step_ms / 2000 + 1e-9)


@given(hnp.arrays(np.int32, 20, elements=st.integers(-10_000, 10_000_000)))
def test_steps_are_fixed_points(step):
  again = CONFIG.time_to_step(CONFIG.step_to_time_s(step))
  np.testing.assert_array_equal(again, step)


def test_halves_round_upward():
  time_s = np.array([0.005, 0.015, 1.995, 1.9949999, 1.9951, -0.005])
  expected = [1, 2, 200, 199, 200, 0]
  np.testing.assert_array_equal(CONFIG.time_to_step(time_s), expected)
  # A difference of whole milliseconds: in floats slightly less than 5 ms.
  ms = np.arange(5, 100_000, 10)
  step = CONFIG.time_to_step(ms / 1000 - 3.33)
  np.testing.assert_array_equal(step, (ms - 3330 + 5) // 10)


@pytest.mark.parametrize("config", CONFIGS)
def test_velocities_move_at_most_two(config):
  velocity = np.arange(1, 128)
  code = config.velocity_to_code(velocity)
  assert code.min() >= 0 and code.max() < config.velocity_bins
  back = config.code_to_velocity(code)
  assert np.all(np.abs(back - velocity) <= 2)
  assert back.min() >= 1 and back.max() <= 127
  np.testing.assert_array_equal(config.velocity_to_code(back), code)


@pytest.mark.parametrize("config", CONFIGS)
@given(duration_s=floats(1e-6, 10))
def test_durations_move_at_most_5_percent_or_10_ms(config, duration_s):
  code = config.duration_to_code(duration_s)
  error_s = np.abs(config.code_to_duration_s(code) - duration_s)
  assert np.all(error_s <= np.maximum(0.05 * duration_s, 0.010) + 1e-12)


@pytest.mark.parametrize("config", CONFIGS)
def test_durations_of_the_table_are_fixed_points(config):
  table = config.duration_table_s
  assert (table[0], table[-1]) == (0.010, 10.0)
  assert np.all(np.diff(table) > 0)
  codes = np.arange(config.duration_bins)
  np.testing.assert_array_equal(config.duration_to_code(table), codes)


def test_ties_between_durations_go_up():
  # 115 ms, computed in several ways: between 110 and 120.
  duration_s = np.array([0.115, 0.1149999999999, 1.115 - 1.0, 6.115 - 6.0])
  np.testing.assert_array_equal(CONFIG.duration_to_code(duration_s), 11)


def test_long_durations_saturate():
  code = CONFIG.duration_to_code(np.array([10.0, 11.0, 1e6]))
  np.testing.assert_array_equal(code, 62)


def test_the_default_is_pinned():
  # A change of these breaks all checkpoints.
  c = CONFIG
  assert (c.chunk_steps, c.horizon_steps, c.end) == (200, 400, 400)
  assert (c.held, c.max_duration_steps, c.steps_per_s) == (63, 1000, 100)
  ms = np.round(c.duration_table_s * 1000).astype(int)
  expected = (
    "10 20 30 40 50 60 70 80 90 100 110 120 131 143 156 170 185 202 220 240 "
    "262 286 312 340 371 404 441 481 524 572 623 680 741 809 882 962 1049 1144 "
    "1248 1361 1484 1618 1765 1925 2099 2289 2497 2723 2970 3239 3532 3852 "
    "4201 4582 4997 5450 5943 6482 7069 7709 8408 9169 10000"
  )
  assert ms.tolist() == [int(word) for word in expected.split()]


def test_held_has_no_length():
  with pytest.raises(
    ValueError, match=r"0\.\.62 to have a length, got 1\.\.63"
  ):
    CONFIG.code_to_duration_s(np.array([1, 63]))


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (dict(step_ms=20), "step_ms must be in 1..10 and divide 1000, got 20"),
    (dict(step_ms=3), "step_ms must be in 1..10 and divide 1000, got 3"),
    (dict(chunk_s=0.0), "chunk_s must be a whole number of 10 ms steps"),
    (dict(chunk_s=float("nan")), "chunk_s must be a"),
    (dict(horizon_s=2.005), "horizon_s must be a whole number"),
    (dict(horizon_s=1.0), "horizon_s must be at least chunk_s"),
    (dict(velocity_bins=20), "velocity_bins must divide 128, got 20"),
    (dict(velocity_bins=16), "velocity_bins must be 32 or more"),
    (dict(duration_bins=40), r"duration_bins must be enough for 5 % or 10 ms"),
    (dict(duration_bins=1), r"duration_bins must be in 2\.\.1000, got 1"),
  ],
)
def test_settings_with_too_little_precision_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    NoteCodecConfig(**settings)


def test_times_beyond_32_bits_are_refused():
  with pytest.raises(ValueError, match=r"within 245 days .*, got 3e\+07 s"):
    CONFIG.time_to_step(np.array([0.0, 3e7]))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_lengths_must_be_positive(seconds):
  with pytest.raises(ValueError, match="context_s must be 0 s or more, got"):
    CONFIG.seconds_to_steps(seconds, name="context_s")
