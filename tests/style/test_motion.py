"""Motion of styles on an arc, at constant speed."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from magenta_midi.style.motion import StyleMotion, between


def unit(seed, width=8):
  vector = np.random.default_rng(seed).standard_normal(width)
  return (vector / np.linalg.norm(vector)).astype(np.float32)


def angle(a, b):
  a, b = a.astype(np.float64), b.astype(np.float64)
  return 2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))


def close(found, expected):
  """Whether two styles are equal; None: no style."""
  return found is not None and np.allclose(found, expected, atol=1e-6)


seeds = st.integers(0, 2**31)


@given(seeds, seeds, st.floats(0, 1))
def test_the_path_is_an_arc_at_constant_speed(first, second, share):
  a, b = unit(first), unit(second)
  point = between(a, b, share)
  assert point.dtype == np.float32
  assert np.linalg.norm(point) == pytest.approx(1, abs=1e-5)
  whole = angle(a, b)
  assert angle(a, point) == pytest.approx(share * whole, abs=1e-3)
  assert angle(point, b) == pytest.approx((1 - share) * whole, abs=1e-3)


@given(seeds, st.floats(0.05, 0.95))
def test_a_blend_with_moving_weights_stays_on_the_arc(seed, share):
  vectors = np.stack([unit(seed + i) for i in range(3)])

  def blend(weights):
    mean = np.asarray(weights) @ vectors
    return mean / np.linalg.norm(mean)

  start, end = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
  there = blend((1 - share) * start + share * end)
  a, b = blend(start), blend(end)
  nearest = max(
    there @ between(a, b, float(s)) for s in np.linspace(0, 1, 2001)
  )
  assert nearest == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_opposite_vectors_have_a_path(share):
  a = unit(1)
  point = between(a, -a, share)
  assert np.linalg.norm(point) == pytest.approx(1, abs=1e-5)
  assert angle(a, point) == pytest.approx(share * np.pi, abs=1e-2)


def test_lengths_are_interpolated():
  a, b = 2 * unit(1), 4 * unit(2)
  assert np.linalg.norm(between(a, b, 0.5)) == pytest.approx(3, rel=1e-5)
  np.testing.assert_allclose(between(a, b, 1.0), b, atol=1e-5)


def test_start_and_end_are_on_time():
  a, b = unit(1), unit(2)
  motion = StyleMotion(start=a, end=b, start_s=10.0, seconds=4.0)
  assert close(motion.at(9.0), a)
  assert close(motion.at(12.0), between(a, b, 0.5))
  assert motion.at(14.0) is b
  assert motion.end_s == 14.0


def test_redirecting_starts_at_the_current_position():
  a, b, c = unit(1), unit(2), unit(3)
  motion = StyleMotion(start=a, end=b, start_s=0.0, seconds=4.0)
  turned = motion.redirected(c, 1.0, 2.0)
  assert close(turned.at(1.0), motion.at(1.0))
  assert turned.at(3.0) is c


def test_without_a_style_there_is_no_motion():
  a = unit(1)
  motion = StyleMotion(start=None, end=None)
  assert motion.at(5.0) is None
  begun = motion.redirected(a, 1.0, 4.0)
  assert begun.at(1.0) is a
  assert begun.redirected(None, 2.0, 4.0).at(2.0) is None


def test_at_once():
  a, b = unit(1), unit(2)
  assert StyleMotion(start=a, end=b, start_s=1.0, seconds=0.0).at(1.0) is b
