"""Sizes in a model that grow before its training collapses.

Root mean squares of arrays, and the largest logit of attention: a training that
goes wrong shows in them before it shows in the loss.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.evaluate import (
  SOLO,
  protocol_windows,
  window_batches,
)
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.model.checkpoint import flat_parameters
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import watch_attention
from magenta_midi.tokens.codec import Codec

__all__ = ["model_sizes", "watched_batch"]

# Windows that attention is watched on, at most; those of one shape.
_WINDOWS = 16
# Arrays by the name under which they are logged.
_ARRAYS = {
  "query_rms": r".*attention\.query\.kernel",
  "key_rms": r".*attention\.key\.kernel",
  "head_rms": r"logits_dense\.kernel",
  "position_bias_rms": r".*relpos_bias\.rel_embedding",
  "embedding_rms": r"token_embedder\.embedding",
}


def model_sizes(model: Depthformer, batch: Batch) -> dict[str, float]:
  """The sizes of a model, of some music.

  Args:
    model: In evaluation mode.
    batch: What attention is watched on.

  Returns:
    The root mean square of each kind of array, over all layers; and
    `attention_logit`, the largest of any layer, masked ones left out. A kind
    that the model has not is missing.
  """
  params = flat_parameters(model)
  found = {}
  for name, pattern in _ARRAYS.items():
    arrays = [
      np.asarray(array, np.float64).ravel()
      for path, array in params.items()
      if re.fullmatch(pattern, path)
    ]
    if arrays:
      square = np.mean(np.square(np.concatenate(arrays)))
      found[name] = float(np.sqrt(square))
  graph, state, rest = nnx.split(model, nnx.Param, ...)
  largest = _largest_logit(graph, rest)(state, batch)
  return found | dict(attention_logit=float(largest))


def watched_batch(codec: Codec, corpus: Corpus, context_s: float) -> Batch:
  """A few windows of music with contexts of so many seconds."""
  context_steps = round(1000 * context_s / codec.config.step_ms)
  examples = SOLO.split(protocol_windows(corpus, context_steps), corpus)
  some = np.linspace(0, len(examples) - 1, _WINDOWS).astype(np.int64)
  return next(window_batches(codec, corpus, examples[some]))[2]


_CACHE: dict[Any, Any] = {}


def _largest_logit(graph: nnx.GraphDef, rest: nnx.State) -> Any:
  """One compiled function a model structure, kept between evaluations."""
  if graph not in _CACHE:

    def largest(params: nnx.State, batch: Batch) -> jax.Array:
      with watch_attention() as logits:
        level_logits(nnx.merge(graph, params, rest), batch)
      return jnp.max(jnp.stack(logits))

    _CACHE[graph] = jax.jit(largest)
  return _CACHE[graph]
