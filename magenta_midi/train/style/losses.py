"""Losses of MidiCoCa: contrastive, caption, measures and opposites.

A window of music and its captions are pulled together against the rest of the
batch (contrastive, with a learned temperature) and against texts of opposite
meaning. A small decoder predicts the caption from the MIDI tower's states, and
a linear read-out predicts the measures from the pooled vector. Decoder and
read-out are used in training only.

Source: CoCa, arXiv 2205.01917.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.model.depthformer import DecoderLayer, Frames
from magenta_midi.model.layers import Dense, Norm, mask_to_bias, sinusoid
from magenta_midi.style.midi_coca import MidiCoCaConfig, Towers
from magenta_midi.style.model import EMBEDDING_DIM
from magenta_midi.typing import Bool, Float

__all__ = ["CocaBatch", "CocaLosses", "CocaTrainee", "coca_losses", "match"]

PAD_WORD = 0
# The learned temperature starts here and stays above a hundredth.
_FIRST_TEMPERATURE, _MIN_TEMPERATURE = 0.07, 0.01


class CocaBatch(NamedTuple):
  """Windows in groups of like size, and texts.

  Texts come window after window, so many captions each; then the texts that
  mean nothing; then two of each window, a true one and its opposite.
  """

  groups: tuple[Frames, ...]  # [b_i, s_i, ...]
  vectors: Any  # float32 [n, w, v]
  known: Any  # bool [n, w]
  grams: Any  # int32 [n, w, g]
  mask: Any  # bool [n, w]
  deep: Any  # float32 [n] 0 where only the words' mean meaning counts
  opposed: Any  # bool [b] True if the last texts describe a window
  words: Any  # int32 [b, w] each window's first caption, PAD_WORD at the end
  measured: Any  # float32 [b, m] standardised


class CocaLosses(NamedTuple):
  """Parts of the loss, and how often a window's caption was the nearest."""

  contrastive: jax.Array
  caption: jax.Array
  measure: jax.Array
  neutral: jax.Array
  opposite: jax.Array
  hits: jax.Array


