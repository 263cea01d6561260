"""Sampling of one frame from the depth stack, level by level."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from magenta_midi.generate.sampling import LevelSampling, draw
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.kv_cache import depth_step
from magenta_midi.model.layers import KeyValue
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Bool, Float, Int

__all__ = ["Choose", "make_chooser", "draw_frame"]

# `(level, logits [v], codes so far [l]) -> code`.
Choose = Callable[[int, jax.Array, jax.Array], jax.Array]


def draw_frame(
  model: Depthformer,
  codec: Codec,
  hidden: Float[jax.Array, "b 1 d"],
  choose: Choose,
  guidance: Float[jax.Array, ""] | None = None,
) -> tuple[Int[jax.Array, " l"], Float[jax.Array, " l"]]:
  """Draws the model's next frame.

  Args:
    model: In evaluation mode.
    codec: The model's codec.
    hidden: Output of the temporal stack; with guidance two rows, the second
      without style.
    choose: Function that selects a code.
    guidance: Weight of the first row against the second; None: one row.

  Returns:
    The codes, -1 where unused, and the log probability of each in the first
    row.
  """
  levels, rows = codec.levels, hidden.shape[0]
  codes = jnp.full((levels,), -1, jnp.int32)
  log_p = jnp.zeros((levels,), jnp.float32)
  caches: list[KeyValue | None] = [None] * model.config.depth_layers
  x = model.to_depth(hidden)
  for level in range(levels):
    out, caches = depth_step(model, x, caches)
    logits = model.level_logits(out[:, 0], level)
    combined = logits[0]
    if guidance is not None:
      combined = (1 + guidance) * logits[0] - guidance * logits[1]
    used = codec.applies(level, codes, xp=jnp)
    code = choose(level, combined, codes).astype(jnp.int32)
    code = jnp.where(used, code, -1)
    chosen = jax.nn.log_softmax(logits[0])[jnp.maximum(code, 0)]
    codes = codes.at[level].set(code)
    log_p = log_p.at[level].set(jnp.where(used, chosen, 0.0))
    if level + 1 < levels:
      ids = codec.vocabulary.to_ids(codes, xp=jnp)[level]
      embedded = model.embed(jnp.full((rows, 1), ids)).astype(jnp.float32)
      x = model.to_depth(embedded)
  return codes, log_p


def make_chooser(
  key: jax.Array,
  sampling: LevelSampling,
  legal: Callable[[int, jax.Array], Bool[jax.Array, " v"]],
) -> Choose:
  """A `Choose` that draws with the settings of each level."""

  def choose(level: int, logits: jax.Array, codes: jax.Array) -> jax.Array:
    return draw(
      jax.random.fold_in(key, level),
      logits,
      legal(level, codes),
      *(setting[level] for setting in sampling),
    )

  return choose
