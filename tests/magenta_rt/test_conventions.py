"""Magenta RealTime's conventions, one by one and by name.

Fixtures hold all of them at once; these say which one broke, and run without.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.magenta_rt.token_decoder import TOP_K_FILL, top_k_mask
from magenta_midi.model import layers
from magenta_midi.model.config import magenta_rt_config
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.testing.original import ORIGINAL_CONFIGS


def attention(width=8):
  module = layers.Attention(
    width, 1, width, rngs=nnx.Rngs(0), dtype=jnp.dtype("float32")
  )
  for name in ("query", "key", "value", "out"):
    getattr(module, name).kernel[...] = jnp.eye(width)
  return module


def test_attention_logits_are_not_divided_by_the_root_of_the_head_size():
  x = jax.random.normal(jax.random.key(1), (1, 5, 8))
  got = attention()(x, x, jnp.zeros((1, 1, 5, 5)))
  weights = jax.nn.softmax(x[0] @ x[0].T, axis=-1)
  np.testing.assert_allclose(got[0], weights @ x[0], atol=1e-5)


def test_a_wholly_masked_row_attends_everywhere_alike():
  x = jax.random.normal(jax.random.key(1), (1, 5, 8))
  bias = layers.mask_to_bias(jnp.zeros((1, 5, 5), bool), jnp.dtype("float32"))
  assert float(bias[0, 0, 0, 0]) == -1e10
  got = attention()(x, x, bias)
  # -1e10 swallows the logits, where minus infinity would give NaN.
  np.testing.assert_allclose(
    got, jnp.broadcast_to(x.mean(axis=1, keepdims=True), x.shape), atol=1e-5
  )


def test_gelu_is_the_tanh_approximation():
  mlp = layers.GatedMlp(1, 1, rngs=nnx.Rngs(0), dtype=jnp.dtype("float32"))
  for name in ("wi_0", "wi_1", "wo"):
    getattr(mlp, name).kernel[...] = jnp.ones((1, 1))
  x = np.linspace(-3, 3, 61, dtype=np.float32)
  inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
  got = np.asarray(mlp(jnp.asarray(x)[:, None]))[:, 0]
  np.testing.assert_allclose(got, 0.5 * x * (1 + np.tanh(inner)) * x, atol=1e-5)
  erf = 0.5 * x * (1 + jax.lax.erf(x / math.sqrt(2))) * x
  assert np.abs(got - np.asarray(erf)).max() > 1e-4


def test_the_decoder_residual_is_float32_under_bfloat16():
  model = Depthformer(ORIGINAL_CONFIGS["C"], rngs=nnx.Rngs(0))
  model.eval()
  ids = jnp.ones((1, 3, 4), jnp.int32)
  zeros = jnp.zeros((1, 3), jnp.int32)
  x = model.embed_frames(Frames(ids, zeros, zeros))
  memory = model.encode(Frames(ids, zeros, zeros))
  assert memory.states.dtype == jnp.bfloat16
  mask = jnp.ones((1, 3, 3), bool)
  out = model.temporal(x, memory, mask, memory.mask[:, None])
  assert out.dtype == jnp.float32
  # Not float32 in name only: the residual keeps what bfloat16 would round.
  small = model.temporal(x + 2.0**-14, memory, mask, memory.mask[:, None])
  assert (np.asarray(small - out) != 0).all()
  depth = model.depth_inputs(out, ids)
  mask = jnp.ones((1, 4, 4), bool)
  assert model.depth(depth, mask).dtype == jnp.float32
  assert model.logits(model.depth(depth, mask)).dtype == jnp.float32


def test_a_frame_is_the_mean_of_its_levels():
  model = Depthformer(ORIGINAL_CONFIGS["A"], rngs=nnx.Rngs(0))
  ids = jnp.array([[[5, 9, 17, 200]]])
  zeros = jnp.zeros((1, 1), jnp.int32)
  table = model.token_embedder.embedding[...]
  np.testing.assert_allclose(
    model.embed_frames(Frames(ids, zeros, zeros))[0, 0],
    table[ids[0, 0]].mean(axis=0),
    rtol=1e-6,
  )


def test_top_k_fills_with_minus_1e7_and_keeps_ties():
  logits = jnp.array([[3.0, 1.0, 2.0, 2.0, -5.0]])
  kept = top_k_mask(logits, jnp.int32(2))
  np.testing.assert_array_equal(kept, [[3.0, -1e7, 2.0, 2.0, -1e7]])
  np.testing.assert_array_equal(top_k_mask(logits, jnp.int32(0)), logits)
  assert TOP_K_FILL == -1e7


@pytest.mark.corpus
@pytest.mark.parametrize("k", [1, 5, 40])
def test_top_k_equals_the_original(shared, k):
  extras = np.load(shared / "fixtures" / "magenta_rt_v1" / "extras.npz")
  np.testing.assert_array_equal(
    top_k_mask(jnp.asarray(extras["topk.in"]), jnp.int32(k)),
    extras[f"topk.out.k{k}"],
  )


def test_no_level_has_columns_of_its_own():
  for tag in ("base", "large"):
    config = magenta_rt_config(tag)
    assert config.columns == ((0, config.vocab_size),) * config.levels
  config = ORIGINAL_CONFIGS["A"]
  model = Depthformer(config, rngs=nnx.Rngs(0))
  x = jnp.ones((1, config.embed_dim))
  assert model.level_logits(x, 1).shape == (1, 256)
  cut = dataclasses.replace(config, level_columns=((2, 18),) * 4)
  assert Depthformer(cut, rngs=nnx.Rngs(0)).level_logits(x, 1).shape == (1, 16)
