"""Depthformer: encoder, temporal stack over frames, depth over levels.

The same class reads Magenta RealTime's audio tokens and our MIDI tokens: it
sees only integers `[frames, levels]`.

Source: Magenta RealTime, arXiv 2508.04651; the residual depth decoding is
that of RQ-Transformer, arXiv 2203.01941.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.layers import (
  Attention,
  Dense,
  GatedMlp,
  KeyValue,
  Norm,
  RelativeBias,
  lookup,
  mask_to_bias,
  matrix_product,
  sinusoid,
  time_features,
)
from magenta_midi.model.rotary import MIDDLE_KEY, angles_of
from magenta_midi.typing import Bool, Float, Int

__all__ = [
  "DecoderLayer",
  "Depthformer",
  "EncoderLayer",
  "EncoderState",
  "Frames",
  "Memory",
  "OutlineFrames",
]

PAD = 0
# Level whose codes 0 to 127 are keys, where rotary positions read them.
KEY_LEVEL = 1
# Initial size of the rows of outlines, which are summed.
_FIRST_OUTLINE = 0.5
# Initial size of the style shift in a new model, relative to the slots.
_FIRST_SHIFT = 0.5


class Frames(NamedTuple):
  """Token ids with the input-only attributes of each frame.

  int32 arrays of JAX, or of NumPy outside compiled functions.
  """

  ids: Any  # [b, t, l] global ids; only PAD: no frame
  time: Any  # [b, t] 10 ms steps from the origin
  part: Any  # [b, t] 0: model, 1 + delay // 20 ms: player


class OutlineFrames(NamedTuple):
  """Beats and chords as input-only frames of the encoder; int32 arrays."""

  rows: Any  # [b, p, r] of the table of outlines, summed; only 0: no frame
  time: Any  # [b, p] 10 ms steps from the origin, past or to come
  key: Any  # [b, p] where rotary positions see it


class EncoderState(NamedTuple):
  """The context between two encoder layers."""

  x: jax.Array  # [b, s, d]
  mask: jax.Array  # [b, s] True where there is a frame
  angles: Any = None  # [b, s, k / 2] rotary positions; None: the model has none


class Memory(NamedTuple):
  """The input of cross attention: encoder states, then style slots."""

  states: jax.Array  # [b, s, d]
  mask: jax.Array  # [b, s] True where attention is allowed
  angles: Any = None  # [b, s, k / 2]; slots lie at *now* and the middle key


class EncoderLayer(nnx.Module):
  """Self attention and MLP, pre-norm."""

  def __init__(
    self, config: DepthformerConfig, *, rngs: nnx.Rngs, dtype: jnp.dtype
  ):
    width = config.embed_dim
    self.pre_attention_layer_norm = Norm(width, dtype=dtype)
    self.attention = Attention(
      width, config.num_heads, config.head_dim, rngs=rngs, dtype=dtype
    )
    self.pre_mlp_layer_norm = Norm(width, dtype=dtype)
    self.mlp = GatedMlp(width, config.mlp_dim, rngs=rngs, dtype=dtype)
    self.dropout = nnx.Dropout(
      config.dropout_rate, broadcast_dims=(1,), rngs=rngs
    )

  def __call__(
    self,
    x: Float[jax.Array, "b s d"],
    bias: Float[jax.Array, "b 1 s s"],
    keep: Float[jax.Array, "b s 1"],
    angles: Float[jax.Array, "b s _"] | None = None,
  ) -> Float[jax.Array, "b s d"]:
    """One layer; `keep` is 0 at padded positions."""
    h = keep * self.pre_attention_layer_norm(x)
    x = x + self.dropout(self.attention(h, h, bias, angles))
    h = keep * self.pre_mlp_layer_norm(x)
    return x + self.dropout(self.mlp(h))


class DecoderLayer(nnx.Module):
  """Self attention, cross attention (temporal stack only) and MLP."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    head_dim: int,
    mlp_dim: int,
    *,
    cross: bool,
    dropout_rate: float,
    rngs: nnx.Rngs,
    dtype: jnp.dtype,
  ):
    self.pre_self_attention_layer_norm = Norm(width, dtype=dtype)
    self.self_attention = Attention(
      width, num_heads, head_dim, rngs=rngs, dtype=dtype
    )
    if cross:
      self.pre_cross_attention_layer_norm = Norm(width, dtype=dtype)
      self.encoder_decoder_attention = Attention(
        width, num_heads, head_dim, rngs=rngs, dtype=dtype
      )
    self.pre_mlp_layer_norm = Norm(width, dtype=dtype)
    self.mlp = GatedMlp(width, mlp_dim, rngs=rngs, dtype=dtype)
    self.dropout = nnx.Dropout(dropout_rate, broadcast_dims=(1,), rngs=rngs)

  def self_key_value(
    self,
    x: Float[jax.Array, "b t d"],
    keep: jax.Array | float = 1.0,
    angles: Float[jax.Array, "b t _"] | None = None,
  ) -> KeyValue:
    """Keys and values of new positions, for a cache."""
    h = keep * self.pre_self_attention_layer_norm(x)
    return self.self_attention.key_value(h, angles)

  def __call__(
    self,
    x: Float[jax.Array, "b t d"],
    self_key_value: KeyValue,
    self_bias: Float[jax.Array, "#b #h #t s"],
    cross_key_value: KeyValue | None = None,
    cross_bias: Float[jax.Array, "#b 1 #t m"] | None = None,
    keep: jax.Array | float = 1.0,
    angles: Float[jax.Array, "#b t _"] | None = None,
  ) -> Float[jax.Array, "b t d"]:
    """One layer over positions with projected keys and values.

    The residual stream is float32 even with bfloat16, as in the original.
    """
    h = keep * self.pre_self_attention_layer_norm(x)
    attended = self.self_attention.attend(h, self_key_value, self_bias, angles)
    x = x + self.dropout(attended)
    if cross_key_value is not None:
      assert cross_bias is not None
      h = keep * self.pre_cross_attention_layer_norm(x)
      attended = self.encoder_decoder_attention.attend(
        h, cross_key_value, cross_bias, angles
      )
      x = x + self.dropout(attended)
    h = keep * self.pre_mlp_layer_norm(x)
    return x + self.dropout(self.mlp(h))


