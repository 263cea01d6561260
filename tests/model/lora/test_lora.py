"""Low-rank factors: their arrays, their products, and merging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.model.depthformer import Frames
from magenta_midi.model.layers import Dense
from magenta_midi.model.lora.lora import (
  DEFAULT_TARGETS,
  LoraConfig,
  LowRank,
  adapt,
  array_names,
  drop_inputs,
  init_factors,
  low_rank_delta,
  merge_factors,
  merge_on_host,
  parameter_count,
  target_names,
)
from magenta_midi.model.lora.quantized import quantize_base
from magenta_midi.testing import tiny_generator


@pytest.fixture(scope="module")
def model():
  return tiny_generator().model


@pytest.fixture(scope="module")
def parts(model):
  return nnx.split(model, nnx.Param, ...)


def trained(parts, config, seed=0):
  """Factors as after training: none is 0."""
  factors = init_factors(parts[1], config, jax.random.key(seed))
  rng = np.random.default_rng(seed)
  return {
    name: LowRank(
      pair.a, jnp.asarray(rng.normal(size=pair.b.shape, scale=0.1), jnp.float32)
    )
    for name, pair in factors.items()
  }


def logits(model, seed=0):
  """Logits of all levels, for a random context and stream."""
  rng = np.random.default_rng(seed)
  first = np.array([start for start, _ in model.config.columns])
  size = np.array([stop - start for start, stop in model.config.columns])

  def frames(count):
    ids = first + rng.integers(0, size, (2, count, len(size)))
    time = np.sort(rng.integers(0, 300, (2, count)))
    part = np.zeros((2, count))
    return Frames(*(jnp.asarray(x, jnp.int32) for x in (ids, time, part)))

  context, inputs = frames(12), frames(6)
  return model(context, inputs, inputs.ids)


def test_targets_are_found_by_name(parts):
  names = array_names(parts[1])
  found = target_names(names, ("temporal.cross_query", "depth.mlp"))
  assert found == tuple(
    name
    for name in names
    if ("temporal" in name and "encoder_decoder_attention.query" in name)
    or (name.startswith("depth_layers") and ".mlp." in name)
  )
  both = set(target_names(names, ("temporal.out",)))
  self_attention = set(target_names(names, ("temporal.self_out",)))
  cross = set(target_names(names, ("temporal.cross_out",)))
  assert both == self_attention | cross and not self_attention & cross
  everything = target_names(names, DEFAULT_TARGETS)
  assert everything == tuple(
    name
    for name in names
    if ("_layers." in name and name.endswith("kernel"))
    or name in ("logits_dense.kernel", "token_embedder.embedding")
  )
  assert target_names(names, ("head", "embeddings")) == (
    "logits_dense.kernel",
    "token_embedder.embedding",
  )


@pytest.mark.parametrize(
  ("targets", "reason"),
  [
    (("quary",), "unknown target 'quary'"),
    (("decoder.query",), "unknown target 'decoder.query'"),
    (("depth.cross_query",), "no such array"),
    (("depth.head",), "no such array"),
    ((), "nothing to train"),
  ],
)
def test_missing_targets_are_refused(parts, targets, reason):
  with pytest.raises(ValueError, match=reason):
    target_names(array_names(parts[1]), targets)


def test_invalid_ranks_are_refused(parts):
  with pytest.raises(ValueError, match="rank must be a whole number from 1"):
    LoraConfig(rank=0)
  with pytest.raises(ValueError, match="alpha must be a number above 0"):
    LoraConfig(alpha=0.0)
  with pytest.raises(ValueError, match=r"dropout must be a number .* below 1"):
    LoraConfig(dropout=1.0)
  with pytest.raises(ValueError, match="rank must be at most"):
    init_factors(parts[1], LoraConfig(rank=512), jax.random.key(0))


def test_initial_factors_change_no_bit(model, parts):
  graph, params, rest = parts
  config = LoraConfig()
  factors = init_factors(params, config, jax.random.key(1))
  merged = merge_factors(params, [(factors, config.scale)])
  for found, expected in zip(
    logits(nnx.merge(graph, merged, rest)), logits(model), strict=True
  ):
    np.testing.assert_array_equal(found, expected)
  assert all(np.any(pair.a) for pair in factors.values())


def test_factors_of_an_array_do_not_depend_on_other_targets(parts):
  key = jax.random.key(3)
  few = init_factors(parts[1], LoraConfig(targets=("depth.out",)), key)
  all_ = init_factors(parts[1], LoraConfig(), key)
  for name, pair in few.items():
    np.testing.assert_array_equal(pair.a, all_[name].a)
  spread = {name: float(jnp.std(pair.a)) for name, pair in all_.items()}
  query, key_ = (
    spread[f"encoder_layers.0.attention.{name}.kernel"]
    for name in ("query", "key")
  )
  # As the kernels: queries include 1 / sqrt(head size).
  assert query < 0.5 * key_


def test_merged_logits_equal_those_with_separate_factors(
  model, parts, monkeypatch
):
  graph, params, rest = parts
  # The kernels that `Dense` multiplies by.
  layers = ("query", "key", "value", "out", "mlp")
  config = LoraConfig(rank=4, alpha=6.0, targets=layers)
  factors = trained(parts, config)
  merged = nnx.merge(
    graph, merge_factors(params, [(factors, config.scale)]), rest
  )
  expected = logits(merged)
  factors_of = {}
  for path, module in nnx.iter_modules(model):
    name = ".".join(map(str, (*path, "kernel")))
    if isinstance(module, Dense) and name in factors:
      factors_of[id(module)] = factors[name]
  assert len(factors_of) == len(factors)
  plain = Dense.__call__

  def adapted(self, x):
    y = plain(self, x)
    if pair := factors_of.get(id(self)):
      y = y + config.scale * ((x @ pair.a) @ pair.b)
    return y

  unadapted = logits(model)
  monkeypatch.setattr(Dense, "__call__", adapted)
  for merged_logits, factor_logits, before in zip(
    expected, logits(model), unadapted, strict=True
  ):
    np.testing.assert_allclose(merged_logits, factor_logits, atol=1e-5)
    assert np.abs(np.asarray(merged_logits) - np.asarray(before)).max() > 1e-3


@pytest.mark.parametrize("how", ["none", "int8"])
def test_gradients_are_those_of_the_sum(parts, how):
  graph, params, rest = parts
  base = quantize_base(params, how)
  factors = trained(parts, LoraConfig(rank=3))

  def loss(factors, form):
    found = logits(nnx.merge(graph, form(base.state(), factors), rest))
    return sum(jnp.sum(jnp.sin(level)) for level in found), found

  forms = (
    lambda params, factors: merge_factors(params, [(factors, 0.7)]),
    lambda params, factors: adapt(params, factors, 0.7),
  )
  (expected, merged), (gradient, adapted) = (
    jax.grad(lambda f, form=form: loss(f, form), has_aux=True)(factors)
    for form in forms
  )
  for one, other in zip(merged, adapted, strict=True):
    np.testing.assert_array_equal(one, other)
  for name, pair in expected.items():
    for wanted, got in zip(pair, gradient[name], strict=True):
      scale = np.abs(wanted).max()
      assert scale > 0
      np.testing.assert_allclose(got, wanted, atol=1e-4 * scale)


def test_sums_with_bfloat16_kernels_are_float32(parts):
  config = LoraConfig(targets=("head",), rank=2, alpha=2.0)
  factors = trained(parts, config)
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), parts[1])
  merged = dict(nnx.to_flat_state(merge_factors(half, [(factors, 1.0)])))
  kernel = merged["logits_dense", "kernel"].get_value()
  base = dict(nnx.to_flat_state(half))["logits_dense", "kernel"].get_value()
  pair = factors["logits_dense.kernel"]
  exact = np.asarray(base, np.float64) + np.asarray(pair.a) @ np.asarray(pair.b)
  assert kernel.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.asarray(kernel, np.float64), exact, rtol=2**-8, atol=1e-6
  )


class _One(nnx.Module):
  def __init__(self, kernel):
    self.kernel = nnx.Param(kernel)


@given(
  sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
  ranks=st.lists(st.integers(1, 3), min_size=1, max_size=3),
  scales=st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3),
  seed=st.integers(0, 1000),
)
def test_blends_are_sums_in_any_order(sides, ranks, scales, seed):
  rng = np.random.default_rng(seed)
  kernel = rng.normal(size=sides).astype(np.float32)
  adapters = [
    (
      {
        "kernel": LowRank(
          rng.normal(size=(sides[0], rank)).astype(np.float32),
          rng.normal(size=(rank, sides[1])).astype(np.float32),
        )
      },
      scale,
    )
    for rank, scale in zip(ranks, scales, strict=False)
  ]
  params = nnx.state(_One(jnp.asarray(kernel)), nnx.Param)

  def merged(adapters):
    state = merge_factors(params, adapters)
    ((_, variable),) = nnx.to_flat_state(state)
    return np.asarray(variable.get_value())

  expected = kernel.astype(np.float64)
  for factors, scale in adapters:
    a, b = (x.astype(np.float64) for x in factors["kernel"])
    expected = expected + scale * (a @ b)
  np.testing.assert_allclose(merged(adapters), expected, atol=1e-4)
  np.testing.assert_allclose(
    merged(adapters[::-1]), merged(adapters), atol=1e-4
  )
  one_by_one = params
  for adapter in adapters:
    one_by_one = merge_factors(one_by_one, [adapter])
  ((_, variable),) = nnx.to_flat_state(one_by_one)
  np.testing.assert_allclose(variable.get_value(), expected, atol=1e-4)
  np.testing.assert_array_equal(merged([]), kernel)
  ((_, variable),) = nnx.to_flat_state(merge_on_host(params, adapters))
  np.testing.assert_allclose(variable.get_value(), expected, atol=1e-4)


def test_factors_of_another_shape_are_refused(parts):
  wrong = {"logits_dense.kernel": LowRank(np.zeros((3, 2)), np.zeros((2, 4)))}
  with pytest.raises(ValueError, match=r"changes logits_dense.kernel"):
    merge_factors(parts[1], [(wrong, 1.0)])
  unknown = {"nothing.kernel": LowRank(np.zeros((3, 2)), np.zeros((2, 4)))}
  with pytest.raises(ValueError, match="the model has none"):
    merge_factors(parts[1], [(unknown, 1.0)])


def test_dropout_drops_inputs_and_keeps_the_mean():
  rng = np.random.default_rng(0)
  pair = LowRank(
    jnp.asarray(rng.normal(size=(40, 3)), jnp.float32),
    jnp.asarray(rng.normal(size=(3, 5)), jnp.float32),
  )
  assert drop_inputs({"k": pair}, jax.random.key(0), 0.0) == {"k": pair}
  keys = jax.random.split(jax.random.key(0), 4000)
  dropped = jax.vmap(lambda key: drop_inputs({"k": pair}, key, 0.25)["k"].a)(
    keys
  )
  out = np.all(np.asarray(dropped) == 0, axis=2)
  assert out.mean() == pytest.approx(0.25, abs=0.01)
  mean = np.asarray(dropped).mean(axis=0)
  np.testing.assert_allclose(mean, pair.a, atol=0.1)
  # An input is dropped for all ranks or for none.
  assert np.array_equal(out, np.any(np.asarray(dropped) == 0, axis=2))


def test_counts_and_products():
  pair = LowRank(jnp.ones((4, 2)), jnp.full((2, 3), 0.5))
  assert parameter_count({"k": pair}) == 14
  np.testing.assert_array_equal(low_rank_delta(pair, 3.0), np.full((4, 3), 3.0))
