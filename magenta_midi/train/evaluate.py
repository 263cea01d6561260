"""Held-out nats, by a protocol fixed here.

Every 2 s of every piece once, with its true 10 s of context, teacher-forced
and without augmentation. Everything is counted: all levels of notes and pedal
events, and at the end of each chunk the chance that nothing more comes in it
(END, or any onset or time shift past its end). The sum is divided by the
notes, so that codecs compare.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.event import EventCodec
from magenta_midi.tokens.note import PEDAL_DOWN
from magenta_midi.train.batches import bucket_of
from magenta_midi.train.corpus import Corpus
from magenta_midi.train.losses import level_logits, level_nats
from magenta_midi.train.windows import (
  EXAMPLE_DTYPE,
  Batch,
  cut_examples,
  frame_counts,
)
from magenta_midi.typing import Float, Int

__all__ = ["LEVEL_NAMES", "Evaluation", "evaluate", "protocol_windows"]

LEVEL_NAMES = ("onset", "key", "velocity", "duration")
# What nats are told apart by, beside pedal events and END: the levels of
# notes, or the kinds of tokens.
_NAMES = {
  "note": LEVEL_NAMES,
  "event": ("time_shift", "note_on", "velocity", "note_off"),
}
# 2 s hold fewer events than training's targets.
_NOTE_BUCKETS = ((64, 24), (96, 32), (128, 48), (192, 64), (256, 192))
BUCKETS = {
  "note": _NOTE_BUCKETS,
  "event": tuple((4 * c, 4 * t) for c, t in _NOTE_BUCKETS),
}
CHUNK_STEPS = 200


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Nats by piece."""

  nats: Float[np.ndarray, "pieces 6"]  # by `names`, then pedal and END
  notes: Int[np.ndarray, " pieces"]
  seconds: Float[np.ndarray, " pieces"]
  names: tuple[str, ...] = LEVEL_NAMES

  @property
  def nats_per_note(self) -> float:
    """All nats over all notes."""
    return float(self.nats.sum() / max(1, self.notes.sum()))

  def interval(self, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap over pieces of `nats_per_note`."""
    pieces = len(self.notes)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, pieces, size=(draws, pieces))
    total = self.nats.sum(axis=1)
    ratio = total[chosen].sum(axis=1) / np.maximum(
      1, self.notes[chosen].sum(axis=1)
    )
    low, high = np.quantile(ratio, (0.025, 0.975))
    return float(low), float(high)

  def figures(self) -> dict[str, Any]:
    """The figures that `evaluate --json` prints."""
    notes = max(1, int(self.notes.sum()))
    by_column = self.nats.sum(axis=0) / notes
    seconds = float(self.seconds.sum())
    return dict(
      nats_per_note=self.nats_per_note,
      nats_per_second=float(self.nats.sum() / max(1e-9, seconds)),
      notes=int(self.notes.sum()),
      seconds=seconds,
      levels={n: float(by_column[i]) for i, n in enumerate(self.names)},
      pedal=float(by_column[4]),
      end=float(by_column[5]),
      ci95=list(self.interval()),
      pieces=len(self.notes),
    )

  def joined(self, other: "Evaluation") -> "Evaluation":
    """Both sets of pieces."""
    return Evaluation(
      np.concatenate([self.nats, other.nats]),
      np.concatenate([self.notes, other.notes]),
      np.concatenate([self.seconds, other.seconds]),
      self.names,
    )


def protocol_windows(corpus: Corpus, context_steps: int) -> np.ndarray:
  """One example for every 2 s of every piece."""
  windows = []
  for piece, length in enumerate(corpus.lengths_ms):
    # A chunk begins half a step early: the grid rounds half up.
    chunks = (int(length) + 5) // 2000 + 1
    examples = np.zeros(chunks, EXAMPLE_DTYPE)
    examples["piece"] = piece
    examples["now_ms"] = np.arange(chunks) * 2000
    windows.append(examples)
  joined = np.concatenate(windows)
  joined["tempo"] = 1.0
  joined["velocity_gain"] = 1.0
  joined["context_steps"] = context_steps
  return joined


def window_nats(
  model: Depthformer, codec: Codec, batch: Batch
) -> tuple[jax.Array, jax.Array]:
  """Nats of a batch of 2 s windows.

  Returns:
    `[b, 6]` nats by the codec's names, pedal and END, and `[b]` notes.
  """
  logits = level_logits(model, batch)
  if isinstance(codec, EventCodec):
    columns, note = _event_nats(logits[0], codec, batch)
  else:
    columns, note = _note_nats(logits, model, batch)
  return (
    jnp.stack([jnp.sum(column, axis=1) for column in columns], axis=1),
    jnp.sum(note, axis=1),
  )


def _note_nats(
  logits: tuple[jax.Array, ...], model: Depthformer, batch: Batch
) -> tuple[list[jax.Array], jax.Array]:
  """Six columns `[b, t]` of nats, and where notes are."""
  columns = model.config.columns
  key_code = batch.targets[..., 1] - columns[1][0]
  event = batch.weights[..., 1]
  pedal = event & (key_code >= PEDAL_DOWN)
  note = event & ~pedal
  end = batch.weights[..., 0] & ~event
  nats = [
    level_nats(
      logits[level],
      batch.targets[..., level],
      batch.weights[..., level] & event,
      columns[level][0],
    )
    for level in range(4)
  ]
  # Nothing more in the chunk: END, or an onset past its end.
  steps = jnp.arange(logits[0].shape[-1])[None, None]
  past = batch.input_time[..., None] + steps >= CHUNK_STEPS
  past = past.at[..., -1].set(True)
  found = [jnp.where(note, level, 0.0) for level in nats]
  found.append(jnp.where(pedal, nats[0] + nats[1], 0.0))
  found.append(jnp.where(end, _nats_of_any(logits[0], past), 0.0))
  return found, note


def _event_nats(
  logits: jax.Array, codec: EventCodec, batch: Batch
) -> tuple[list[jax.Array], jax.Array]:
  """Six columns `[b, t]` of nats, and where note-ons are."""
  config = codec.config
  first = codec.vocabulary.level_slice(0).start
  code = batch.targets[..., 0] - first
  token = batch.weights[..., 0]
  end = token & (code == config.end)
  nats = level_nats(logits, batch.targets[..., 0], token & ~end, first)

  def between(low: int, high: int) -> jax.Array:
    return token & (code >= low) & (code < high)

  note = between(config.note_on, config.note_off)
  kinds = [
    between(0, config.note_on),
    note,
    between(config.velocity, config.pedal_down),
    between(config.note_off, config.velocity),
    between(config.pedal_down, config.begin),
  ]
  # Nothing more in the chunk: EOS, or a time shift to its end or past it.
  codes = jnp.arange(logits.shape[-1])[None, None]
  past = batch.input_time[..., None] + codes + 1 >= CHUNK_STEPS
  past = (past & (codes < config.note_on)) | (codes == config.end)
  found = [jnp.where(kind, nats, 0.0) for kind in kinds]
  found.append(jnp.where(end, _nats_of_any(logits, past), 0.0))
  return found, note


def _nats_of_any(logits: jax.Array, which: jax.Array) -> jax.Array:
  """Nats of the event that one of several codes comes, `[b, t]`."""
  some = jax.nn.logsumexp(jnp.where(which, logits, -jnp.inf), axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - some


def evaluate(
  model: Depthformer,
  codec: Codec,
  corpus: Corpus,
  *,
  windows: int | None = None,
  context: bool = True,
  on_window: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
  """Scores a corpus.

  Args:
    model: In evaluation mode.
    codec: The model's codec.
    corpus: Held-out pieces.
    windows: Score only this many windows, evenly spread; None: all.
    context: False removes the context.
    on_window: Called with (windows done, windows in all).

  Returns:
    Nats by piece.
  """
  context_steps = round(10_000 / codec.config.step_ms)
  examples = protocol_windows(corpus, context_steps)
  if windows is not None and windows < len(examples):
    examples = examples[
      np.linspace(0, len(examples) - 1, windows).astype(np.int64)
    ]
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  forward = _jitted(graph, rest, codec)
  buckets, names = BUCKETS[codec.name], _NAMES[codec.name]
  bucket = bucket_of(
    *frame_counts(codec, [corpus], examples, CHUNK_STEPS), buckets
  )
  nats = np.zeros((len(corpus), len(names) + 2))
  notes = np.zeros(len(corpus), np.int64)
  done = 0
  for index, (context_frames, target_frames) in enumerate(buckets):
    chosen = examples[bucket == index]
    size = max(4, 2048 // context_frames)
    for start in range(0, len(chosen), size):
      part = chosen[start : start + size]
      # One shape a bucket: the last batch repeats its first example.
      padded = np.concatenate(
        [part, np.repeat(part[:1], size - len(part), axis=0)]
      )
      batch, _ = cut_examples(
        codec,
        [corpus],
        padded,
        context_frames=context_frames,
        target_frames=target_frames,
        target_steps=CHUNK_STEPS,
      )
      if not context:
        batch = batch._replace(context_ids=np.zeros_like(batch.context_ids))
      sums, counts = forward(params, batch)
      np.add.at(nats, part["piece"], np.asarray(sums)[: len(part)])
      np.add.at(notes, part["piece"], np.asarray(counts)[: len(part)])
      done += len(part)
      on_window(done, len(examples))
  seconds = np.bincount(examples["piece"], minlength=len(corpus)) * 2.0
  scored = seconds > 0
  return Evaluation(nats[scored], notes[scored], seconds[scored], names)


_CACHE: dict[Any, Any] = {}


def _jitted(graph: nnx.GraphDef, rest: nnx.State, codec: Codec) -> Any:
  """One compiled function a model structure, kept between evaluations."""
  if (graph, codec) not in _CACHE:
    _CACHE[graph, codec] = jax.jit(
      lambda params, batch: window_nats(
        nnx.merge(graph, params, rest), codec, batch
      )
    )
  return _CACHE[graph, codec]
