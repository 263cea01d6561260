"""Style vector of a player, learned from their recordings.

The vector begins as the mean embedding of all 10 s windows. A mean says what
the windows share, not how the base understands it. So the vector is moved to
where the base, given its tokens, predicts the recordings better. Tokens have no
gradient; but the gradient at their embedding rows says which tokens would help.
Mixes of the vector and the embeddings of windows that have such tokens are
tried. The vector thus stays near the player's embeddings, where it can be
blended with text. If it is no better on held-out music, the mean is kept.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import MIN_NOTES
from magenta_midi.data.examples.examples import Batch, cut_examples
from magenta_midi.data.examples.style_windows import (
  STYLE_WINDOW_S,
  style_windows,
)
from magenta_midi.data.recordings import Split
from magenta_midi.evaluation.evaluate import (
  BUCKETS,
  CHUNK_STEPS,
  protocol_windows,
)
from magenta_midi.evaluation.nats import window_nats
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.adapter_file import PlayerStyle
from magenta_midi.style.model import StyleModel
from magenta_midi.style.slots import StyleSlots
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.typing import Float

__all__ = [
  "LEARNING_WINDOWS",
  "StyleSource",
  "learn_player_style",
  "window_embeddings",
]

# Windows of 2 s: of the recordings, to compare vectors; of held-out ones, to
# evaluate the result; and in a batch.
_WINDOWS, _HELD_OUT_WINDOWS, _BATCH = 128, 192, 16
# Most moves of the vector, and mixes tried for each.
_ROUNDS, _TRIED = 4, 4
# Work of learning a vector, in windows scored: of two rounds, with as many
# tries, and slopes as three.
LEARNING_WINDOWS = _WINDOWS * (1 + 2 * (3 + 2)) + 3 * _HELD_OUT_WINDOWS
# Part of the time that is over, about, when the recordings are embedded, and
# when the vector is found.
_EMBEDDED, _IMPROVED = 0.2, 0.8
# Candidate mixes: so many for each number of embeddings, with one of these
# shares. The gradient says nothing of vectors farther away.
_MIXES, _OF, _SHARES = 400, (1, 2, 3, 5, 10, 30), (0.1, 0.2, 0.4, 0.7)
_NEAREST = 0.85


class StyleSource(NamedTuple):
  """Base with a style, and the function from a vector to its rows."""

  model: Depthformer
  codec: Codec
  style_model: StyleModel
  slots: StyleSlots

  def rows(self, vector: Float[np.ndarray, " d"] | None) -> np.ndarray:
    """The rows of a vector; None: all masked."""
    if vector is None:
      return self.slots.rows()
    return self.slots.rows(self.style_model.tokenize(vector))


def learn_player_style(
  source: StyleSource,
  split: Split,
  known: PlayerStyle | None = None,
  *,
  on_remark: Callable[[str], None] = lambda line: None,
  on_fraction: Callable[[float], None] = lambda done: None,
) -> PlayerStyle | None:
  """Learns a style vector.

  Args:
    source: The model that is given the vector.
    split: Music to learn from, and music to evaluate on.
    known: The style learned from earlier recordings, which counts as much as
      they do; None: none.
    on_remark: Called with the reason if there is no vector.
    on_fraction: Called with the part that is done, 0..1.

  Returns:
    The style; `known` where these recordings have none.
  """
  embeddings = window_embeddings(source.style_model, split.train, on_remark)
  if not len(embeddings):
    return known
  earlier = 0 if known is None else int(known.figures.get("windows", 0))
  total = embeddings.sum(axis=0)
  if known is not None:
    total = total + earlier * known.vector
  lengths = np.linalg.norm(embeddings, axis=1)
  # If all vectors have unit length, their mean is scaled to it too.
  unit = bool(np.allclose(lengths, 1.0, atol=1e-3))
  mean = _put(total / (len(embeddings) + earlier), unit)
  nats = _Nats(source, split.train, _WINDOWS)
  on_fraction(_EMBEDDED)

  def on_round(done: int) -> None:
    on_fraction(_EMBEDDED + (_IMPROVED - _EMBEDDED) * done / _ROUNDS)

  vector, moved = _improved(nats, mean, embeddings, unit, on_round)
  on_fraction(_IMPROVED)
  judged = _Nats(source, split.held_out, _HELD_OUT_WINDOWS)
  after, before = judged(vector), judged(mean)
  if after >= before:
    # Of few recordings too much can be learned.
    vector, after, moved = mean, before, 0
  figures = dict(
    windows=len(embeddings) + earlier,
    moved=moved,
    cosine_to_mean=_cosine(vector, mean),
    nats_per_note=after,
    nats_per_note_of_mean=before,
    nats_per_note_without=judged(None),
  )
  model = source.style_model
  digest = getattr(model, "digest", "")
  return PlayerStyle(vector, model.name, digest, figures)


def window_embeddings(
  model: StyleModel,
  recordings: Corpus,
  on_remark: Callable[[str], None] = lambda line: None,
) -> Float[np.ndarray, "n 768"]:
  """Embeddings of all 10 s of recordings that have 6 notes or more.

  Args:
    model: Of which style is meant.
    recordings: One after the other; the last 10 s of each may be shorter.
    on_remark: Told why there is none, if so.
  """
  examples = protocol_windows(recordings, 0)
  begins = examples["now_ms"] % round(1000 * STYLE_WINDOW_S) == 0
  windows = style_windows(NoteCodec(), [recordings], examples[begins])
  found, reason = [], f"no 10 s of the recordings have {MIN_NOTES} notes"
  for row in np.flatnonzero(windows.notes() >= MIN_NOTES).tolist():
    try:
      found.append(model.embed(windows.score(row)))
    except (OSError, ValueError) as error:
      reason = str(error)
  if not found:
    on_remark(f"no style vector was learned: {reason}")
    return np.zeros((0, 768), np.float32)
  return np.stack(found)


def _improved(
  nats: "_Nats",
  start: Float[np.ndarray, " d"],
  embeddings: Float[np.ndarray, "n d"],
  unit: bool,
  on_round: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, " d"], int]:
  """A vector near `start` that is expected better, and in how many moves."""
  vector, best, moved = start, nats(start), 0
  random = np.random.default_rng(0)
  tried = {tuple(nats.source.rows(start))}
  for done in range(_ROUNDS):
    on_round(done)
    mixes = _mixes(random, vector, embeddings, unit)
    rows = np.stack([nats.source.rows(mix) for mix in mixes])
    expected = nats.expected_changes(vector, rows)
    order = [
      place for place in np.argsort(expected) if tuple(rows[place]) not in tried
    ]
    for place in _distinct(rows, order):
      if expected[place] >= 0:
        return vector, moved
      tried.add(tuple(rows[place]))
      found = nats(mixes[place])
      if found < best:
        vector, best, moved = mixes[place], found, moved + 1
        break
    else:
      break
  return vector, moved


def _mixes(
  random: np.random.Generator,
  vector: Float[np.ndarray, " d"],
  embeddings: Float[np.ndarray, "n d"],
  unit: bool,
) -> Float[np.ndarray, "m d"]:
  """Vectors near one: mixes of it and some embeddings."""
  mixes = []
  for count in _OF:
    chosen = random.integers(0, len(embeddings), (_MIXES, count))
    shares = random.choice(_SHARES, _MIXES)
    for some, share in zip(chosen, shares, strict=True):
      mix = (1 - share) * vector + share * embeddings[some].mean(axis=0)
      mix = _put(mix, unit)
      if _cosine(mix, vector) >= _NEAREST:
        mixes.append(mix)
  return np.stack([vector, *mixes])


def _distinct(rows: np.ndarray, order: list[Any]) -> list[int]:
  """The first few places whose rows differ, in order."""
  found: dict[tuple, int] = {}
  for place in order:
    found.setdefault(tuple(rows[place]), int(place))
    if len(found) == _TRIED:
      break
  return list(found.values())


def _put(
  vector: Float[np.ndarray, " d"], unit: bool
) -> Float[np.ndarray, " d"]:
  """A vector, put to unit length where its model's are."""
  if unit:
    vector = vector / max(float(np.linalg.norm(vector)), 1e-9)
  return vector.astype(np.float32)


