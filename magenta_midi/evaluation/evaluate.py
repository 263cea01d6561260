"""Held-out nats, by a protocol fixed here.

Every 2 s of every piece once, with its true 10 s of context, teacher-forced
and without augmentation. Everything is counted: all levels of notes and pedal
events, and at the end of each chunk the chance that nothing more comes in it
(END, or any onset or time shift past its end). The sum is divided by the
notes, so that codecs compare.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.batches import bucket_of
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import (
  EXAMPLE_DTYPE,
  Batch,
  cut_examples,
  frame_counts,
)
from magenta_midi.data.examples.outline_draws import OutlineDraws
from magenta_midi.data.examples.partners import MAX_DELAY_MS, MODES
from magenta_midi.evaluation.nats import CHUNK_STEPS, window_nats
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Float, Int, Shaped

__all__ = [
  "CHUNK_STEPS",
  "LEVEL_NAMES",
  "SOLO",
  "Evaluation",
  "Players",
  "evaluate",
  "protocol_windows",
  "resampled_pieces",
  "window_batches",
]

LEVEL_NAMES = ("onset", "key", "velocity", "duration")
# Columns of nats beside pedal events and END: the levels of notes, or the kinds
# of tokens.
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


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Nats by piece."""

  nats: Float[np.ndarray, "pieces 6"]  # by `names`, then pedal and END
  notes: Int[np.ndarray, " pieces"]
  seconds: Float[np.ndarray, " pieces"]
  names: tuple[str, ...] = LEVEL_NAMES
  # Titles of the pieces; may be empty.
  titles: tuple[str, ...] = ()

  @property
  def nats_per_note(self) -> float:
    """All nats over all notes."""
    return float(self.nats.sum() / max(1, self.notes.sum()))

  def interval(self, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap over pieces of `nats_per_note`."""
    ratios = self.resampled(resampled_pieces(len(self.notes), draws))
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)

  def resampled(
    self, chosen: Int[np.ndarray, "draws pieces"]
  ) -> Float[np.ndarray, " draws"]:
    """`nats_per_note` of each row of pieces."""
    total = self.nats.sum(axis=1)
    return total[chosen].sum(axis=1) / np.maximum(
      1, self.notes[chosen].sum(axis=1)
    )

  def by_piece(self) -> list[dict[str, Any]]:
    """Title, notes and nats a note (None without notes) of each piece."""
    return [
      dict(
        piece=title,
        notes=int(notes),
        nats_per_note=float(nats / notes) if notes else None,
      )
      for title, notes, nats in zip(
        self.titles, self.notes, self.nats.sum(axis=1), strict=True
      )
    ]

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
      self.titles + other.titles,
    )


def resampled_pieces(
  pieces: int, draws: int = 2000
) -> Int[np.ndarray, "draws pieces"]:
  """Rows of as many pieces, drawn with replacement; always the same rows."""
  return np.random.default_rng(0).integers(0, pieces, size=(draws, pieces))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Players:
  """Split of held-out pieces into the scored part and the other part."""

  # Of `partners.MODES`; tracks takes only pieces with a melody track.
  mode: str = "solo"
  # The scored part is the rest instead of the melody, the lower hand instead
  # of the upper, the second turn instead of the first.
  swapped: bool = False
  # Delay of the other part, ms.
  delay_ms: int = 0
  # False removes the other part from context and stream.
  other_part: bool = True

  def split(
    self, examples: Shaped[np.ndarray, " n"], corpus: Corpus
  ) -> Shaped[np.ndarray, " m"]:
    """The examples that can be split in this way, with their parts set.

    Raises:
      ValueError: The mode is unknown, the delay out of range, or no piece has
        a melody track.
    """
    if self.mode not in MODES:
      raise ValueError(
        f"mode must be one of {', '.join(MODES)}, got {self.mode!r}."
      )
    if not 0 <= self.delay_ms <= MAX_DELAY_MS:
      raise ValueError(
        f"delay_ms must be in 0..{MAX_DELAY_MS}, got {self.delay_ms}."
      )
    if self.mode == "tracks":
      examples = examples[corpus.has_melody[examples["piece"]]]
      if not len(examples):
        raise ValueError("no piece has a track named melody beside another.")
    examples = examples.copy()
    examples["mode"] = MODES.index(self.mode)
    examples["swapped"] = self.swapped
    examples["delay_ms"] = self.delay_ms
    # The pedal is the accompaniment's, the lower hand's.
    examples["pedal"] = 0 if self.swapped else 1
    # Turns that do not depend on which windows are scored.
    examples["turns"] = examples["piece"] * 4096 + examples["now_ms"] // 2000
    return examples


SOLO = Players()


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


def evaluate(
  model: Depthformer,
  codec: Codec,
  corpus: Corpus,
  *,
  windows: int | None = None,
  context: bool = True,
  context_s: float = 10.0,
  players: Players = SOLO,
  style: StyleRows | None = None,
  outlines: OutlineDraws | None = None,
  on_window: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
  """Scores a corpus.

  Args:
    model: In evaluation mode.
    codec: The model's codec.
    corpus: Held-out pieces.
    windows: Score only this many windows, evenly spread; None: all.
    context: False removes the context.
    context_s: Length of the context; figures are comparable at 10 s.
    players: Split of each piece into the scored part and the other part.
    style: Gives the model the style and controls of each window's music; None:
      they are masked, as in all figures that are compared.
    outlines: Gives the model beats or chords of each window; None: nothing, as
      in all figures that are compared.
    on_window: Called with (windows done, windows in all).

  Returns:
    Nats by piece.
  """
  context_steps = round(1000 * context_s / codec.config.step_ms)
  examples = protocol_windows(corpus, context_steps)
  examples = players.split(examples, corpus)
  if windows is not None and windows < len(examples):
    examples = examples[
      np.linspace(0, len(examples) - 1, windows).astype(np.int64)
    ]
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  forward = _jitted(graph, rest, codec)
  names = _NAMES[codec.name]
  nats = np.zeros((len(corpus), len(names) + 2))
  notes = np.zeros(len(corpus), np.int64)
  done = 0
  for part, padded, batch in window_batches(
    codec, corpus, examples, other_part=players.other_part
  ):
    if style is not None:
      batch = batch._replace(style=style.given([corpus], padded))
    if outlines is not None:
      outline = outlines.frames([corpus], padded, codec.config.step_ms)
      batch = batch._replace(
        outline_rows=outline.rows,
        outline_time=outline.time,
        outline_key=outline.key,
      )
    if not context:
      batch = batch._replace(context_ids=np.zeros_like(batch.context_ids))
    sums, counts = forward(params, batch, padded["delay_ms"].astype(np.int32))
    np.add.at(nats, part["piece"], np.asarray(sums)[: len(part)])
    np.add.at(notes, part["piece"], np.asarray(counts)[: len(part)])
    done += len(part)
    on_window(done, len(examples))
  seconds = np.bincount(examples["piece"], minlength=len(corpus)) * 2.0
  scored = seconds > 0
  titles = tuple(itertools.compress(corpus.names, scored))
  return Evaluation(nats[scored], notes[scored], seconds[scored], names, titles)


def window_batches(
  codec: Codec,
  corpus: Corpus,
  examples: Shaped[np.ndarray, " n"],
  *,
  other_part: bool = True,
) -> Iterator[tuple[Shaped[np.ndarray, " r"], Shaped[np.ndarray, " b"], Batch]]:
  """Batches of 2 s windows, of one shape for each of the codec's buckets.

  Args:
    codec: Whose frames they are.
    corpus: What `examples` index.
    examples: `EXAMPLE_DTYPE`.
    other_part: Whether the context has the other part's frames.

  Yields:
    Examples; the same, the first repeated until they fill a batch; the batch.
  """
  buckets = BUCKETS[codec.name]
  bucket = bucket_of(
    *frame_counts(
      codec, [corpus], examples, CHUNK_STEPS, other_part=other_part
    ),
    buckets,
  )
  for index, (context_frames, target_frames) in enumerate(buckets):
    chosen = examples[bucket == index]
    size = max(4, 2048 // context_frames)
    for start in range(0, len(chosen), size):
      part = chosen[start : start + size]
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
        other_part=other_part,
      )
      yield part, padded, batch


_CACHE: dict[Any, Any] = {}


def _jitted(graph: nnx.GraphDef, rest: nnx.State, codec: Codec) -> Any:
  """One compiled function a model structure, kept between evaluations."""
  if (graph, codec) not in _CACHE:
    _CACHE[graph, codec] = jax.jit(
      lambda params, batch, delay_ms: window_nats(
        nnx.merge(graph, params, rest), codec, batch, delay_ms
      )
    )
  return _CACHE[graph, codec]
