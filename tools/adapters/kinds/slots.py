"""Learned positions that the network attends to beside the music's own.

Memory slots stand after the encoder's states: the temporal stack attends to
them in every layer, together with the context. So they change the output from
the start, unless they resemble states: they begin as states that the encoder
gives for other music.

Prefixes are keys and values of one attention, attended to separately; a gate
for each head scales the result and begins at 0 (Zhang et al. 2023,
https://arxiv.org/abs/2303.16199, section 3.2). For a network without a
recurrent state they are what state tuning is for one with it: what each layer
has read before the first note.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.evaluation.evaluate import protocol_windows, window_batches
from magenta_midi.model.depthformer import (
  Depthformer,
  EncoderState,
  Frames,
  Memory,
)
from magenta_midi.model.layers import Attention, KeyValue
from magenta_midi.tokens.codec import Codec

__all__ = [
  "PREFIXES",
  "SLOTS",
  "PrefixedAttention",
  "SlottedDepthformer",
  "heard_states",
  "with_prefixes",
]

# Of the arrays that are learned; both are whole names of a module's attribute.
SLOTS = ("memory_slots",)
PREFIXES = ("prefix_key", "prefix_value", "prefix_gate")
# Of the context before a window that slots may be taken from, ms.
_MIN_HEARD_MS = 4000


class SlottedDepthformer(Depthformer):
  """A Depthformer with positions of its own in every memory.

  Args:
    base: Its modules become those of this model.
    slots: `[m, d]` what the positions begin as.
  """

  def __init__(self, base: Depthformer, slots: jax.Array):
    for name, value in vars(base).items():
      if not name.startswith("_"):
        setattr(self, name, value)
    self.memory_slots = nnx.Param(slots)

  def encoder_outputs(
    self, state: EncoderState, style: jax.Array | None = None
  ) -> Memory:
    """The memory, the slots last; they lie where those of the style lie."""
    states, mask, angles = super().encoder_outputs(state, style)
    slots = self.memory_slots[...].astype(states.dtype)
    slots = jnp.broadcast_to(slots[None], (states.shape[0], *slots.shape))
    if angles is not None:
      angles = jnp.pad(angles, ((0, 0), (0, slots.shape[1]), (0, 0)))
    return Memory(
      jnp.concatenate([states, slots], axis=1),
      jnp.concatenate([mask, jnp.ones(slots.shape[:2], bool)], axis=1),
      angles,
    )


class PrefixedAttention(Attention):
  """An attention with keys and values of its own.

  Args:
    base: Its projections become those of this one.
    count: Of positions.
    key: They are drawn, with the spread that a new model's have.
  """

  def __init__(self, base: Attention, count: int, key: jax.Array):
    self.num_heads = base.num_heads
    self.head_dim = base.head_dim
    self.query, self.key = base.query, base.key
    self.value, self.out = base.value, base.out
    shape = (base.num_heads, count, base.head_dim)
    keys, values = jax.random.normal(key, (2, *shape), jnp.float32)
    self.prefix_key = nnx.Param(keys)
    self.prefix_value = nnx.Param(values)
    self.prefix_gate = nnx.Param(jnp.zeros(base.num_heads, jnp.float32))

  def attend(
    self,
    x: jax.Array,
    key_value: KeyValue,
    bias: jax.Array,
    angles: jax.Array | None = None,
  ) -> jax.Array:
    """Attends to both, each for itself; the prefix has no position."""
    query = self._heads(self.query(x))
    logits = jnp.einsum(
      "bhtk,hsk->bhts", query, self.prefix_key[...].astype(query.dtype)
    )
    found = jnp.einsum(
      "bhts,hsk->bhtk",
      jax.nn.softmax(logits, axis=-1),
      self.prefix_value[...].astype(query.dtype),
    )
    found = found * jnp.tanh(self.prefix_gate[...])[None, :, None, None]
    joined = jnp.swapaxes(found, -3, -2).reshape(
      *x.shape[:-1], self.num_heads * self.head_dim
    )
    return super().attend(x, key_value, bias, angles) + self.out(joined)


def with_prefixes(model: Depthformer, count: int, key: jax.Array) -> None:
  """Gives a prefix to every attention of the model's layers."""
  layers = [*model.encoder_layers, *model.temporal_layers, *model.depth_layers]
  drawn = 0
  for layer in layers:
    for name, module in list(vars(layer).items()):
      if isinstance(module, Attention):
        own = jax.random.fold_in(key, drawn)
        setattr(layer, name, PrefixedAttention(module, count, own))
        drawn += 1


def heard_states(
  model: Depthformer, codec: Codec, music: Corpus, count: int, seed: int
) -> jax.Array:
  """`[count, d]` encoder states, each of another moment of the music."""
  rng = np.random.default_rng(seed)
  examples = protocol_windows(music, round(10_000 / codec.config.step_ms))
  late = examples[examples["now_ms"] >= _MIN_HEARD_MS]
  if not len(late):
    raise ValueError(
      f"slots begin as what is heard before {_MIN_HEARD_MS / 1000:g} s, and"
      " no recording is so long. Give longer recordings."
    )
  chosen = rng.choice(late, count, replace=count > len(late))
  found = []
  for part, _, batch in window_batches(codec, music, chosen):
    context = Frames(batch.context_ids, batch.context_time, batch.context_part)
    memory = model.encode(Frames(*map(jnp.asarray, context)))
    heard = np.asarray(memory.mask)[:, : batch.context_ids.shape[1]]
    for row in range(len(part)):
      # A context with a rest of 10 s has no frames: any position will do.
      positions = np.flatnonzero(heard[row])
      position = rng.choice(positions) if len(positions) else 0
      found.append(memory.states[row, position])
  return jnp.stack(found).astype(jnp.float32)