def _cosine(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
  return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


class _Nats:
  """Nats a note of some windows of a corpus, given a style."""

  def __init__(self, source: StyleSource, corpus: Corpus, count: int):
    self.source = source
    codec = source.codec
    step_ms = codec.config.step_ms
    examples = protocol_windows(corpus, round(10_000 / step_ms))
    if len(examples) > count:
      chosen = np.linspace(0, len(examples) - 1, count).astype(np.int64)
      examples = examples[chosen]
    # One shape, so that two functions are compiled; the fullest are cut.
    context_frames, target_frames = BUCKETS[codec.name][-1]
    self._batches = [
      cut_examples(
        codec,
        [corpus],
        # The last is filled up with notes that count twice.
        np.resize(examples[first : first + _BATCH], _BATCH),
        context_frames=context_frames,
        target_frames=target_frames // 2,
        target_steps=CHUNK_STEPS,
      )[0]
      for first in range(0, len(examples), _BATCH)
    ]
    graph, params, rest = nnx.split(source.model, nnx.Param, ...)
    self._params = params
    self._table = params["style_embedder"]["embedding"][...]
    self._nats, self._slope = _compiled(graph, rest, codec)

  def __call__(self, vector: Float[np.ndarray, " d"] | None) -> float:
    """Nats a note, told of a style; None: told of none."""
    rows = jnp.asarray(self.source.rows(vector))
    found = [
      self._nats(self._table, self._params, rows, batch)
      for batch in self._batches
    ]
    nats, notes = np.sum(np.array(found, np.float64), axis=0)
    return float(nats / max(1.0, notes))

  def expected_changes(
    self, vector: Float[np.ndarray, " d"], rows: np.ndarray
  ) -> Float[np.ndarray, " n"]:
    """First-order estimate of the change by other rows of a vector.

    Args:
      vector: Where the slope is taken.
      rows: `[n, m]`, of others.

    Returns:
      Changes in nats; their order is what is meant.
    """
    own = self.source.rows(vector)
    slope = sum(
      np.asarray(
        self._slope(self._table, self._params, jnp.asarray(own), batch)
      )
      for batch in self._batches
    )
    table = np.asarray(self._table, np.float64)
    steps = table[rows] - table[own]
    return np.einsum("nmd,md->n", steps, np.asarray(slope)[own])


_CACHE: dict[Any, tuple[Any, Any]] = {}


def _compiled(
  graph: nnx.GraphDef, rest: nnx.State, codec: Codec
) -> tuple[Any, Any]:
  """Nats and notes of a batch, and the slope of the nats over the table."""
  if (graph, codec) in _CACHE:
    return _CACHE[graph, codec]

  def nats(
    table: jax.Array, params: Any, rows: jax.Array, batch: Batch
  ) -> tuple[jax.Array, jax.Array]:
    # A copy of the tree, whose leaves are set one by one.
    params = jax.tree.map(lambda leaf: leaf, params)
    rows_of = params["style_embedder"]
    rows_of["embedding"] = rows_of["embedding"].replace(table)
    model = nnx.merge(graph, params, rest)
    told = batch._replace(style=jnp.tile(rows, (_BATCH, 1)))
    found, notes = window_nats(model, codec, told, jnp.zeros(_BATCH, jnp.int32))
    return jnp.sum(found), jnp.sum(notes).astype(jnp.float32)

  slope = jax.grad(lambda *given: nats(*given)[0])
  return _CACHE.setdefault((graph, codec), (jax.jit(nats), jax.jit(slope)))
