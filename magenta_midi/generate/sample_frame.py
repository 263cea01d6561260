"""Sampling of one frame from the depth stack, level by level."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from magenta_midi.generate.priors import PriorTables
from magenta_midi.generate.sampling import LevelSampling, draw
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.kv_cache import depth_step
from magenta_midi.model.layers import KeyValue
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.config import KEYS
from magenta_midi.typing import Float, Int

__all__ = ["Choose", "ChunkSampler", "draw_frame"]

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


class ChunkSampler(NamedTuple):
  """The `Choose` of a chunk: draws legal codes with the settings of each level.

  Attributes:
    key: Of the frame's random numbers.
    codec: The model's codec.
    rules: The codec's rules of legal frames, at this frame.
    earliest_step: int32 (), no event before this step.
    keys: bool [128], keys that may be played.
    end_forbidden: bool (), whether the frame cannot be END.
    sampling: Settings by level.
    priors: Added to the logits.
  """

  key: jax.Array
  codec: Codec
  rules: Any
  earliest_step: jax.Array
  keys: jax.Array
  end_forbidden: jax.Array
  sampling: LevelSampling
  priors: PriorTables

  def __call__(
    self, level: int, logits: jax.Array, codes: jax.Array
  ) -> jax.Array:
    """Draws the code of a level."""
    config = self.codec.config
    key = jax.random.fold_in(self.key, level)
    legal = self.codec.legal(
      level,
      codes,
      self.rules,
      earliest_step=self.earliest_step,
      end_step=config.horizon_steps,
      keys=self.keys,
      xp=jnp,
    )
    if level == 0:
      is_end = jnp.arange(legal.shape[0]) == config.end
      legal &= ~(is_end & self.end_forbidden)
      if self.priors.onset.shape[0]:
        steps = config.horizon_steps
        wanted = self.priors.onset_nats(
          self.rules.step, logits[:steps], legal[:steps]
        )
        logits = logits.at[:steps].add(wanted)
    if level == 1 and self.priors.key.weight.shape[0]:
      step = self.rules.step + codes[0]
      wanted = self.priors.key.nats(step, logits[:KEYS], legal[:KEYS])
      logits = logits.at[:KEYS].add(wanted)
    settings = (setting[level] for setting in self.sampling)
    return draw(key, logits, legal, *settings)
