import numpy as np
import pytest

from magenta_midi.style.quantizer import Quantizer, level_cosines


def directions(count: int, seed: int = 0) -> np.ndarray:
  """Unit vectors that vary mostly in a few directions."""
  rng = np.random.default_rng(seed)
  few = rng.normal(size=(count, 12)) * np.linspace(2, 0.2, 12)
  basis = np.linalg.qr(np.random.default_rng(9).normal(size=(48, 12)))[0]
  vectors = few @ basis.T + 0.5
  length = np.linalg.norm(vectors, axis=1, keepdims=True)
  return (vectors / length).astype(np.float32)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
  return Quantizer.fit(directions(2000), levels=4, size=16, dims=16)


def test_each_level_reduces_the_error(quantizer):
  cosines = level_cosines(quantizer, directions(200, seed=1))
  assert all(np.diff(cosines) > 0)
  assert cosines[-1] > 0.95


def test_decoded_tokens_encode_to_the_same_tokens(quantizer):
  codes = quantizer.encode(directions(100, seed=2))
  sums = sum(quantizer.codes[level][codes[:, level]] for level in range(4))
  vectors = quantizer.mean + sums @ quantizer.projection.T
  again = quantizer.encode(vectors.astype(np.float32))
  assert np.mean(again == codes) > 0.9
  assert codes.min() >= 0 and codes.max() < 16


def test_decoded_vectors_have_unit_length(quantizer):
  rng = np.random.default_rng(3)
  vectors = quantizer.decode(rng.integers(0, 16, (50, 3)).astype(np.int32))
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_seed_gives_the_same_codes():
  vectors = directions(500)
  first, again = (
    Quantizer.fit(vectors, levels=2, size=8, dims=4, seed=5) for _ in range(2)
  )
  np.testing.assert_array_equal(first.codes, again.codes)
