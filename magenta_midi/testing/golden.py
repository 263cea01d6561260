"""Small outputs of our code on drawn weights, to notice any change.

The weights come from NumPy, so that they are the same under every release of
JAX. `tools/assets/write_golden.py` writes the file that tests compare with.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.magenta_rt.t5x_losses import token_nats
from magenta_midi.magenta_rt.teacher_forcing import TrainingPass, teacher_forced
from magenta_midi.magenta_rt.token_decoder import (
  TokenSampling,
  make_token_decoder,
)
from magenta_midi.model.config import DepthformerConfig, preset
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.testing.original import ORIGINAL_CONFIGS

__all__ = ["golden_outputs"]

# Ours, with everything that the original lacks.
_OURS = preset(
  "tiny",
  level_sizes=(41, 20, 8, 12),
  reserved=8,
  depth_dim=16,
  depth_heads=1,
  depth_mlp_dim=24,
  style_vocab_size=9,
)


def _drawn(config: DepthformerConfig) -> Depthformer:
  """A model whose weights NumPy draws, about as large as trained ones."""
  model = Depthformer(config, rngs=nnx.Rngs(0))
  rng = np.random.default_rng(20)
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  drawn = []
  for path, variable in sorted(flat, key=lambda item: str(item[0])):
    shape = variable.shape
    array = rng.standard_normal(shape)
    if len(shape) == 1:
      array = 1 + 0.1 * array
    elif "kernel" in path:
      array = array / np.sqrt(shape[0])
    drawn.append((path, variable.replace(jnp.asarray(array, jnp.float32))))
  nnx.update(model, nnx.from_flat_state(drawn))
  model.eval()
  return model


def _ours() -> dict[str, np.ndarray]:
  config = _OURS
  model = _drawn(config)
  rng = np.random.default_rng(21)

  def frames(count: int) -> Frames:
    ids = np.stack(
      [rng.integers(*columns, (2, count)) for columns in config.columns], -1
    )
    return Frames(
      jnp.asarray(ids),
      jnp.asarray(np.cumsum(rng.integers(0, 60, (2, count)), axis=1)),
      jnp.asarray(rng.integers(0, 2, (2, count))),
    )

  context, inputs, targets = frames(6), frames(5), frames(5)
  style = jnp.asarray([[0, 3], [8, 1]])

  @nnx.jit
  def run(model: Depthformer) -> tuple[jax.Array, ...]:
    logits = model(context, inputs, targets.ids, style)
    return (model.encode(context, style).states, *logits)

  names = ("memory", *(f"logits{level}" for level in range(config.levels)))
  outputs = dict(zip(names, run(model), strict=True))
  return {key: np.asarray(array) for key, array in outputs.items()}


@nnx.jit
def _teacher_forced(
  model: Depthformer, context: jax.Array, targets: jax.Array
) -> TrainingPass:
  return teacher_forced(model, context, targets)


def golden_outputs() -> dict[str, np.ndarray]:
  """Outputs by `<config>.<stage>`; float32, tokens int32."""
  outputs = {f"ours.{key}": array for key, array in _ours().items()}
  rng = np.random.default_rng(22)
  for name, config in ORIGINAL_CONFIGS.items():
    config = dataclasses.replace(config, vocab_size=128, embed_dim=32)
    model = _drawn(config)
    context = jnp.asarray(rng.integers(0, 128, (2, 7)))
    targets = jnp.asarray(rng.integers(1, 128, (2, 8))).at[1, -3:].set(0)
    out = _teacher_forced(model, context, targets)
    weights = (targets > 0).astype(jnp.float32)
    stages = dict(
      encoded=out.encoded,
      temporal=out.temporal,
      logits=out.logits,
      loss=token_nats(out.logits, targets, weights).loss,
    )
    if config.dtype == "float32":
      decode, leaves = make_token_decoder(model, length=8)
      sampling = TokenSampling(guidance=2.0, top_k=20, eos_id=-1)
      stages["tokens"] = decode(
        leaves, context, jax.random.key(5), sampling
      ).tokens
    outputs |= {f"{name}.{stage}": array for stage, array in stages.items()}
  return {
    key: np.asarray(array, np.int32 if "tokens" in key else np.float32)
    for key, array in outputs.items()
  }
