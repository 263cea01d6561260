"""The compiled functions of a duet's stream: encode, append, plan.

Shapes are fixed and every setting is traced, so that nothing compiles while
somebody plays. Positions are arguments: rolling a stream back costs nothing,
since what lies beyond its length is never attended.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.generate.compilation.cached_jit import CachedFunction
from magenta_midi.generate.compilation.compiled_store import open_store
from magenta_midi.generate.duet.event_draws import paced, timed_gumbel
from magenta_midi.generate.priors import PriorTables
from magenta_midi.generate.sample_frame import draw_frame
from magenta_midi.generate.sampling import LevelSampling, draw_with
from magenta_midi.model.depthformer import (
  Depthformer,
  EncoderState,
  Frames,
  OutlineFrames,
)
from magenta_midi.model.kv_cache import empty_caches, temporal_step
from magenta_midi.model.layers import KeyValue, mask_to_bias
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.config import KEYS
from magenta_midi.tokens.outline_rows import no_frames
from magenta_midi.tokens.vocabulary import PAD

__all__ = ["DuetFunctions", "PlanRequest", "Planned", "StreamState"]

# Frames appended at once are padded to one of these.
GROUPS = (1, 4, 16)
ONSET, KEY = 0, 1


class StreamState(NamedTuple):
  """State of the decoder for one origin."""

  caches: tuple[KeyValue, ...]  # [b h, t, k] a layer
  outputs: jax.Array  # float32 [b, t, d] the stack's output at each position
  cross: tuple[KeyValue, ...]  # projected memory of each layer
  cross_bias: jax.Array  # [b, 1, 1, s]


class PlanRequest(NamedTuple):
  """Everything that decides a plan beside weights and stream."""

  length: Any  # int32 () frames of the stream, the start included
  rules: Any  # the codec's state of what may come next
  struck: Any  # int32 () events of the model already at `rules.step`
  origin_step: Any  # int32 () the stream's origin in the session's steps
  earliest_step: Any  # int32 () nothing starts before it (from the origin)
  latest_step: Any  # int32 () the first event starts before it
  max_gap: Any  # int32 () each starts at most so long after the one before
  note_first: Any  # bool () whether the first event must be a note
  end_step: Any  # int32 () what starts here or later is not planned
  may_end: Any  # bool () whether END may be drawn
  limit: Any  # int32 () most events
  keys: Any  # bool [128] keys that may be struck
  pedals: Any  # bool () whether the pedal may go down
  pace: Any  # float32 () factor on the rate of events
  seed: Any  # uint32 ()
  sampling: LevelSampling
  guidance: Any  # float32 (); read by the guided variant only
  priors: PriorTables  # by step from the origin


class Planned(NamedTuple):
  """Events of a plan; rows from `count` on are undefined."""

  codes: jax.Array  # int32 [n, l]
  step: jax.Array  # int32 [n] from the origin
  log_p: jax.Array  # float32 [n, l] model's log probability
  count: jax.Array  # int32 ()
  ended: jax.Array  # bool () by the model no more follows


class _Carry(NamedTuple):
  index: jax.Array
  ended: jax.Array
  rules: Any
  struck: jax.Array
  caches: tuple[KeyValue, ...]
  outputs: jax.Array
  codes: jax.Array
  step: jax.Array
  log_p: jax.Array


# Varying arguments of each function.


def _width(leaves: Any, context: Any, *rest: Any) -> tuple[int, ...]:
  """Of a context, as ids with an outline or as states."""
  first = jax.tree.leaves(context)[0]
  return first.shape[1:2]


def _memory(leaves: Any, state: StreamState, *rest: Any) -> tuple[int, ...]:
  """Of the context that a stream attends to."""
  return state.cross_bias.shape[-1:]


def _memory_and_group(
  leaves: Any, state: StreamState, frames: Frames, *rest: Any
) -> tuple[int, ...]:
  return (*_memory(leaves, state), *frames.time.shape[1:])


class DuetFunctions:
  """Compiled encode, append and plan of one model.

  Args:
    model: In evaluation mode, of codec `note`.
    codec: The model's codec.
    context_sizes: Frames that a context is padded to, ascending.
    slots: Most frames of a stream, both players' together.
    max_events: Most events of one plan.
    slices: In how many steps of similar cost a context is encoded.
    guided: Whether a second row without style is decoded along.
  """

  def __init__(
    self,
    model: Depthformer,
    codec: Codec,
    *,
    context_sizes: tuple[int, ...],
    slots: int = 192,
    max_events: int = 32,
    slices: int = 2,
    guided: bool = False,
  ):
    self.codec = codec
    self.config = model.config
    self.context_sizes = context_sizes
    self.slots = slots
    self.max_events = max_events
    self.rows = 2 if guided and model.config.style_slots else 1
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    self._leaves, treedef = jax.tree.flatten(params)

    layers = model.config.encoder_layers
    slices = max(1, min(slices, layers))
    store = None
    # Arrays that are no parameters would become part of what is compiled.
    if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(rest)):
      shapes = [(leaf.shape, leaf.dtype) for leaf in self._leaves]
      sizes = (context_sizes, slots, max_events, slices, self.rows)
      store = open_store(graph, shapes, codec.name, codec.config, sizes)

    def with_model(run: Callable[..., Any]) -> Callable[..., Any]:
      def merged(leaves: list[jax.Array], *args: Any) -> Any:
        params = jax.tree.unflatten(treedef, leaves)
        return run(nnx.merge(graph, params, rest), *args)

      return merged

    def kept(
      run: Callable[..., Any],
      name: str,
      sizes: Callable[..., tuple[int, ...]],
      donated: int | None = None,
    ) -> CachedFunction:
      return CachedFunction(
        with_model(run), name=name, sizes=sizes, store=store, donated=donated
      )

    bounds = np.linspace(0, layers, slices + 1).astype(int)
    self._slices = [
      kept(self._slice_from(int(first), int(stop)), f"slice{first}", _width)
      for first, stop in itertools.pairwise(bounds)
    ]
    self._open = kept(self._open_stream, "open", _width)
    self._append = kept(
      self._append_frames, "append", _memory_and_group, donated=1
    )
    self._plan = kept(self._plan_events, "plan", _memory, donated=1)
    self._log_p = jax.jit(with_model(self._next_log_p))

  def with_weights(self, model: Depthformer) -> "DuetFunctions":
    """The same compiled functions with another model's weights.

    Streams that are open keep theirs, with which their caches were computed.

    Raises:
      ValueError: The model is of another shape, so all would be compiled anew.
    """
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    found, needed = (
      [(leaf.shape, leaf.dtype) for leaf in each]
      for each in (leaves, self._leaves)
    )
    if found != needed:
      raise ValueError(
        "the weights must be of the model's own shapes and types, got others."
      )
    other = copy.copy(self)
    other._leaves = leaves
    return other

  # Encode.

  def encode(
    self,
    context: Frames,
    style: np.ndarray,
    outline: OutlineFrames | None = None,
  ) -> Iterator[StreamState | None]:
    """Encodes a context slice by slice; the last item is the new stream.

    Every other item is None: the caller may do other work. The stream holds
    the start frame, so its length is 1.

    Args:
      context: Ids, steps and parts, `[1, s, ...]` with s of `context_sizes`.
      style: int32 `[m]`, rows of the style table.
      outline: Beats and chords, `[1, p, ...]`; None: nothing is given.
    """
    given = None
    if self.config.outline_rows:
      given = outline or OutlineFrames(*no_frames(1))
    encoded: Any = (context, given)
    for run in self._slices:
      encoded = run(self._leaves, encoded)
      jax.block_until_ready(encoded)
      yield None
    state = self._open(self._leaves, encoded, style[None])
    yield jax.block_until_ready(state)

  def _slice_from(self, first: int, stop: int) -> Callable[..., Any]:
    def begin(
      model: Depthformer, given: tuple[Frames, OutlineFrames | None]
    ) -> EncoderState:
      return go_on(model, model.encoder_inputs(*given))

    def go_on(model: Depthformer, encoded: EncoderState) -> EncoderState:
      return model.encoder_slice(encoded, first, stop)

    return begin if first == 0 else go_on

  def _open_stream(
    self, model: Depthformer, encoded: EncoderState, style: jax.Array
  ) -> StreamState:
    if self.rows == 2:
      style = jnp.concatenate([style, jnp.zeros_like(style)])
    memory = model.encoder_outputs(encoded, style)
    cross = model.cross_key_values(memory)
    bias = mask_to_bias(memory.mask[:, None, :], model.dtype)
    # A group may reach beyond the last slot.
    slots = self.slots + GROUPS[-1]
    state = StreamState(
      empty_caches(model, self.rows, slots),
      jnp.zeros((self.rows, slots, model.config.embed_dim), jnp.float32),
      cross,
      bias,
    )
    levels = self.codec.levels
    start = Frames(
      jnp.full((1, 1, levels), PAD, jnp.int32),
      jnp.zeros((1, 1), jnp.int32),
      jnp.zeros((1, 1), jnp.int32),
    )
    return self._append_frames(model, state, start, jnp.int32(0))

  # Append.

  def append(
    self, state: StreamState, frames: Frames, length: int
  ) -> StreamState:
    """Puts frames (1, 4 or 16 of them) at position `length`.

    The state passed in is used up. The caller counts only those frames that
    are real; what is padded will be overwritten.
    """
    return self._append(self._leaves, state, frames, np.int32(length))

  def _append_frames(
    self,
    model: Depthformer,
    state: StreamState,
    frames: Frames,
    length: jax.Array,
  ) -> StreamState:
    x = model.embed_frames(frames).astype(jnp.float32)
    x = jnp.broadcast_to(x, (self.rows, *x.shape[1:]))
    out, caches = temporal_step(
      model,
      x,
      length,
      state.caches,
      state.cross,
      state.cross_bias,
      model.angles(frames),
    )
    outputs = jax.lax.dynamic_update_slice_in_dim(
      state.outputs, out.astype(jnp.float32), length, axis=1
    )
    return state._replace(caches=caches, outputs=outputs)

  # Plan.

  def plan(
    self, state: StreamState, request: PlanRequest
  ) -> tuple[Planned, StreamState]:
    """Draws the model's next events; the state passed in is used up.

    Their frames lie in the state from `request.length` on: counting them in
    makes them part of the stream, anything else overwrites them.
    """
    return self._plan(self._leaves, state, request)

  def _plan_events(
    self, model: Depthformer, state: StreamState, request: PlanRequest
  ) -> tuple[Planned, StreamState]:
    codec, most = self.codec, self.max_events
    end = codec.config.end
    horizon = codec.config.horizon_steps

    def event(carry: _Carry) -> tuple[_Carry, jax.Array]:
      position = request.length + carry.index
      hidden = jax.lax.dynamic_slice_in_dim(
        carry.outputs, position - 1, 1, axis=1
      )
      rules = carry.rules
      first = carry.index == 0

      def choose(level: int, logits: jax.Array, codes: jax.Array) -> jax.Array:
        legal = codec.legal(
          level,
          codes,
          rules,
          earliest_step=request.earliest_step,
          end_step=horizon,
          xp=jnp,
        )
        code = jnp.arange(logits.shape[0])
        step = request.origin_step + rules.step
        if level == ONSET:
          soon = rules.step + code < request.latest_step
          in_time = legal & (soon | ~first) & (code <= request.max_gap)
          # If no code is in time any more, the earliest legal one.
          legal = jnp.where(jnp.any(in_time & (code != end)), in_time, legal)
          others = jnp.any(legal & (code != end))
          legal &= (code != end) | request.may_end | ~others
          wanted = request.priors.onset_nats(
            rules.step, logits[:horizon], legal[:horizon]
          )
          logits = logits.at[:horizon].add(wanted)
          logits = paced(jnp.where(legal, logits, -1e30), request.pace)
          # Noise belongs to a moment, wherever it is counted from.
          moment = jnp.where(code == end, -1, step + code)
          salt = jnp.where(code == 0, carry.struck, 0)
        else:
          if level == KEY:
            pedal = ~(request.note_first & first)
            pedals = jnp.stack([pedal & request.pedals, pedal])  # down, up
            wanted = jnp.append(request.keys, pedals)
            left = legal & wanted
            legal = jnp.where(jnp.any(left), left, legal)
            moved = request.priors.key.nats(
              rules.step + codes[ONSET], logits[:KEYS], legal[:KEYS]
            )
            logits = logits.at[:KEYS].add(moved)
          moment = jnp.broadcast_to(step + codes[ONSET], code.shape)
          salt = jnp.where(codes[ONSET] == 0, carry.struck, 0)
          salt = salt * 1024 + code
        noise = timed_gumbel(request.seed, level, moment, salt)
        return draw_with(
          noise,
          logits,
          legal,
          *(setting[level] for setting in request.sampling),
        )

      codes, log_p = draw_frame(
        model,
        codec,
        hidden,
        choose,
        request.guidance if self.rows == 2 else None,
      )
      after = codec.advance(rules, codes, xp=jnp)
      ends = codes[ONSET] == end
      stops = ends | (after.step >= request.end_step)
      ids = codec.vocabulary.to_ids(codes, xp=jnp)
      frames = Frames(
        ids[None, None],
        after.step.reshape(1, 1),
        jnp.zeros((1, 1), jnp.int32),
      )
      fed = self._append_frames(
        model,
        StreamState(carry.caches, carry.outputs, state.cross, state.cross_bias),
        frames,
        position,
      )
      struck = jnp.where(codes[ONSET] == 0, carry.struck + 1, 1)
      kept = ~stops
      following = _Carry(
        index=jnp.where(kept, carry.index + 1, carry.index),
        # A late event is not an end: it is drawn again later.
        ended=ends,
        rules=jax.tree.map(
          lambda new, old: jnp.where(kept, new, old), after, rules
        ),
        struck=jnp.where(kept, struck, carry.struck).astype(jnp.int32),
        caches=fed.caches,
        outputs=fed.outputs,
        codes=carry.codes.at[carry.index].set(codes),
        step=carry.step.at[carry.index].set(after.step),
        log_p=carry.log_p.at[carry.index].set(log_p),
      )
      return following, stops

    start = _Carry(
      index=jnp.int32(0),
      ended=jnp.bool_(False),
      rules=jax.tree.map(jnp.asarray, request.rules),
      struck=jnp.asarray(request.struck, jnp.int32),
      caches=state.caches,
      outputs=state.outputs,
      codes=jnp.full((most, codec.levels), -1, jnp.int32),
      step=jnp.zeros((most,), jnp.int32),
      log_p=jnp.zeros((most, codec.levels), jnp.float32),
    )
    last, _ = jax.lax.while_loop(
      lambda pair: ~pair[1] & (pair[0].index < request.limit),
      lambda pair: event(pair[0]),
      (start, jnp.bool_(False)),
    )
    planned = Planned(last.codes, last.step, last.log_p, last.index, last.ended)
    return planned, state._replace(caches=last.caches, outputs=last.outputs)

  # Score.

  def next_log_p(
    self, state: StreamState, length: int, codes: np.ndarray
  ) -> np.ndarray:
    """Log probability of each code of one frame, were it the model's next one.

    Args:
      state: A stream; not used up.
      length: Its length.
      codes: int32 `[l]`.
    """
    return np.asarray(self._log_p(self._leaves, state, np.int32(length), codes))

  def _next_log_p(
    self,
    model: Depthformer,
    state: StreamState,
    length: jax.Array,
    codes: jax.Array,
  ) -> jax.Array:
    hidden = jax.lax.dynamic_slice_in_dim(state.outputs, length - 1, 1, axis=1)
    _, log_p = draw_frame(
      model, self.codec, hidden[:1], lambda level, *_: codes[level]
    )
    return log_p
