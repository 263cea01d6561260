"""Dropout under compilation: different for each step and each layer."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.dropout import seed_dropout


def dropped(rate=0.2):
  config = preset("tiny", level_sizes=(10, 10), reserved=8, dropout_rate=rate)
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.train()
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  zeros = jnp.zeros((1, 3), jnp.int32)
  frames = Frames(jnp.full((1, 3, 2), 9), zeros, zeros)

  @jax.jit
  def run(params, key):
    model = nnx.merge(graph, params, rest)
    seed_dropout(model, key)
    return sum(x.sum() for x in model(frames, frames, frames.ids))

  return params, run


def test_a_key_decides_and_gradients_flow():
  params, run = dropped()
  values = [float(run(params, jax.random.key(i))) for i in (1, 1, 2)]
  assert values[0] == values[1] != values[2]
  grads = jax.grad(run)(params, jax.random.key(1))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_layers_drop_different_values():
  model = Depthformer(
    preset("tiny", level_sizes=(10,), reserved=8, dropout_rate=0.5),
    rngs=nnx.Rngs(0),
  )
  model.train()
  seed_dropout(model, jax.random.key(0))
  layers = [m for _, m in nnx.iter_modules(model) if isinstance(m, nnx.Dropout)]
  ones = jnp.ones((1, 1, 64))
  masks = {tuple(np.asarray(layer(ones)).ravel() > 0) for layer in layers}
  assert len(masks) == len(layers) > 3