def _temporal_layer(
  layer: DecoderLayer,
  x: jax.Array,
  memory: Memory,
  self_bias: jax.Array,
  cross_bias: jax.Array,
  keep: jax.Array | float,
  angles: jax.Array | None,
) -> jax.Array:
  cross = layer.encoder_decoder_attention.key_value(
    memory.states, memory.angles
  )
  key_value = layer.self_key_value(x, keep, angles)
  return layer(x, key_value, self_bias, cross, cross_bias, keep, angles)


def _depth_layer(
  layer: DecoderLayer, x: jax.Array, bias: jax.Array, keep: jax.Array | float
) -> jax.Array:
  return layer(x, layer.self_key_value(x, keep), bias, keep=keep)


class Depthformer(nnx.Module):
  """Encoder, temporal stack, depth stack and untied head.

  Args:
    config: Shapes and inputs.
    rngs: Streams `params` (initial weights) and `dropout`.
  """

  # Settings of a pass, not of the model; they are not in checkpoints. `remat`:
  # training recomputes activations in the backward pass. `loop`: the layers of
  # a stack run as one compiled loop, also with recomputing. Then arrays made
  # from a layer's parameters exist for one layer at a time. Without the loop
  # XLA chooses the order of the layers; on a CPU it made all these arrays at
  # once.
  remat = False
  loop = False

  def __init__(self, config: DepthformerConfig, *, rngs: nnx.Rngs):
    self.config = config
    dtype = jnp.dtype(config.dtype)
    self.dtype = dtype
    width = config.embed_dim
    depth = config.depth_width
    self.token_embedder = nnx.Embed(
      config.vocab_size,
      width,
      rngs=rngs,
      embedding_init=nnx.initializers.normal(1.0),
    )
    if config.time_features:
      self.time_projection = Dense(width, width, rngs=rngs, dtype=dtype)
    if config.parts:
      self.part_embedder = nnx.Embed(config.parts, width, rngs=rngs)
    if config.outline_rows:
      self.outline_embedder = nnx.Embed(
        config.outline_rows,
        width,
        rngs=rngs,
        embedding_init=nnx.initializers.normal(_FIRST_OUTLINE),
      )
    if config.style_slots:
      self.style_embedder = nnx.Embed(config.style_vocab_size, width, rngs=rngs)
      if config.style_shift:
        self.style_projection = Dense(
          width, width, rngs=rngs, dtype=dtype, scale=_FIRST_SHIFT
        )
    self.encoder_layers = nnx.List(
      EncoderLayer(config, rngs=rngs, dtype=dtype)
      for _ in range(config.encoder_layers)
    )
    self.encoder_norm = Norm(width, dtype=dtype)
    if config.temporal_positions == "relative":
      self.temporal_relpos_bias = RelativeBias(
        config.num_heads, config.temporal_buckets, rngs=rngs, dtype=dtype
      )
    self.temporal_layers = nnx.List(
      DecoderLayer(
        width,
        config.num_heads,
        config.head_dim,
        config.mlp_dim,
        cross=True,
        dropout_rate=config.dropout_rate,
        rngs=rngs,
        dtype=dtype,
      )
      for _ in range(config.temporal_layers)
    )
    if depth != width:
      self.depth_projection = Dense(width, depth, rngs=rngs, dtype=dtype)
    if config.depth_layers:
      self.depth_relpos_bias = RelativeBias(
        config.depth_num_heads,
        config.depth_buckets or config.levels,
        rngs=rngs,
        dtype=dtype,
      )
    self.depth_layers = nnx.List(
      DecoderLayer(
        depth,
        config.depth_num_heads,
        config.head_dim,
        config.depth_mlp_width,
        cross=False,
        # In the original the depth residuals have no dropout.
        dropout_rate=0.0,
        rngs=rngs,
        dtype=dtype,
      )
      for _ in range(config.depth_layers)
    )
    self.decoder_norm = Norm(depth, dtype=dtype)
    self.logits_dense = Dense(
      depth, config.vocab_size, rngs=rngs, dtype=jnp.dtype(jnp.float32)
    )
    self.dropout = nnx.Dropout(
      config.dropout_rate, broadcast_dims=(1,), rngs=rngs
    )

  # Embedding ---------------------------------------------------------------

  def embed(self, ids: Int[jax.Array, "..."]) -> Float[jax.Array, "... d"]:
    """Token embeddings in the activation dtype, not scaled."""
    table = self.token_embedder.embedding[...].astype(self.dtype)
    return lookup(table, ids)

  def _attributes(self, frames: Frames) -> jax.Array | float:
    """Embeddings of the attributes of frames: time and part."""
    total: jax.Array | float = 0.0
    if self.config.time_features:
      total = total + self.time_projection(
        time_features(frames.time, self.config.embed_dim)
      )
    if self.config.parts:
      total = total + lookup(self.part_embedder.embedding[...], frames.part)
    return total

  def embed_frames(self, frames: Frames) -> Float[jax.Array, "b t d"]:
    """Inputs of the temporal stack: mean of the levels, plus attributes."""
    embedded = self.embed(frames.ids).astype(jnp.float32)
    return jnp.mean(embedded, axis=-2) + self._attributes(frames)

  def angles(self, frames: Frames) -> Float[jax.Array, "b t _"] | None:
    """Rotary positions of frames; None if the model has none."""
    config = self.config
    key = jnp.full_like(frames.time, MIDDLE_KEY)
    if config.rotary_key:
      # Pedal changes, END and the start are no keys.
      code = frames.ids[..., KEY_LEVEL] - config.columns[KEY_LEVEL][0]
      key = jnp.where((code >= 0) & (code < 128), code, key)
    return self._angles(frames.time, key)

  def _angles(
    self, time: Int[jax.Array, "b t"], key: Int[jax.Array, "b t"]
  ) -> Float[jax.Array, "b t _"] | None:
    config = self.config
    if not config.rotary:
      return None
    return angles_of(
      time,
      key,
      head_dim=config.head_dim,
      time_pairs=config.rotary_time,
      key_pairs=config.rotary_key,
    )

  # Encoder -----------------------------------------------------------------

  def encode(
    self,
    context: Frames,
    style: Int[jax.Array, "r m"] | None = None,
    outline: OutlineFrames | None = None,
  ) -> Memory:
    """Encodes the context once.

    Args:
      context: `[b, s, l]`; all-PAD frames are masked. With `flat` input each
        level is one position, in frame-major order.
      style: Rows of the style table for the memory slots; None: masked. If
        there are more rows than contexts, the contexts repeat in turn.
      outline: Beats and chords, attended to with the context; None: none. A
        model without `outline_rows` leaves them out.
    """
    state = self.encoder_inputs(context, outline)
    state = self.encoder_slice(state, 0, len(self.encoder_layers))
    return self.encoder_outputs(state, style)

  def encoder_inputs(
    self, context: Frames, outline: OutlineFrames | None = None
  ) -> EncoderState:
    """The embedded context, the frames of an outline after it."""
    ids = context.ids
    batch = ids.shape[0]
    if self.config.encoder_input == "flat":
      ids = ids.reshape(batch, -1)
      mask = ids > PAD
      x = self.embed(ids) + sinusoid(ids.shape[1], self.config.embed_dim)[None]
    else:
      mask = jnp.any(ids > PAD, axis=-1)
      x = jnp.sum(self.embed(ids), axis=-2) + self._attributes(context)
    angles = self.angles(context)
    if outline is not None and self.config.outline_rows:
      more, more_mask, more_angles = self._outline_inputs(outline)
      x = jnp.concatenate([x, more], axis=1)
      mask = jnp.concatenate([mask, more_mask], axis=1)
      if angles is not None:
        angles = jnp.concatenate([angles, more_angles], axis=1)
    x = self.dropout(x.astype(self.dtype))
    return EncoderState(x, mask, angles)

  def _outline_inputs(self, outline: OutlineFrames) -> EncoderState:
    """The embedded frames of an outline."""
    used = outline.rows > 0
    table = self.outline_embedder.embedding[...].astype(self.dtype)
    rows = jnp.where(used[..., None], jnp.take(table, outline.rows, axis=0), 0)
    x = jnp.sum(rows, axis=-2)
    if self.config.time_features:
      x = x + self.time_projection(
        time_features(outline.time, self.config.embed_dim)
      )
    mask = jnp.any(used, axis=-1)
    return EncoderState(x, mask, self._angles(outline.time, outline.key))

  def encoder_slice(
    self, state: EncoderState, first: int, stop: int
  ) -> EncoderState:
    """Runs encoder layers `first` to `stop - 1`. Live play encodes so."""
    x, mask, angles = state
    keep = mask[..., None].astype(self.dtype)
    bias = mask_to_bias(mask[:, :, None] & mask[:, None, :], self.dtype)
    layers = self.encoder_layers[first:stop]
    x = self._run(EncoderLayer.__call__, layers, x, bias, keep, angles)
    return EncoderState(x, mask, angles)

  def _run(
    self,
    call: Callable[..., jax.Array],
    layers: Sequence[nnx.Module],
    x: jax.Array,
    *inputs: Any,
  ) -> jax.Array:
    """Runs layers in order; all get the same further inputs."""
    if not (self.loop and layers):
      run = self._layer(call)
      for layer in layers:
        x = run(layer, x, *inputs)
      return x
    graph = nnx.graphdef(layers[0])
    states = [nnx.state(layer) for layer in layers]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def one(x: jax.Array, state: nnx.State) -> tuple[jax.Array, None]:
      return call(nnx.merge(graph, state), x, *inputs), None

    # `prevent_cse` is not needed inside a loop.
    return jax.lax.scan(jax.checkpoint(one, prevent_cse=False), x, stacked)[0]

  def _layer(self, call: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A layer's call, with recomputing in the backward pass if `remat`."""
    if not self.remat:
      return call

    def recomputed(layer: nnx.Module, *inputs: Any) -> jax.Array:
      # Not nnx.remat: it would advance the counts of dropout streams, which may
      # belong to an outer trace. Each layer runs once in a pass.
      graph, state = nnx.split(layer)
      return jax.checkpoint(
        lambda state, *inputs: call(nnx.merge(graph, state), *inputs)
      )(state, *inputs)

    return recomputed

  def encoder_outputs(
    self,
    state: EncoderState,
    style: Int[jax.Array, "r m"] | None = None,
  ) -> Memory:
    """Makes the memory from the output of the last encoder layer."""
    keep = state.mask[..., None].astype(self.dtype)
    x = keep * self.dropout(self.encoder_norm(state.x))
    return self._with_style(Memory(x, state.mask, state.angles), style)

  def cross_key_values(self, memory: Memory) -> tuple[KeyValue, ...]:
    """The memory, projected for each temporal layer."""
    return tuple(
      layer.encoder_decoder_attention.key_value(memory.states, memory.angles)
      for layer in self.temporal_layers
    )

  def _with_style(
    self, memory: Memory, style: Int[jax.Array, "r m"] | None
  ) -> Memory:
    if not self.config.style_slots:
      return memory
    batch = memory.mask.shape[0]
    if style is None:
      style = jnp.zeros((batch, self.config.style_slots), jnp.int32)
    copies = style.shape[0] // batch
    states, mask, angles = jax.tree.map(
      lambda x: jnp.tile(x, (copies,) + (1,) * (x.ndim - 1)), memory
    )
    slots = lookup(self.style_embedder.embedding[...], style)
    slots = slots.astype(self.dtype)
    states = jnp.concatenate([states, slots], axis=1)
    if self.config.style_shift:
      used = (style > 0)[..., None]
      total = jnp.sum(jnp.where(used, slots, 0), axis=1, keepdims=True)
      # Attention weights sum to 1, so this shift always reaches the output.
      states = states + self.style_projection(total / style.shape[1] ** 0.5)
    mask = jnp.concatenate([mask, jnp.ones(style.shape, bool)], axis=1)
    if angles is not None:
      angles = jnp.pad(angles, ((0, 0), (0, style.shape[1]), (0, 0)))
    return Memory(states, mask, angles)

  # Decoder, whole sequences ------------------------------------------------

  def temporal(
    self,
    x: Float[jax.Array, "b t d"],
    memory: Memory,
    self_mask: Bool[jax.Array, "#b t t"],
    cross_mask: Bool[jax.Array, "b #t s"],
    keep: Float[jax.Array, "b t 1"] | float = 1.0,
    angles: Float[jax.Array, "b t _"] | None = None,
  ) -> Float[jax.Array, "b t d"]:
    """Runs the temporal stack over all frames at once."""
    x = x.astype(jnp.float32)
    frames = x.shape[1]
    self_bias = mask_to_bias(self_mask, self.dtype)
    if self.config.temporal_positions == "relative":
      self_bias = self_bias + self.temporal_relpos_bias(frames, frames)
    else:
      x = x + sinusoid(frames, self.config.embed_dim)[None]
    x = self.dropout(x)
    cross_bias = mask_to_bias(cross_mask, self.dtype)
    return self._run(
      _temporal_layer,
      self.temporal_layers,
      x,
      memory,
      self_bias,
      cross_bias,
      keep,
      angles,
    )

  def depth_inputs(
    self,
    temporal_out: Float[jax.Array, "b t d"],
    targets: Int[jax.Array, "b t l"],
  ) -> Float[jax.Array, "n l e"]:
    """Inputs of the depth stack: temporal output, then lower levels."""
    lower = self.embed(targets[..., :-1]).astype(jnp.float32)
    x = jnp.concatenate([temporal_out[..., None, :], lower], axis=-2)
    x = x.reshape(-1, *x.shape[-2:])
    return self.to_depth(x)

  def to_depth(self, x: Float[jax.Array, "... d"]) -> Float[jax.Array, "... e"]:
    """Projects to the width of the depth stack, if it differs."""
    if self.config.depth_width == self.config.embed_dim:
      return x
    return self.depth_projection(x).astype(jnp.float32)

  def depth(
    self,
    x: Float[jax.Array, "n l e"],
    mask: Bool[jax.Array, "#n l l"],
    keep: Float[jax.Array, "n l 1"] | float = 1.0,
  ) -> Float[jax.Array, "n l e"]:
    """Runs the depth stack; each frame is one batch row."""
    if not self.config.depth_layers:
      return x
    levels = x.shape[1]
    bias = mask_to_bias(mask, self.dtype)
    bias = bias + self.depth_relpos_bias(levels, levels)
    return self._run(_depth_layer, self.depth_layers, x, bias, keep)

  def logits(
    self,
    x: Float[jax.Array, "... e"],
    keep: Float[jax.Array, "... 1"] | float = 1.0,
  ) -> Float[jax.Array, "... v"]:
    """Float32 logits over the whole vocabulary."""
    return self.logits_dense(keep * self.dropout(self.decoder_norm(x)))

  def level_logits(
    self, x: Float[jax.Array, "... e"], level: int
  ) -> Float[jax.Array, "... c"]:
    """Logits of one level: only its columns are computed."""
    start, stop = self.config.columns[level]
    h = self.dropout(self.decoder_norm(x)).astype(jnp.float32)
    return matrix_product(h, self.logits_dense.kernel[:, start:stop])

  def __call__(
    self,
    context: Frames,
    inputs: Frames,
    targets: Int[jax.Array, "b t l"],
    style: Int[jax.Array, "b m"] | None = None,
    outline: OutlineFrames | None = None,
  ) -> tuple[Float[jax.Array, "b t _"], ...]:
    """Teacher-forced logits of each level.

    Args:
      context: Frames before the origin.
      inputs: Inputs of the temporal stack: frame 0 is only PAD (the start),
        frame i is the i-th frame of the stream, of model or player.
      targets: Ids that the depth stack reads, level by level.
      style: Rows of the style table, or None.
      outline: Beats and chords, or None.

    Returns:
      For each level, the logits over its columns.
    """
    memory = self.encode(context, style, outline)
    batch, frames, levels = targets.shape
    causal = jnp.tril(jnp.ones((1, frames, frames), bool))
    out = self.temporal(
      self.embed_frames(inputs),
      memory,
      causal,
      memory.mask[:, None, :],
      angles=self.angles(inputs),
    )
    depth = self.depth(
      self.depth_inputs(out, targets),
      jnp.tril(jnp.ones((1, levels, levels), bool)),
    )
    depth = depth.reshape(batch, frames, levels, -1)
    return tuple(
      self.level_logits(depth[:, :, level], level) for level in range(levels)
    )
