"""Forgetting: the divergence of a model from the one before training.

The Kullback-Leibler divergence KL(before || after), on music that the model
before training played by itself. At each event it is the sum over all codes of
each level, not only the code that was drawn: the mean is the same, with less
noise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.evaluate import (
  protocol_windows,
  resampled_pieces,
  window_batches,
)
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Float, Int

__all__ = ["Divergence", "divergence"]


@dataclasses.dataclass(frozen=True)
class Divergence:
  """By piece."""

  nats: Float[np.ndarray, " pieces"]  # KL(before || after)
  surprise: Float[np.ndarray, " pieces"]  # entropy of what was expected before
  notes: Int[np.ndarray, " pieces"]

  @property
  def nats_per_note(self) -> float:
    """All nats over all notes; 0 if nothing has changed."""
    return float(self.nats.sum() / max(1, self.notes.sum()))

  @property
  def share(self) -> float:
    """Of the uncertainty that there was before."""
    return float(self.nats.sum() / max(1e-9, self.surprise.sum()))

  def interval(self) -> tuple[float, float]:
    """95 % bootstrap over pieces of `nats_per_note`."""
    chosen = resampled_pieces(len(self.notes))
    ratios = self.nats[chosen].sum(axis=1) / np.maximum(
      1, self.notes[chosen].sum(axis=1)
    )
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)

  def figures(self) -> dict[str, Any]:
    """As JSON."""
    return dict(
      nats_per_note=self.nats_per_note,
      ci95=list(self.interval()),
      share=self.share,
      notes=int(self.notes.sum()),
      pieces=len(self.notes),
    )


def divergence(
  before: Depthformer,
  after: Depthformer,
  codec: Codec,
  corpus: Corpus,
  *,
  on_window: Callable[[int, int], None] = lambda done, total: None,
) -> Divergence:
  """Compares what two models expect, in 2 s windows as `evaluate` has them.

  Args:
    before: Whose own music it is; in evaluation mode.
    after: Of the same shape.
    codec: Of both.
    corpus: What `before` plays by itself.
    on_window: Called with (windows done, windows in all).
  """
  examples = protocol_windows(corpus, round(10_000 / codec.config.step_ms))
  graph, params, rest = nnx.split(before, nnx.Param, ...)
  changed = nnx.state(after, nnx.Param)
  compare = _jitted(graph, rest)
  sums = np.zeros((len(corpus), 2))
  done = 0
  for rows, _, batch in window_batches(codec, corpus, examples):
    found = np.asarray(compare(params, changed, batch))
    np.add.at(sums, rows["piece"], found[: len(rows)])
    done += len(rows)
    on_window(done, len(examples))
  notes = [
    np.count_nonzero(corpus.piece(index)["duration_ms"] > 0)
    for index in range(len(corpus))
  ]
  return Divergence(sums[:, 0], sums[:, 1], np.array(notes, np.int64))


_CACHE: dict[Any, Any] = {}


def _jitted(graph: nnx.GraphDef, rest: nnx.State) -> Any:
  """One compiled function a model structure, kept between runs."""
  if graph not in _CACHE:

    def compare(params: nnx.State, changed: nnx.State, batch: Batch) -> Any:
      before = nnx.merge(graph, params, rest)
      after = nnx.merge(graph, changed, rest)
      return jnp.stack(_window_sums(before, after, batch), axis=1)

    _CACHE[graph] = jax.jit(compare)
  return _CACHE[graph]


def _window_sums(
  before: Depthformer, after: Depthformer, batch: Batch
) -> tuple[jax.Array, jax.Array]:
  """Divergence and entropy, summed over each window, `[b]` each."""
  kl = entropy = jnp.zeros(len(batch.targets))
  both = zip(
    level_logits(before, batch), level_logits(after, batch), strict=True
  )
  for level, (expected, now) in enumerate(both):
    log_p = jax.nn.log_softmax(expected.astype(jnp.float32))
    log_q = jax.nn.log_softmax(now.astype(jnp.float32))
    p, used = jnp.exp(log_p), batch.weights[..., level]
    here = jnp.sum(p * (log_p - log_q), axis=-1)
    own = -jnp.sum(p * log_p, axis=-1)
    kl = kl + jnp.sum(jnp.where(used, here, 0.0), axis=1)
    entropy = entropy + jnp.sum(jnp.where(used, own, 0.0), axis=1)
  return kl, entropy
