"""Sampling of one code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.generate.sampling import (
  Sampling,
  draw,
  level_sampling,
  reaches,
)

LOGITS = jnp.log(jnp.array([0.5, 0.2, 0.15, 0.1, 0.05]))
ALL = jnp.ones(5, bool)


def shares(legal=ALL, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
  keys = jax.random.split(jax.random.key(0), 4000)
  drawn = jax.vmap(
    lambda key: draw(
      key,
      LOGITS,
      legal,
      jnp.float32(temperature),
      jnp.int32(top_k),
      jnp.float32(top_p),
      jnp.float32(min_p),
    )
  )(keys)
  return np.bincount(np.asarray(drawn), minlength=5) / len(keys)


def test_plain_draws_follow_the_distribution():
  np.testing.assert_allclose(shares(), np.exp(LOGITS), atol=0.03)


def test_temperature_sharpens_and_zero_is_greedy():
  half = np.exp(LOGITS * 2)
  np.testing.assert_allclose(
    shares(temperature=0.5), half / half.sum(), atol=0.03
  )
  assert shares(temperature=0.0)[0] == 1.0


@pytest.mark.parametrize(
  ("settings", "kept"),
  [
    (dict(top_k=2), 2),
    (dict(top_p=0.69), 2),
    (dict(top_p=0.71), 3),
    (dict(min_p=0.25), 3),
    (dict(top_p=0.01), 1),
    (dict(top_k=4, min_p=0.35), 2),
  ],
)
def test_limits_keep_the_most_likely(settings, kept):
  found = shares(**settings)
  assert (found[:kept] > 0).all()
  assert (found[kept:] == 0).all()


def test_only_legal_codes_are_drawn_and_limited():
  legal = jnp.array([False, True, True, False, True])
  found = shares(legal=legal, top_k=2)
  assert found[[0, 3, 4]].sum() == 0
  assert (found[[1, 2]] > 0).all()


@pytest.mark.parametrize("scale", [0.01, 4.3, 3e4])
def test_a_threshold_with_another_rounding_still_reaches_itself(scale):
  x = scale * jnp.array([3.0, 2.0, 1.0, -5.0])
  rounded = jnp.nextafter(x[1], jnp.inf)
  found = reaches(x, rounded, x[0])
  np.testing.assert_array_equal(found, [True, True, False, False])


def test_levels_may_have_different_values():
  spread = level_sampling(
    Sampling(temperature=[1.0, 2.0, 3.0, 4.0], top_k=5), 4
  )
  assert spread.temperature.tolist() == [1, 2, 3, 4]
  assert spread.top_k.tolist() == [5] * 4
  with pytest.raises(ValueError, match="temperature must be one value or 4"):
    level_sampling(Sampling(temperature=[1.0, 2.0]), 4)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      dict(temperature=-1.0),
      "temperature must be a number from 0 to 10, got -1",
    ),
    (dict(top_p=0.0), "top_p must be a number above 0 and at most 1"),
    (dict(min_p=1.5), "min_p must be a number from 0 to 1 .*, got 1.5"),
    (dict(top_k=-1), "top_k must be a whole number from 0 to"),
  ],
)
def test_values_out_of_range_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    Sampling(**settings)
