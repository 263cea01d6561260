"""Sizes of a model: root mean squares, and the largest logit of attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.corpus import pack_scores
from magenta_midi.evaluation.model_sizes import model_sizes, watched_batch
from magenta_midi.model.checkpoint import flat_parameters
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import Attention, watch_attention
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from tests.support.finetuning import scale

CODEC = NoteCodec()


def test_the_largest_logit_is_of_what_is_not_masked():
  attention = Attention(8, 2, 4, rngs=nnx.Rngs(0), dtype=jnp.dtype("float32"))
  x = jax.random.normal(jax.random.key(1), (2, 5, 8))
  mask = jnp.tril(jnp.ones((5, 5), bool))
  bias = jnp.where(mask, 0.0, -1e10)[None, None]
  with watch_attention() as found:
    attention(x, x, bias)
    attention(x, 2 * x, bias)
  query, key = (
    np.asarray(x) @ np.asarray(dense.kernel[...])
    for dense in (attention.query, attention.key)
  )
  logits = np.einsum(
    "bthk,bshk->bhts", query.reshape(2, 5, 2, 4), key.reshape(2, 5, 2, 4)
  )
  largest = logits[:, :, np.asarray(mask)].max()
  np.testing.assert_allclose(found, [largest, 2 * largest], rtol=1e-5)
  attention(x, x, bias)
  assert len(found) == 2


def test_sizes_follow_the_arrays():
  shape = preset(
    "tiny",
    level_sizes=tuple(CODEC.vocabulary.level_sizes),
    reserved=RESERVED,
    temporal_layers=1,
  )
  model = Depthformer(shape, rngs=nnx.Rngs(0))
  model.eval()
  batch = watched_batch(CODEC, pack_scores([("scale", scale())]), 10.0)
  before = model_sizes(model, batch)
  head = flat_parameters(model)["logits_dense.kernel"]
  assert before["head_rms"] == pytest.approx(np.sqrt(np.mean(head**2)))
  # Drawn smaller by the root of the head's width.
  factor = before["key_rms"] / before["query_rms"]
  assert factor == pytest.approx(shape.head_dim**0.5, rel=0.1)
  assert {"position_bias_rms", "embedding_rms"} < before.keys()
  for layer in model.encoder_layers:
    kernel = layer.attention.query.kernel
    kernel[...] = 100 * kernel[...]
  after = model_sizes(model, batch)
  assert after["attention_logit"] > 20 * before["attention_logit"]
  assert after["query_rms"] > before["query_rms"]
  assert after["head_rms"] == before["head_rms"]
