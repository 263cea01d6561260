"""Factors trained on a base that is held in few bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.finetune.config import finetune_config
from magenta_midi.finetune.finetune import finetune
from magenta_midi.finetune.offload import on_device, on_host
from magenta_midi.model.checkpoint import flat_parameters
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.lora.lora import (
  LoraConfig,
  init_factors,
  merge_factors,
)
from magenta_midi.model.lora.quantized import quantize_base, stored_bytes
from tests.support.finetuning import run_config, same, tiny_base

LORA = LoraConfig(rank=2)


def frames(config, count, seed):
  rng = np.random.default_rng(seed)
  first = np.array([start for start, _ in config.columns])
  size = np.array([stop - start for start, stop in config.columns])
  ids = first + rng.integers(0, size, (2, count, len(size)))
  none = np.zeros((2, count))
  return Frames(*(jnp.asarray(x, jnp.int32) for x in (ids, none, none)))


def gradient(graph, rest, loop, factors, held, context, inputs):
  """Of the logits' mean square by the factors."""

  def mean(factors):
    params = merge_factors(held.state(), [(factors, LORA.scale)])
    model = nnx.merge(graph, params, rest)
    model.loop = loop
    logits = model(context, inputs, inputs.ids)
    return sum(jnp.mean(jnp.square(level)) for level in logits)

  return jax.grad(mean)(factors)


def test_gradients_are_near_those_of_the_base(base):
  graph, params, rest = nnx.split(base.model, nnx.Param, ...)
  factors = init_factors(params, LORA, jax.random.key(0))
  # Neither of a pair is 0, or the other's gradient would be.
  factors = jax.tree.map(
    lambda x: x + 0.02 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), factors
  )
  data = [frames(base.model.config, 12, 0), frames(base.model.config, 6, 1)]

  def flat(how, loop):
    of = functools.partial(gradient, graph, rest, loop)
    grads = jax.jit(of)(factors, quantize_base(params, how), *data)
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(grads)])

  def away(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)

  true = flat("none", False)
  assert away(flat("none", True), true) < 1e-5
  assert 1e-5 < away(flat("int8", True), true) < 0.03
  nf4 = flat("nf4", True)
  assert 0.03 < away(nf4, true) < 0.4
  assert away(flat("nf4", False), nf4) < 1e-5


def test_one_layer_is_wide_at_a_time():
  config = preset(
    "tiny",
    level_sizes=(401, 130, 32, 64),
    reserved=8,
    **dict(embed_dim=128, num_heads=2, head_dim=64, mlp_dim=512),
    **dict(encoder_layers=8, temporal_layers=1, depth_layers=1),
  )
  model = nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))
  model.eval()
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  # Dropout's counts and keys.
  rest = jax.tree.map(
    lambda x: (
      jax.random.key(0)
      if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
      else jnp.zeros(x.shape, x.dtype)
    ),
    rest,
  )
  lora = LoraConfig(rank=2, targets=("encoder.query", "encoder.mlp"))
  # Nothing is drawn or held: the compiler is told shapes.
  factors, held = jax.eval_shape(
    lambda params: (
      init_factors(params, lora, jax.random.key(0)),
      quantize_base(params, "nf4"),
    ),
    params,
  )

  def mean(factors, held, context):
    params = merge_factors(held.state(), [(factors, lora.scale)])
    model = nnx.merge(graph, params, rest)
    model.loop = True
    return jnp.mean(jnp.square(model.encode(context).states))

  step = jax.jit(jax.grad(mean)).lower(factors, held, frames(config, 4, 0))
  found = step.compile().memory_analysis()
  wide = stored_bytes(nnx.state(model.encoder_layers, nnx.Param))
  assert stored_bytes(held.stacks) < wide / 6
  # Two of eight layers: one as it is read, and with its factors.
  assert found.temp_size_in_bytes < wide / 3


def test_an_adapter_of_a_quantised_base(base, split, tmp_path):
  fresh = flat_parameters(tiny_base().model)
  config = run_config(quantize="nf4")
  calls = []

  def learn(style, *, on_fraction):
    on_fraction(0.5)
    calls.append(base.model.encoder_norm.scale.get_value())
    return style

  args = (config, base, split, "me")
  stages = []
  found = finetune(
    *args,
    tmp_path / "a",
    learn_style=learn,
    on_progress=lambda now: stages.append((now.stage, now.fraction)),
  )
  assert ("learning the style", 0.5) in stages
  again = (*args, tmp_path / "b")
  asked = iter([False, False, False, True])
  assert finetune(*again, should_stop=lambda: next(asked)) is None
  resumed = finetune(*again)
  same(found.adapter.factors, resumed.adapter.factors)
  assert found.after.nats_per_note < found.before.nats_per_note
  # Figures are of the base as it is.
  wide = finetune(run_config(steps=1, evaluations=1), *args[1:], tmp_path / "c")
  np.testing.assert_array_equal(found.before.nats, wide.before.nats)
  assert found.base_bytes < wide.base_bytes
  assert wide.base_bytes == sum(x.nbytes for x in fresh.values())
  assert found.total_parameters == wide.total_parameters
  assert found.adapter.figures["quantize"] == "nf4"
  assert found.adapter.figures["base_bytes"] == found.base_bytes
  assert "quantize" not in wide.adapter.figures
  # It was on the device while a style was learned, and is again.
  assert isinstance(calls[0], jax.Array)
  for name, array in flat_parameters(base.model).items():
    np.testing.assert_array_equal(array, fresh[name], err_msg=name)
  assert isinstance(base.model.encoder_norm.scale.get_value(), jax.Array)


def test_a_model_makes_room_and_comes_back(base):
  def kinds():
    values = jax.tree.leaves(nnx.state(base.model, nnx.Param))
    return {isinstance(value, jax.Array) for value in values}

  with pytest.raises(KeyError), on_host(base.model):
    assert kinds() == {False}
    with on_device(base.model):
      assert kinds() == {True}
    assert kinds() == {False}
    raise KeyError
  assert kinds() == {True}


def test_an_unknown_way_is_refused():
  with pytest.raises(ValueError, match="one of none, int8, nf4, got 'fp4'"):
    finetune_config(quantize="fp4")
