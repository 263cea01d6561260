"""Decoding as Magenta RealTime does it: one token after another.

T5X's temperature sampling with classifier-free guidance over pairs of rows,
token for token. The work is ours: cross-attention keys and values are
projected once, a frame's levels are unrolled, and nothing is decoded twice.

Source: t5x 7781d16 `decoding.temperature_sample`, magenta-realtime v1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.generate.sampling import kth_largest, reaches
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.kv_cache import depth_step, empty_caches, temporal_step
from magenta_midi.model.layers import KeyValue, mask_to_bias
from magenta_midi.typing import Float, Int

__all__ = ["EOS", "TOP_K_FILL", "DecodedTokens", "TokenSampling"]
__all__ += ["decode_tokens", "guide", "make_token_decoder", "pick_tokens"]
__all__ += ["top_k_mask"]

# Magenta RealTime's MASK is also what ends a row.
EOS = 1
# Value of a logit outside the top k; not minus infinity.
TOP_K_FILL = -1e7


class TokenSampling(NamedTuple):
  """Settings of one call; traced, so that none of them compiles anew."""

  guidance: Any = 5.0  # weight of the condition against its absence
  temperature: Any = 1.1  # 0 takes the likeliest
  top_k: Any = 40  # 0: all
  max_steps: Any = 2**30  # tokens decoded at most
  eos_id: Any = EOS  # -1: rows end at their length only


class DecodedTokens(NamedTuple):
  """Decoded tokens."""

  tokens: jax.Array  # int32 [b, n]; 0 after a row's end
  scores: jax.Array  # float32 [b] log probability under what was sampled from
  logits: jax.Array | None  # float32 [b, n, v] each step's, where asked for


class _Carry(NamedTuple):
  index: jax.Array
  key: jax.Array
  last: jax.Array
  ended: jax.Array
  caches: tuple[KeyValue, ...]
  tokens: jax.Array
  scores: jax.Array
  logits: jax.Array | None


def top_k_mask(
  logits: Float[jax.Array, "b v"], top_k: Int[jax.Array, ""]
) -> Float[jax.Array, "b v"]:
  """Keeps the k largest and what ties with the k-th; 0 keeps all."""
  threshold = kth_largest(logits, jnp.maximum(top_k, 1))
  kept = reaches(logits, threshold, jnp.max(logits, axis=-1))
  return jnp.where((top_k > 0) & ~kept, TOP_K_FILL, logits)


def guide(
  logits: Float[jax.Array, "b v"], guidance: Float[jax.Array, ""] | float
) -> Float[jax.Array, "c v"]:
  """One row for each pair of a conditioned and an unconditioned row."""
  return (1 + guidance) * logits[0::2] - guidance * logits[1::2]


def pick_tokens(
  logits: Float[jax.Array, "b v"],
  noise: Float[jax.Array, "b v"],
  sampling: TokenSampling,
  *,
  guided: bool,
) -> tuple[Int[jax.Array, " b"], Float[jax.Array, " b"]]:
  """Draws a token for every row, with its log probability.

  Args:
    logits: Of the model.
    noise: Gumbel noise; guided, that of the odd rows is not used.
    sampling: Settings.
    guided: Whether rows are pairs, which get the same token.
  """
  temperature = jnp.asarray(sampling.temperature, jnp.float32)
  if guided:
    logits, noise = guide(logits, sampling.guidance), noise[0::2]
  scaled = logits / jnp.maximum(temperature, 1e-4)
  scaled = top_k_mask(scaled, jnp.asarray(sampling.top_k, jnp.int32))
  noise = jnp.where(temperature > 1e-4, noise, 0.0)
  token = jnp.argmax(scaled + noise, axis=-1).astype(jnp.int32)
  log_p = jax.nn.log_softmax(scaled)
  log_p = jnp.take_along_axis(log_p, token[:, None], axis=-1)[:, 0]
  if guided:
    token, log_p = jnp.repeat(token, 2), jnp.repeat(log_p, 2)
  return token, log_p


def decode_tokens(
  model: Depthformer,
  encoder_tokens: Int[jax.Array, "b s"],
  key: jax.Array,
  sampling: TokenSampling,
  *,
  length: int,
  guided: bool = True,
  noise: Float[jax.Array, "n b v"] | None = None,
  forced: Int[jax.Array, "b n"] | None = None,
  keep_logits: bool = False,
) -> DecodedTokens:
  """Decodes rows of tokens from encoder tokens.

  Args:
    model: With the flat encoder input, in evaluation mode. Where it has
      `level_columns`, only a level's own columns are computed and drawn from.
    encoder_tokens: Context and style ids; 0 is padding. Guided, rows 0, 2, ..
      carry the condition and rows 1, 3, .. lack it.
    key: Random key; split once a token, as the original does.
    sampling: Settings.
    length: Most tokens of a row, a multiple of the model's levels.
    guided: Whether rows are pairs. The rows of a pair get the same tokens;
      so do their scores, where the original reports a draw that it discards.
    noise: Gumbel noise of each token instead of the key's.
    forced: Tokens to feed and return instead of the drawn ones, for the whole
      length: what is drawn then ends no row, and is what `scores` are of.
      `keep_logits` then gives cached decoding's side of a comparison with
      teacher forcing.
    keep_logits: Whether each step's logits, before guidance, are returned.

  Returns:
    Tokens, scores and, where asked for, logits.

  Raises:
    ValueError: `length` is no multiple of the levels, rows are not paired,
      or `forced` is of another shape.
  """
  config = model.config
  levels = config.levels
  rows = encoder_tokens.shape[0]
  if length % levels:
    raise ValueError(
      f"length must be a multiple of the {levels} levels, got {length}."
    )
  if guided and rows % 2:
    raise ValueError(f"guided rows come in pairs, got {rows}.")
  if forced is not None and forced.shape != (rows, length):
    raise ValueError(
      f"forced must be of shape {(rows, length)}, got {forced.shape}."
    )
  if keep_logits and config.level_columns:
    raise ValueError("keep_logits needs a model without level_columns.")
  no_attribute = jnp.zeros(encoder_tokens.shape, jnp.int32)
  memory = model.encode(
    Frames(encoder_tokens[..., None], no_attribute, no_attribute)
  )
  cross = model.cross_key_values(memory)
  cross_bias = mask_to_bias(memory.mask[:, None], model.dtype)
  limit = jnp.minimum(length, sampling.max_steps)

  def frame(carry: _Carry) -> _Carry:
    index, key, ended = carry.index, carry.key, carry.ended
    zeros = jnp.zeros((rows, 1), jnp.int32)
    x = model.embed_frames(Frames(carry.last[:, None], zeros, zeros))
    out, caches = temporal_step(
      model, x, index, carry.caches, cross, cross_bias
    )
    x = model.to_depth(out)
    depth_caches: list[KeyValue | None] = [None] * config.depth_layers
    scores, kept, emitted = carry.scores, carry.logits, []
    for level in range(levels):
      token_index = index * levels + level
      hidden, depth_caches = depth_step(model, x, depth_caches)
      key, draw_key = _split(key)
      first = config.columns[level][0]
      logits = model.level_logits(hidden[:, 0], level)
      if kept is not None:
        kept = kept.at[:, token_index].set(logits)
      if noise is None:
        drawn = jax.random.gumbel(draw_key, logits.shape, jnp.float32)
      else:
        drawn = jax.lax.dynamic_index_in_dim(noise, token_index, keepdims=False)
      token, log_p = pick_tokens(logits, drawn, sampling, guided=guided)
      alive = ~ended & (token_index < limit)
      token = jnp.where(alive, token + first, 0)
      scores = scores + jnp.where(alive, log_p, 0.0)
      if forced is None:
        ended = ended | (token == sampling.eos_id)
      else:
        token = jax.lax.dynamic_index_in_dim(
          forced, token_index, axis=1, keepdims=False
        )
      emitted.append(token)
      if level + 1 < levels:
        x = model.to_depth(model.embed(token[:, None]).astype(jnp.float32))
    last = jnp.stack(emitted, axis=1)
    return _Carry(
      index + 1,
      key,
      last,
      ended,
      caches,
      jax.lax.dynamic_update_slice(carry.tokens, last, (0, index * levels)),
      scores,
      kept,
    )

  start = _Carry(
    jnp.int32(0),
    key,
    jnp.zeros((rows, levels), jnp.int32),
    jnp.zeros((rows,), bool),
    empty_caches(model, rows, length // levels),
    jnp.zeros((rows, length), jnp.int32),
    jnp.zeros((rows,), jnp.float32),
    jnp.zeros((rows, length, config.vocab_size)) if keep_logits else None,
  )
  end = jax.lax.while_loop(
    lambda carry: (carry.index * levels < limit) & ~jnp.all(carry.ended),
    frame,
    start,
  )
  return DecodedTokens(end.tokens, end.scores, end.logits)


def _split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The key to go on with, and the key of this token's draw."""
  draw, rest = jax.random.split(key)
  return rest, draw


def make_token_decoder(
  model: Depthformer, *, length: int, guided: bool = True
) -> tuple[Callable[..., DecodedTokens], list[jax.Array]]:
  """Compiles `decode_tokens` over the model's parameters.

  Returns:
    `decode(leaves, encoder_tokens, key, sampling)`, jitted, and the leaves to
    pass.
  """
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  leaves, treedef = jax.tree.flatten(params)

  def run(
    leaves: list[jax.Array],
    encoder_tokens: jax.Array,
    key: jax.Array,
    sampling: TokenSampling,
  ) -> DecodedTokens:
    merged = nnx.merge(graph, jax.tree.unflatten(treedef, leaves), rest)
    return decode_tokens(
      merged, encoder_tokens, key, sampling, length=length, guided=guided
    )

  return jax.jit(run), leaves
