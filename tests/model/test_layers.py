"""Building blocks: products and gradients that are written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.model.layers import (
  lookup,
  matrix_product,
  one_hot_lookup,
)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_leading_axes_are_rows(shape):
  random = np.random.default_rng(0)
  x = jnp.asarray(random.normal(size=shape), jnp.float32)
  kernel = jnp.asarray(random.normal(size=(5, 7)), jnp.float32)
  found = matrix_product(x, kernel)
  assert found.shape == (*shape[:-1], 7)
  np.testing.assert_allclose(found, np.asarray(x) @ np.asarray(kernel), 1e-5)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5)])
def test_the_gradient_of_a_lookup_is_the_sum_of_its_rows(shape):
  random = np.random.default_rng(2)
  table = jnp.asarray(random.normal(size=(6, 9)), jnp.float32)
  # Few rows, hit many times; row 5 never.
  ids = jnp.asarray(random.integers(0, 5, shape), jnp.int32)
  dy = jnp.asarray(random.normal(size=(*shape, 9)), jnp.float32)

  def grad(call):
    found, pullback = jax.vjp(lambda table: call(table, ids), table)
    np.testing.assert_array_equal(found, np.asarray(table)[np.asarray(ids)])
    return pullback(dy)[0]

  plain = grad(lookup)
  product = grad(lambda table, ids: one_hot_lookup(6, table, ids))
  # One operand is rounded to 8 bits.
  np.testing.assert_allclose(product, plain, atol=0.02 * max(1, ids.size**0.5))
  assert not np.asarray(product[5]).any()
