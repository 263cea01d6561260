"""Crossfades, against sums by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.injection.crossfade import Crossfade, ramp

ROOT_HALF = 0.5**0.5


def test_ramps_have_the_values_of_their_formulas():
  # sin²(0), sin²(45°), sin²(90°); sin(0), sin(30°), sin(60°).
  np.testing.assert_allclose(ramp(3, "equal-gain"), [0, 0.5, 1], atol=1e-7)
  np.testing.assert_allclose(
    ramp(3, "equal-power"), [0, 0.5, 3**0.5 / 2], atol=1e-7
  )
  np.testing.assert_allclose(
    ramp(1920, "equal-power")[960], ROOT_HALF, atol=1e-7
  )


@given(st.integers(2, 2000))
def test_equal_gain_adds_up_to_one(samples):
  rise = ramp(samples, "equal-gain")
  np.testing.assert_allclose(rise + rise[::-1], 1, atol=1e-6)


def test_chunks_are_joined_as_by_hand():
  fade = Crossfade(3, 1, "equal-gain")
  out = np.full((4, 1), 9, np.float32)
  # Fades in from silence: 2 * (0, .5, 1), then as it is; the tail is
  # (4, 6, 8) * (1, .5, 0) = (4, 3, 0).
  fade.join(np.array([[2], [2], [2], [2], [4], [6], [8]], np.float32), out)
  np.testing.assert_allclose(out[:, 0], [0, 1, 2, 2], atol=1e-6)
  # (10, 10, 10) * (0, .5, 1) + (4, 3, 0).
  wave = np.array([[10], [10], [10], [1], [5], [5], [5]], np.float32)
  fade.join(wave, out)
  np.testing.assert_allclose(out[:, 0], [4, 8, 10, 1], atol=1e-5)
  assert wave[0, 0] == 10
  fade.reset()
  fade.join(wave, out)
  np.testing.assert_allclose(out[:, 0], [0, 5, 10, 1], atol=1e-5)


def test_equal_power_as_magenta_realtime_streams():
  fade = Crossfade(3, 1, "equal-power")
  out = np.zeros((3, 1), np.float32)
  fade.join(np.ones((6, 1), np.float32), out)
  np.testing.assert_allclose(out[:, 0], [0, 0.5, 0.8660254], atol=1e-6)
  # The reversed ramp on the tail: .866 first; .5 + .5; .866 + 0.
  fade.join(np.ones((6, 1), np.float32), out)
  np.testing.assert_allclose(out[:, 0], [0.8660254, 1, 0.8660254], atol=1e-6)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_what_overlaps_alike_is_joined_without_a_trace(chunks, seed):
  sound = np.random.default_rng(seed).normal(size=(5 + 20 * chunks, 2))
  sound = sound.astype(np.float32)
  fade = Crossfade(5, 2, "equal-gain")
  out = np.zeros((chunks, 20, 2), np.float32)
  for chunk in range(chunks):
    fade.join(sound[20 * chunk : 20 * chunk + 25], out[chunk])
  joined = out.reshape(-1, 2)
  np.testing.assert_allclose(joined[5:], sound[5:-5], atol=1e-6)
  np.testing.assert_allclose(
    joined[:5], sound[:5] * ramp(5, "equal-gain")[:, None], atol=1e-6
  )


@pytest.mark.parametrize(("wave", "out"), [(6, 4), (8, 4), (5, 2)])
def test_lengths_that_do_not_fit_are_refused(wave, out):
  fade = Crossfade(3, 1, "equal-gain")
  with pytest.raises(ValueError, match="overlap at either end, got") as error:
    fade.join(np.zeros((wave, 1), np.float32), np.zeros((out, 1), np.float32))
  assert "\n" not in str(error.value)
