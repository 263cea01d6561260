"""Quantized base: its error and its size in memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.model.checkpoint import load_checkpoint, save_checkpoint
from magenta_midi.model.lora.quantized import (
  BLOCK,
  NF4,
  SCALE_BLOCK,
  check_quantize,
  quantize,
  quantize_base,
  stored_bytes,
)
from magenta_midi.testing import tiny_generator

# Compiled once each: full blocks, full blocks of scales, and parts of them.
SHAPES = ((64, 64), (10, 7), (130, 131))
matrices = st.builds(
  lambda shape, seed, size: (
    size * np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)
  ),
  st.sampled_from(SHAPES),
  st.integers(0, 1000),
  st.sampled_from([np.float32(1e-4), np.float32(1.0), np.float32(50.0)]),
)


def blocks_of(matrix):
  flat = np.ravel(matrix)
  return np.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)


@settings(max_examples=20, deadline=None)
@given(matrices)
def test_the_error_of_int8_is_at_most_half_a_step(matrix):
  held = quantize(matrix, "int8")
  step = np.abs(matrix).max(axis=0) / 127
  error = np.abs(np.asarray(held[...]) - matrix)
  assert (error <= 0.5001 * step).all()
  assert stored_bytes(held) == matrix.size + 4 * matrix.shape[1]


@settings(max_examples=20, deadline=None)
@given(matrices)
def test_nf4_rounds_to_the_nearest_of_its_16_numbers(matrix):
  held = quantize(matrix, "nf4")
  scales = np.asarray(held.scales())
  blocks = blocks_of(matrix)
  # The error of scales is also at most half a step.
  largest = np.abs(blocks).max(axis=1)
  steps = np.repeat(np.asarray(held.scale_steps), SCALE_BLOCK)[: len(blocks)]
  slack = 1e-5 * largest.max()
  assert (np.abs(scales - largest) <= 0.5001 * steps + slack).all()
  known = np.maximum(scales, 0)[:, None, None] * NF4
  nearest = np.abs(known - blocks[..., None]).min(axis=-1)
  found = np.abs(blocks_of(held[...]) - blocks)
  filled = blocks_of(np.ones_like(matrix)) > 0
  assert (found <= nearest + slack)[filled].all()
  # Half a byte for each number, a byte for each block, a float32 for 256
  # blocks, and the mean.
  count = len(blocks)
  expected = count * BLOCK // 2 + count + 4 * -(-count // SCALE_BLOCK) + 4
  assert stored_bytes(held) == sum(x.nbytes for x in jax.tree.leaves(held))
  assert stored_bytes(held) == expected


@pytest.mark.parametrize("how", ["int8", "nf4"])
def test_zeros_stay_zeros(how):
  np.testing.assert_array_equal(quantize(np.zeros((4, 48)), how)[...], 0.0)


def test_the_16_numbers_are_those_of_the_paper():
  assert NF4[[0, 7, 15]].tolist() == [-1.0, 0.0, 1.0]
  # Appendix E of arXiv 2305.14314.
  np.testing.assert_allclose(
    NF4[[1, 6, 8, 14]],
    [-0.6961928, -0.09105004, 0.0795803, 0.72295684],
    atol=2e-7,
  )


@pytest.mark.parametrize("how", ["none", "int8", "nf4"])
def test_a_quantized_base_has_the_model_and_the_expected_bytes(how):
  graph, params, rest = nnx.split(tiny_generator().model, nnx.Param, ...)
  held = quantize_base(params, how)
  assert stored_bytes(held) == sum(x.nbytes for x in jax.tree.leaves(held))
  # The same from shapes only.
  shapes = jax.eval_shape(lambda params: quantize_base(params, how), params)
  assert stored_bytes(shapes) == stored_bytes(held)
  model = nnx.merge(graph, held.state(), rest)
  for path, variable in nnx.to_flat_state(params):
    original = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for part in path:
      original = original[part]
    bound = 0.0
    if path[-1] == "kernel" and str(path[0]).endswith("_layers"):
      bound = {"none": 0.0, "int8": 0.005, "nf4": 0.2}[how]
    wide = variable.get_value()
    np.testing.assert_allclose(
      original[...], wide, rtol=0, atol=bound * float(jnp.abs(wide).max())
    )


def test_an_int8_checkpoint_loses_nothing_in_int8(tmp_path):
  save_checkpoint(
    tmp_path / "a",
    tiny_generator().model,
    codec={"name": "note"},
    storage="int8",
  )
  kernel = load_checkpoint(tmp_path / "a")[0].encoder_layers[0].mlp.wo.kernel
  np.testing.assert_allclose(
    quantize(kernel[...], "int8")[...], kernel[...], rtol=1e-6
  )


def test_an_unknown_storage_is_refused():
  with pytest.raises(ValueError, match="one of none, int8, nf4, got 'int4'"):
    check_quantize("int4")
