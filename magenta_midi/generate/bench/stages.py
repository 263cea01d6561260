"""Benchmark of the stages of a chunk, each alone.

Each stage runs in a compiled loop as often as in a chunk. Alone, a stage keeps
more of its weights in caches than between other stages, so the sum of the
stages is a little less than the time of a chunk.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.generate.bench.roofline import best_of
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.kv_cache import depth_step, empty_caches, temporal_step
from magenta_midi.model.layers import KeyValue

__all__ = ["STAGES", "stage_ms"]

STAGES = ("encoder", "memory", "temporal", "depth", "head", "draw")


def stage_ms(
  model: Depthformer,
  context: Frames,
  *,
  frames: int,
  slots: int,
  rows: int,
  draw: Callable[[jax.Array, int, jax.Array], jax.Array],
  repeats: int = 5,
) -> dict[str, float]:
  """Times the stages of one chunk.

  Args:
    model: In evaluation mode.
    context: Input of the encoder, `[b, s, l]`.
    frames: Number of decoded frames.
    slots: Number of frames that a cache holds.
    rows: Number of rows decoded together, a multiple of the context's rows.
    draw: Function `draw(logits [rows, c], level, key)` that returns a code.
    repeats: Number of runs; the shortest counts.

  Returns:
    Milliseconds of each of `STAGES`: the encoder, the projection of its output
    to keys and values, the temporal and depth stacks, the head, and drawing
    codes.
  """
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  config = model.config

  def timed(run: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    compiled = jax.jit(
      lambda params, *args: run(nnx.merge(graph, params, rest), *args)
    )
    result = compiled(params, *args)
    return best_of(lambda: compiled(params, *args), repeats) * 1000, result

  def repeated(step: Callable[[jax.Array, Any], Any], start: Any) -> Any:
    return jax.lax.fori_loop(0, frames, step, start)

  encoder_ms, memory = timed(lambda model, x: model.encode(x), context)
  copies = rows // memory.mask.shape[0]
  memory = jax.tree.map(lambda x: jnp.repeat(x, copies, axis=0), memory)

  def project(model: Depthformer, memory: Any) -> Any:
    return model.cross_key_values(memory)

  memory_ms, cross = timed(project, memory)
  bias = jnp.zeros((rows, 1, 1, memory.states.shape[1]), model.dtype)
  x = jnp.ones((rows, 1, config.embed_dim), jnp.float32)

  def temporal(model: Depthformer, cross: Any) -> Any:
    return repeated(
      lambda i, c: temporal_step(model, c[0], i, c[1], cross, bias),
      (x, empty_caches(model, rows, slots)),
    )

  def depth(model: Depthformer, x: jax.Array) -> jax.Array:
    def frame(i: jax.Array, x: jax.Array) -> jax.Array:
      del i
      cached: list[KeyValue | None] = [None] * config.depth_layers
      h = model.to_depth(x)
      for level in range(config.levels):
        out, cached = depth_step(model, h, cached)
        if level + 1 < config.levels:
          h = model.to_depth(x + out[..., :1])
        else:
          x = x + out[..., :1]
      return x

    return repeated(frame, x)

  narrow = jnp.ones((rows, 1, config.depth_width), jnp.float32)

  def head(model: Depthformer, x: jax.Array) -> jax.Array:
    def frame(i: jax.Array, x: jax.Array) -> jax.Array:
      del i
      for level in range(config.levels):
        x = x + model.level_logits(x, level)[..., :1]
      return x

    return repeated(frame, x)

  sizes = [stop - start for start, stop in config.columns]
  logits = [jnp.zeros((rows, size), jnp.float32) for size in sizes]

  def sample(model: Depthformer, key: jax.Array) -> jax.Array:
    del model

    def frame(i: jax.Array, last: jax.Array) -> jax.Array:
      for level in range(config.levels):
        draw_key = jax.random.fold_in(key, i * config.levels + level)
        # Each draw depends on the previous one, as in decoding.
        drawn = draw(logits[level] + 1e-9 * last, level, draw_key)
        last = drawn.astype(jnp.float32).reshape(-1)[0]
      return last

    return repeated(frame, jnp.float32(0))

  return dict(
    encoder=encoder_ms,
    memory=memory_ms,
    temporal=timed(temporal, cross)[0],
    depth=timed(depth, x)[0],
    head=timed(head, narrow)[0],
    draw=timed(sample, jax.random.key(0))[0],
  )
