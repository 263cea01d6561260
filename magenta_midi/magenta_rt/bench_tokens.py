"""Benchmark of decoding at Magenta RealTime's own shape, with guidance."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.generate.bench.bench import figures, machine
from magenta_midi.generate.bench.roofline import (
  Work,
  Yardstick,
  chunk_work,
  time_in_turns,
)
from magenta_midi.generate.bench.stages import stage_ms
from magenta_midi.magenta_rt.token_decoder import (
  TokenSampling,
  make_token_decoder,
  pick_tokens,
)
from magenta_midi.model.config import DepthformerConfig, magenta_rt_config
from magenta_midi.model.depthformer import Depthformer, Frames

__all__ = ["TOKEN_SHAPES", "TokenShape", "bench_tokens"]

CODES = 1024  # of each level of the audio codec
FIRST_CODE = 2  # after PAD and MASK
CHUNK_S = 2.0


class TokenShape(NamedTuple):
  """A model of audio tokens, and the lengths that it runs at."""

  config: DepthformerConfig
  context: int  # encoder tokens
  frames: int  # decoded in a chunk of 2 s
  # The original's code at this shape on 2 CPU cores, s a chunk; None: unknown.
  original_chunk_s: float | None = None


TOKEN_SHAPES = {
  # The shape at which the original was timed: magenta-realtime v1, float32,
  # guidance on, 2 cores of a Xeon shared with other work.
  "v1-59m": TokenShape(
    DepthformerConfig(
      vocab_size=11392,
      levels=4,
      embed_dim=512,
      num_heads=8,
      head_dim=64,
      mlp_dim=1024,
      encoder_layers=8,
      temporal_layers=6,
      depth_layers=2,
    ),
    context=1006,
    frames=50,
    original_chunk_s=5.98,
  ),
  # The published models; a CPU takes minutes.
  "magenta_rt_base": TokenShape(
    magenta_rt_config("base"), context=1006, frames=50
  ),
  "magenta_rt_large": TokenShape(
    magenta_rt_config("large"), context=1006, frames=50
  ),
}
# Time given to one way of decoding, s.
BUDGET_S = 40.0


def sliced(config: DepthformerConfig) -> DepthformerConfig:
  """The same model with each level's logits over its own codes only."""
  starts = [FIRST_CODE + CODES * level for level in range(config.levels)]
  return dataclasses.replace(
    config, level_columns=tuple((start, start + CODES) for start in starts)
  )


def bench_tokens(
  shape: TokenShape, *, repeats: int = 15, stages: bool = False
) -> dict[str, Any]:
  """Times a chunk with guidance and top-k, random weights, no early end.

  Args:
    shape: The model, and its lengths.
    repeats: Chunks timed, fewer where they take more than 20 s together.
    stages: Whether each stage is timed on its own as well.

  Returns:
    What `magenta-midi bench --config v1-59m --json` prints; under `sliced` the
    same with the head cut to the current level.
  """
  config = shape.config
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  rng = np.random.default_rng(0)
  tokens = jnp.asarray(
    rng.integers(FIRST_CODE, CODES, (2, shape.context)), jnp.int32
  )
  facts = _timed(model, tokens, shape, repeats)
  narrow = Depthformer(sliced(config), rngs=nnx.Rngs(0))
  narrow.eval()
  facts["sliced"] = _timed(narrow, tokens, shape, max(3, repeats // 2))
  parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
  facts["parameters"] = sum(leaf.size for leaf in parameters)
  if shape.original_chunk_s is not None:
    facts["original_chunk_s"] = shape.original_chunk_s
    facts["times_faster"] = shape.original_chunk_s / (
      facts["chunk_ms"]["p50"] / 1000
    )
  if stages:
    zeros = jnp.zeros(tokens.shape, jnp.int32)
    settings = TokenSampling(eos_id=-1)

    def draw(logits: jax.Array, level: int, key: jax.Array) -> jax.Array:
      del level
      noise = jax.random.gumbel(key, logits.shape, jnp.float32)
      return pick_tokens(logits, noise, settings, guided=True)[0]

    facts["stages_ms"] = stage_ms(
      model,
      Frames(tokens[..., None], zeros, zeros),
      frames=shape.frames,
      slots=shape.frames,
      rows=2,
      draw=draw,
      repeats=3,
    )
  return facts


def _work(config: DepthformerConfig, shape: TokenShape) -> Work:
  return chunk_work(config, context=shape.context, frames=shape.frames, rows=2)


def _timed(
  model: Depthformer, tokens: jax.Array, shape: TokenShape, repeats: int
) -> dict[str, Any]:
  config = model.config
  decode, leaves = make_token_decoder(
    model, length=shape.frames * config.levels
  )
  graph, params, rest = nnx.split(model, nnx.Param, ...)

  @jax.jit
  def encode(params: Any, tokens: jax.Array) -> Any:
    zeros = jnp.zeros(tokens.shape, jnp.int32)
    model = nnx.merge(graph, params, rest)
    return model.encode(Frames(tokens[..., None], zeros, zeros))

  def run(max_steps: int) -> Any:
    # No row ends early: every chunk does the whole work.
    sampling = TokenSampling(max_steps=np.int32(max_steps), eos_id=-1)
    return decode(leaves, tokens, jax.random.key(0), sampling)

  whole, first = shape.frames * config.levels, config.levels
  work = _work(config, shape)
  yardstick = Yardstick(work.frame_bytes)
  calls = {
    "chunk": lambda: run(whole),
    "first": lambda: run(first),
    "encoder": lambda: encode(params, tokens),
    **yardstick.calls,
  }
  once = time_in_turns(calls, 1)
  turn_s = sum(float(times[0]) for times in once.values()) / 1000
  repeats = max(3, min(repeats, int(BUDGET_S / turn_s)))
  facts = figures(
    time_in_turns(calls, repeats),
    work,
    yardstick,
    chunk_s=CHUNK_S,
    levels=config.levels,
  )
  return facts | machine()
