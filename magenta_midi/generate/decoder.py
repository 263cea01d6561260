"""Decoder of one chunk in one compiled call.

The encoder runs once, the keys and values of cross attention are projected
once, and a `while_loop` goes over frames with caches of fixed shape. Temporal
and depth layers are unrolled: on a CPU this reads weights twice as fast as a
scan (`docs/decisions.md`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.generate.priors import PriorTables
from magenta_midi.generate.sample_frame import ChunkSampler, draw_frame
from magenta_midi.generate.sampling import LevelSampling
from magenta_midi.model.depthformer import Depthformer, Frames, OutlineFrames
from magenta_midi.model.kv_cache import empty_caches, temporal_step
from magenta_midi.model.layers import KeyValue, mask_to_bias
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.vocabulary import PAD

__all__ = ["ChunkRequest", "Decoded", "decode_chunk", "make_decoder"]


class ChunkRequest(NamedTuple):
  """All inputs of a chunk, except the weights.

  Shapes are fixed and values are traced, so new values compile nothing.
  """

  context_ids: Any  # int32 [1, s, l]
  context_time: Any  # int32 [1, s] steps from the origin, negative
  context_part: Any  # int32 [1, s]
  style: Any  # int32 [1, m] rows of the style table
  rules: Any  # the codec's rules of legal frames, at the origin
  earliest_step: Any  # int32 () no event before this step
  end_step: Any  # int32 () length of the chunk in steps
  limit: Any  # int32 () maximum number of frames, at most max_frames
  keys: Any  # bool [128] keys that may be played
  forced: Any  # int32 () number of first frames that cannot be END
  draw: Any  # uint32 [3] seed, index of the chunk, number of the redraw
  sampling: LevelSampling
  guidance: Any  # float32 () used only if guided
  priors: PriorTables  # by step from the origin
  # Beats and chords; None: the model has no input for them.
  outline: OutlineFrames | None


class Decoded(NamedTuple):
  """The frames of a chunk; rows from `count` on are undefined."""

  codes: jax.Array  # int32 [f, l] level-local; -1 where unused
  step: jax.Array  # int32 [f] from the origin
  log_p: jax.Array  # float32 [f, l] model's log probability, unmasked
  count: jax.Array  # int32 ()


class _Carry(NamedTuple):
  index: jax.Array
  done: jax.Array
  rules: Any
  last: Frames
  caches: tuple[KeyValue, ...]
  codes: jax.Array
  step: jax.Array
  log_p: jax.Array


def decode_chunk(
  model: Depthformer,
  codec: Codec,
  request: ChunkRequest,
  *,
  max_frames: int,
  guided: bool,
) -> Decoded:
  """Decodes one chunk.

  A frame at or after `end_step` ends the chunk, as END does. Its event belongs
  to a later chunk and is drawn again there, from a newer context.

  Args:
    model: In evaluation mode.
    codec: The model's codec.
    request: Context and settings.
    max_frames: Maximum number of frames of a chunk.
    guided: Whether a second row without style is decoded, for guidance.
  """
  vocabulary = codec.vocabulary
  levels = vocabulary.levels
  context = Frames(
    request.context_ids, request.context_time, request.context_part
  )
  style = request.style
  # Without style slots guidance has no effect.
  guided = guided and model.config.style_slots > 0
  if guided:
    # The style is in memory slots, so both rows share one encoder pass.
    style = jnp.concatenate([style, jnp.zeros_like(style)])
  memory = model.encode(context, style, request.outline)
  rows = memory.mask.shape[0]
  seed, chunk_index, redraw = request.draw
  chunk_key = jax.random.fold_in(jax.random.key(seed), chunk_index)
  chunk_key = jax.random.fold_in(chunk_key, redraw)
  cross = model.cross_key_values(memory)
  cross_bias = mask_to_bias(memory.mask[:, None, :], model.dtype)
  caches = empty_caches(model, rows, max_frames)
  end_code = codec.config.end

  def next_frame(carry: _Carry) -> _Carry:
    x = model.embed_frames(carry.last)
    out, caches = temporal_step(
      model,
      x,
      carry.index,
      carry.caches,
      cross,
      cross_bias,
      model.angles(carry.last),
    )
    codes, log_p = draw_frame(
      model,
      codec,
      out,
      ChunkSampler(
        key=jax.random.fold_in(chunk_key, carry.index),
        codec=codec,
        rules=carry.rules,
        earliest_step=request.earliest_step,
        keys=request.keys,
        end_forbidden=carry.index < request.forced,
        sampling=request.sampling,
        priors=request.priors,
      ),
      request.guidance if guided else None,
    )
    rules = codec.advance(carry.rules, codes, xp=jnp)
    ends = (codes[0] == end_code) | (rules.step >= request.end_step)
    index = carry.index
    ids = vocabulary.to_ids(codes, xp=jnp)
    return _Carry(
      index=jnp.where(ends, index, index + 1),
      done=ends,
      rules=rules,
      last=Frames(
        jnp.broadcast_to(ids, (rows, 1, levels)),
        jnp.broadcast_to(rules.step, (rows, 1)),
        jnp.zeros((rows, 1), jnp.int32),
      ),
      caches=caches,
      codes=carry.codes.at[index].set(codes),
      step=carry.step.at[index].set(rules.step),
      log_p=carry.log_p.at[index].set(log_p),
    )

  start = _Carry(
    index=jnp.int32(0),
    done=jnp.bool_(False),
    rules=jax.tree.map(jnp.asarray, request.rules),
    last=Frames(
      jnp.full((rows, 1, levels), PAD, jnp.int32),
      jnp.zeros((rows, 1), jnp.int32),
      jnp.zeros((rows, 1), jnp.int32),
    ),
    caches=caches,
    codes=jnp.full((max_frames, levels), -1, jnp.int32),
    step=jnp.zeros((max_frames,), jnp.int32),
    log_p=jnp.zeros((max_frames, levels), jnp.float32),
  )
  final = jax.lax.while_loop(
    lambda carry: ~carry.done & (carry.index < request.limit), next_frame, start
  )
  return Decoded(final.codes, final.step, final.log_p, final.index)


def make_decoder(
  model: Depthformer, codec: Codec, *, max_frames: int, guided: bool
) -> Any:
  """Makes a compiled `decode_chunk` with the model's parameters.

  Returns:
    `decode(leaves, request) -> Decoded`, jitted, and the leaves to pass.
  """
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  leaves, treedef = jax.tree.flatten(params)

  def run(leaves: list[jax.Array], request: ChunkRequest) -> Decoded:
    merged = nnx.merge(graph, jax.tree.unflatten(treedef, leaves), rest)
    return decode_chunk(
      merged, codec, request, max_frames=max_frames, guided=guided
    )

  return jax.jit(run), leaves
