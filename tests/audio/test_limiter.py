import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.limiter import CEILING, limit


@given(st.floats(1e-6, 1e4), st.integers(0, 50))
def test_nothing_passes_the_ceiling(loudness, count):
  noise = np.random.default_rng(count).standard_normal((count, 2))
  out = limit((loudness * noise).astype(np.float32))
  assert out.shape == (count, 2)
  assert np.abs(out).max(initial=0) <= CEILING
  assert (np.sign(out) == np.sign(noise)).all()


def test_moderate_levels_pass_unchanged():
  samples = np.linspace(-0.7, 0.7, 200, dtype=np.float32).reshape(-1, 2)
  np.testing.assert_array_equal(limit(samples), samples)


def test_order_is_kept():
  samples = np.linspace(0, 5, 2000, dtype=np.float32).reshape(-1, 2)
  assert (np.diff(limit(samples).reshape(-1)) >= 0).all()
