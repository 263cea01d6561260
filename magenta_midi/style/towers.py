"""Towers of MidiCoCa: music and text to one space of embeddings.

Both are stacks of the Depthformer's encoder layers, pooled by attention with
one learned query.

Source: CoCa, arXiv 2205.01917; MuLan, arXiv 2208.12415, for music and text.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.limits import COUNT, FRACTION
from magenta_midi.midi.analysis.analysis import (
  MAX_ACCENT_S,
  key_correlations,
)
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import PAD, EncoderLayer, Frames
from magenta_midi.model.layers import (
  Attention,
  Dense,
  Norm,
  mask_to_bias,
  sinusoid,
  time_features,
)
from magenta_midi.settings import check_bounds
from magenta_midi.style.model import EMBEDDING_DIM
from magenta_midi.style.text.words import GRAM_ROWS
from magenta_midi.tokens.events import DURATION, KEY
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.typing import Bool, Float, Int

__all__ = ["MidiTower", "TextTower", "TowerConfig", "unit"]


# Width of `harmony`.
HARMONY = 24 + 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig:
  """Widths and depths of one tower."""

  width: int
  heads: int
  head_dim: int = 64
  mlp_dim: int
  layers: int
  dropout_rate: float = 0.0

  def __post_init__(self) -> None:
    """Refuses sizes that no tower can have."""
    check_bounds(self, COUNT, "width", "heads", "head_dim", "mlp_dim", "layers")
    check_bounds(self, FRACTION, "dropout_rate")

  def _layer(self, rngs: nnx.Rngs) -> EncoderLayer:
    config = DepthformerConfig(
      vocab_size=1,
      levels=1,
      embed_dim=self.width,
      num_heads=self.heads,
      head_dim=self.head_dim,
      mlp_dim=self.mlp_dim,
      encoder_layers=self.layers,
      temporal_layers=1,  # not built
      depth_layers=0,
      dropout_rate=self.dropout_rate,
    )
    return EncoderLayer(config, rngs=rngs, dtype=jnp.dtype(jnp.float32))

  def stack(self, rngs: nnx.Rngs) -> nnx.List:
    """Makes the layers of the tower."""
    return nnx.List(self._layer(rngs) for _ in range(self.layers))


def unit(x: Float[jax.Array, "... d"]) -> Float[jax.Array, "... d"]:
  """Scales vectors to length 1."""
  norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
  return x / norm


class _Pool(nnx.Module):
  """Pooling: a learned query attends to all positions; gives 768 numbers."""

  def __init__(self, config: TowerConfig, *, rngs: nnx.Rngs):
    dtype = jnp.dtype(jnp.float32)
    self.query = nnx.Param(
      jax.random.normal(rngs.params(), (1, 1, config.width))
    )
    self.attention = Attention(
      config.width, config.heads, config.head_dim, rngs=rngs, dtype=dtype
    )
    self.norm = Norm(config.width, dtype=dtype)
    self.projection = Dense(config.width, EMBEDDING_DIM, rngs=rngs, dtype=dtype)

  def __call__(
    self, x: Float[jax.Array, "b s d"], mask: Bool[jax.Array, "b s"]
  ) -> Float[jax.Array, "b e"]:
    query = jnp.broadcast_to(self.query[...], (x.shape[0], 1, x.shape[-1]))
    bias = mask_to_bias(mask[:, None, :], x.dtype)
    pooled = self.attention(query, x, bias)[:, 0]
    return self.projection(self.norm(pooled))


def _key_profiles() -> np.ndarray:
  """`[12, 24]`: weights from pitch classes to the fit of each key."""
  found = [key_correlations(row).ravel() for row in np.eye(12)]
  return np.array(found, np.float32) * np.float32(11 / 12) ** 0.5


def harmony(ids: Int[jax.Array, "b s l"]) -> Float[jax.Array, "b h"]:
  """The fit of each key to a window, and how clearly it is major or minor.

  Made from pitch classes weighted by duration, as in `midi.analysis`: 24
  correlations, those of the best major and best minor key, and five times their
  difference (0.1 to 0.3 for a clear mode).
  """
  codec = NoteCodec()
  sizes = np.array(codec.vocabulary.level_sizes)
  first = RESERVED + np.cumsum(sizes) - sizes
  key = ids[..., KEY] - int(first[KEY])
  table = np.minimum(codec.config.duration_table_s, MAX_ACCENT_S)
  # HELD, the last code, counts as the longest duration.
  table = np.append(table, MAX_ACCENT_S).astype(np.float32)
  code = jnp.clip(ids[..., DURATION] - int(first[DURATION]), 0, len(table) - 1)
  is_note = (key >= 0) & (key < 128)
  weight = jnp.where(is_note, jnp.asarray(table)[code], 0.0)
  classes = jax.nn.one_hot(key % 12, 12) * weight[..., None]
  total = jnp.sum(classes, axis=1)
  centered = total - jnp.mean(total, axis=-1, keepdims=True)
  fits = unit(centered) @ _key_profiles()
  major, minor = (jnp.max(fits[:, i : i + 12], axis=1) for i in (0, 12))
  mode = jnp.stack([major, minor, 5.0 * (major - minor)], axis=1)
  return jnp.concatenate([fits, mode], axis=1)


class MidiTower(nnx.Module):
  """Tower from frames of 10 s of music to a unit vector.

  It has the inputs of the Depthformer's encoder, so that training can start
  from one. The pooled vector also gets `harmony`, because attention did not
  learn major and minor of all keys from notes (`docs/decisions.md`).

  Args:
    config: Widths and depths.
    vocab_size: Number of rows of the token table.
    rngs: Stream `params`, and `dropout` in training.
  """

  def __init__(self, config: TowerConfig, vocab_size: int, *, rngs: nnx.Rngs):
    dtype = jnp.dtype(jnp.float32)
    self.config = config
    self.token_embedder = nnx.Embed(
      vocab_size,
      config.width,
      rngs=rngs,
      embedding_init=nnx.initializers.normal(1.0),
    )
    self.time_projection = Dense(
      config.width, config.width, rngs=rngs, dtype=dtype
    )
    self.harmony_projection = Dense(
      HARMONY, EMBEDDING_DIM, rngs=rngs, dtype=dtype
    )
    self.layers = config.stack(rngs)
    self.norm = Norm(config.width, dtype=dtype)
    self.pool = _Pool(config, rngs=rngs)

  def states(
    self, ids: Int[jax.Array, "b s l"], time: Int[jax.Array, "b s"]
  ) -> tuple[Float[jax.Array, "b s d"], Bool[jax.Array, "b s"]]:
    """The output of the last layer, and the mask of frames."""
    mask = jnp.any(ids > PAD, axis=-1)
    x = jnp.sum(self.token_embedder(ids), axis=-2)
    x = x + self.time_projection(time_features(time, self.config.width))
    return _run_layers(self.layers, self.norm, x, mask), mask

  def pooled(
    self,
    ids: Int[jax.Array, "b s l"],
    states: Float[jax.Array, "b s d"],
    mask: Bool[jax.Array, "b s"],
  ) -> Float[jax.Array, "b e"]:
    """Unit vectors from the output of `states`."""
    key_fit = self.harmony_projection(harmony(ids))
    return unit(self.pool(states, mask) + key_fit)

  def __call__(self, frames: Frames) -> Float[jax.Array, "b e"]:
    """Unit vectors of windows; the part of a frame is not used."""
    states, mask = self.states(frames.ids, frames.time)
    return self.pooled(frames.ids, states, mask)


class TextTower(nnx.Module):
  """Tower from words to a unit vector; its inputs are `TextInputs`."""

  def __init__(self, config: TowerConfig, vector_width: int, *, rngs: nnx.Rngs):
    dtype = jnp.dtype(jnp.float32)
    self.config = config
    self.word_projection = Dense(
      vector_width, config.width, rngs=rngs, dtype=dtype
    )
    self.gram_embedder = nnx.Embed(
      GRAM_ROWS,
      config.width,
      rngs=rngs,
      embedding_init=nnx.initializers.normal(1.0),
    )
    self.layers = config.stack(rngs)
    self.norm = Norm(config.width, dtype=dtype)
    self.pool = _Pool(config, rngs=rngs)
    self.meaning_projection = Dense(
      vector_width, EMBEDDING_DIM, rngs=rngs, dtype=dtype
    )

  def __call__(
    self, vectors: Any, known: Any, grams: Any, mask: Any, deep: Any = None
  ) -> Float[jax.Array, "b e"]:
    """Unit vectors of texts.

    Args:
      vectors: float32 `[b, s, v]`.
      known: `[b, s]` True if the word has a vector.
      grams: int32 `[b, s, g]`; used only for words without a vector. With a
        vector, similar spelling would count more than similar meaning.
      mask: `[b, s]` True if there is a word.
      deep: float32 `[b]`; 0 uses only the mean of the words, which training
        does at random; None: 1.
    """
    read = (grams > 0) & ~known[..., None]
    pieces = jnp.where(read[..., None], self.gram_embedder(grams), 0.0)
    count = jnp.sum(read, axis=-1, keepdims=True)
    pieces = jnp.sum(pieces, axis=-2) / jnp.sqrt(jnp.maximum(count, 1))
    words = jnp.where(known[..., None], self.word_projection(vectors), 0.0)
    x = words + pieces + 0.3 * sinusoid(mask.shape[1], self.config.width)[None]
    pooled = self.pool(_run_layers(self.layers, self.norm, x, mask), mask)
    if deep is not None:
      pooled = pooled * deep[:, None]
    count = jnp.sum(known, axis=1, keepdims=True)
    meaning = jnp.sum(jnp.where(known[..., None], vectors, 0.0), axis=1)
    meaning = meaning / jnp.maximum(count, 1)
    return unit(pooled + self.meaning_projection(meaning))


def _run_layers(
  layers: nnx.List, norm: Norm, x: jax.Array, mask: jax.Array
) -> jax.Array:
  keep = mask[..., None].astype(x.dtype)
  bias = mask_to_bias(mask[:, None, :] & mask[:, :, None], x.dtype)
  for layer in layers:
    x = layer(x, bias, keep)
  return keep * norm(x)