class Captioner(nnx.Module):
  """Says the words of a caption, one after the other."""

  def __init__(
    self, config: MidiCoCaConfig, vocabulary: int, *, rngs: nnx.Rngs
  ):
    dtype = jnp.dtype(jnp.float32)
    width = config.text.width
    self.embedder = nnx.Embed(
      vocabulary,
      width,
      rngs=rngs,
      embedding_init=nnx.initializers.normal(1.0),
    )
    self.memory = Dense(config.midi.width, width, rngs=rngs, dtype=dtype)
    self.layers = nnx.List(
      DecoderLayer(
        width,
        config.text.heads,
        config.text.head_dim,
        config.text.mlp_dim,
        cross=True,
        dropout_rate=0.0,
        rngs=rngs,
        dtype=dtype,
      )
      for _ in range(2)
    )
    self.norm = Norm(width, dtype=dtype)
    self.logits = Dense(width, vocabulary, rngs=rngs, dtype=dtype)

  def nats(
    self, words: jax.Array, states: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Summed nats of `words` [b, w] given music `[b, s, d]`."""
    length = words.shape[1]
    before = jnp.pad(words, ((0, 0), (1, 0)))[:, :-1]
    x = self.embedder(before) + sinusoid(length, self.embedder.features)[None]
    causal = jnp.tril(jnp.ones((1, length, length), bool))
    self_bias = mask_to_bias(causal, x.dtype)
    cross_bias = mask_to_bias(mask[:, None, :], x.dtype)
    memory = self.memory(states)
    for layer in self.layers:
      cross = layer.encoder_decoder_attention.key_value(memory)
      x = layer(x, layer.self_key_value(x), self_bias, cross, cross_bias)
    log_p = jax.nn.log_softmax(self.logits(self.norm(x)))
    nats = -jnp.take_along_axis(log_p, words[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.where(words != PAD_WORD, nats, 0.0))


class CocaTrainee(nnx.Module):
  """Both towers and what only training needs."""

  def __init__(
    self,
    config: MidiCoCaConfig,
    *,
    vocabulary: int,
    measures: int,
    rngs: nnx.Rngs,
  ):
    self.towers = Towers(config, rngs=rngs)
    self.captioner = Captioner(config, vocabulary, rngs=rngs)
    self.read_out = Dense(
      EMBEDDING_DIM, measures, rngs=rngs, dtype=jnp.dtype(jnp.float32)
    )
    self.log_temperature = nnx.Param(jnp.float32(math.log(_FIRST_TEMPERATURE)))


def coca_losses(trainee: CocaTrainee, batch: CocaBatch) -> CocaLosses:
  """The parts of the loss, each a mean."""
  towers = trainee.towers
  music, caption, start = [], jnp.float32(0.0), 0
  for frames in batch.groups:
    states, mask = towers.midi.states(frames.ids, frames.time)
    music.append(towers.midi.pooled(frames.ids, states, mask))
    stop = start + frames.ids.shape[0]
    words = batch.words[start:stop]
    caption += trainee.captioner.nats(words, states, mask)
    start = stop
  m = jnp.concatenate(music)
  t = towers.text(
    batch.vectors, batch.known, batch.grams, batch.mask, batch.deep
  )
  contrastive, neutral, opposite, hits = match(
    m, t, batch.opposed, trainee.log_temperature[...]
  )
  return CocaLosses(
    contrastive=contrastive,
    caption=caption / jnp.sum(batch.words != PAD_WORD),
    measure=_squares(trainee.read_out(m) * 8.0, batch.measured),
    neutral=neutral,
    opposite=opposite,
    hits=hits,
  )


def match(
  m: Float[jax.Array, "b d"],
  t: Float[jax.Array, "n d"],
  opposed: Bool[Any, " b"],
  log_temperature: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Music against captions: contrastive loss, nonsense's, opposites', hits.

  Args:
    m: Windows.
    t: So many captions a window, window after window; then at least one text
      that means nothing, and not as many as there are windows; then a true
      text and its opposite of each window.
    opposed: True where a window has such texts.
    log_temperature: Of the softmax.
  """
  count = m.shape[0]
  captions = (t.shape[0] - 2 * count - 1) // count
  said, nothing, sides = jnp.split(
    t, [captions * count, t.shape[0] - 2 * count]
  )
  temperature = jnp.maximum(jnp.exp(log_temperature), _MIN_TEMPERATURE)
  # [b, c, b]: each caption against all windows.
  logits = said.reshape(count, captions, -1) @ m.T / temperature
  own = jnp.arange(count)
  of_text = -jax.nn.log_softmax(logits, axis=2)[own, :, own]
  of_music = -jax.nn.log_softmax(logits, axis=0)[own, :, own]
  hits = jnp.mean(jnp.argmax(logits, axis=2) == own[:, None])
  middle = jax.lax.stop_gradient(_middle(m))
  contrastive = (jnp.mean(of_text) + jnp.mean(of_music)) / 2
  alike = jnp.einsum("bd,bsd->bs", m, sides.reshape(count, 2, -1))
  wrong = jax.nn.softplus((alike[:, 1] - alike[:, 0]) / temperature)
  opposite = jnp.sum(wrong * opposed) / jnp.maximum(jnp.sum(opposed), 1)
  return contrastive, jnp.mean(1.0 - nothing @ middle), opposite, hits


def _middle(m: Float[jax.Array, "b d"]) -> Float[jax.Array, " d"]:
  mean = jnp.mean(m, axis=0)
  return mean / jnp.linalg.norm(mean)


def _squares(found: jax.Array, wanted: jax.Array) -> jax.Array:
  known = jnp.isfinite(wanted)
  error = jnp.where(known, found - jnp.where(known, wanted, 0.0), 0.0)
  return jnp.sum(jnp.square(error)) / jnp.maximum(jnp.sum(known), 1)
