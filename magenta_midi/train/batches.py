"""Batches of like-sized examples, resumable to the example.

Examples are drawn in pools, sorted into buckets by size, and leave a bucket
when it holds a batch. Padding is what little a bucket allows; dense music is
not left out, since what does not fill a batch waits for the next pool.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from magenta_midi.tokens.codec import Codec
from magenta_midi.train.corpus import Corpus
from magenta_midi.train.partners import SOLO, draw_partners
from magenta_midi.train.style_rows import StyleRows
from magenta_midi.train.windows import (
  EXAMPLE_DTYPE,
  Augmentation,
  Batch,
  cut_examples,
  draw_examples,
  frame_counts,
)

__all__ = ["BUCKETS", "BatchStream", "bucket_of"]

# (context frames, decoder positions) of each shape that is compiled, by codec.
_NOTE_BUCKETS = (
  (64, 16),
  (64, 32),
  (96, 32),
  (96, 48),
  (128, 48),
  (128, 64),
  (192, 64),
  (192, 96),
  (256, 128),
  (256, 192),
)
BUCKETS = {
  "note": _NOTE_BUCKETS,
  # A note or pedal change makes about four tokens.
  "event": tuple((4 * c, 4 * t) for c, t in _NOTE_BUCKETS),
}
POOL = 1024


def bucket_of(
  context: np.ndarray, after: np.ndarray, buckets: tuple
) -> np.ndarray:
  """The smallest bucket that holds each example, the start included."""
  fits = [(context <= s) & (after < t) for s, t in buckets[:-1]]
  return np.select(fits, range(len(fits)), len(fits))


@dataclasses.dataclass
class BatchStream:
  """An endless stream of batches; `state` and `restore` make it resumable.

  Attributes:
    codec: Gives codes and vocabulary.
    corpora: What to crop from.
    shares: Share of examples from each corpus.
    augmentation: How far examples stray.
    frames_per_batch: Work of a batch, in context frames; the number of
      examples follows from the bucket.
    target_steps: Length of targets, 10 ms steps.
    context_steps: Length of contexts, 10 ms steps.
    seed: Of all draws.
    partners: Share of each mode of `partners.MODES`.
    style: Says what batches tell of style; None: nothing.
  """

  codec: Codec
  corpora: list[Corpus]
  shares: list[float]
  augmentation: Augmentation
  frames_per_batch: int
  target_steps: int
  context_steps: int
  seed: int
  partners: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: dict(SOLO)
  )
  style: StyleRows | None = None

  def __post_init__(self) -> None:
    """Starts at the first pool."""
    self.buckets = BUCKETS[self.codec.name]
    self._pool = 0
    self._waiting = [np.zeros(0, EXAMPLE_DTYPE) for _ in self.buckets]
    self._ready: list[tuple[int, np.ndarray]] = []
    self.cut = 0  # examples given out
    self.capped = 0  # of these, more frames than positions

  def state(self) -> dict[str, Any]:
    """Everything that decides the batches to come."""
    waiting = np.concatenate(self._waiting + [e for _, e in self._ready])
    return dict(
      pool=self._pool,
      counts=[len(examples) for examples in self._waiting],
      ready=[[bucket, len(examples)] for bucket, examples in self._ready],
      examples=np.frombuffer(waiting.tobytes(), np.uint8),
    )

  def restore(self, state: dict[str, Any]) -> None:
    """Continues where `state` was taken.

    Raises:
      ValueError: An earlier version wrote it, whose examples say less.
    """
    sizes = list(state["counts"]) + [size for _, size in state["ready"]]
    found = state["examples"].tobytes()
    if len(found) != sum(sizes) * EXAMPLE_DTYPE.itemsize:
      raise ValueError(
        "the run's state is of an earlier version, whose examples knew no"
        " partner. Give --out a new folder and --init-from this run's"
        " checkpoint."
      )
    examples = np.frombuffer(found, EXAMPLE_DTYPE)
    parts = np.split(examples, np.cumsum(sizes)[:-1])
    self._pool = state["pool"]
    self._waiting = parts[: len(self.buckets)]
    self._ready = [
      (bucket, part)
      for (bucket, _), part in zip(
        state["ready"], parts[len(self.buckets) :], strict=True
      )
    ]

  def batch_size(self, bucket: int) -> int:
    """Examples in a batch of a bucket."""
    # A decoder frame, its levels included, costs about as much as a context
    # frame and a half.
    context, target = self.buckets[bucket]
    return max(1, round(self.frames_per_batch / (context + 1.5 * target)))

  def _fill(self) -> None:
    rng = np.random.default_rng((self.seed, self._pool))
    self._pool += 1
    pool = draw_examples(
      rng,
      self.corpora,
      self.shares,
      POOL,
      self.augmentation,
      self.context_steps,
    )
    # Draws of their own: solo examples do not hang on the partners.
    draw_partners(
      np.random.default_rng((self.seed, self._pool, 1)),
      self.corpora,
      pool,
      self.partners,
    )
    counts = frame_counts(self.codec, self.corpora, pool, self.target_steps)
    bucket = bucket_of(*counts, self.buckets)
    for index in range(len(self.buckets)):
      waiting = np.concatenate([self._waiting[index], pool[bucket == index]])
      size = self.batch_size(index)
      while len(waiting) >= size:
        self._ready.append((index, waiting[:size]))
        waiting = waiting[size:]
      self._waiting[index] = waiting
    order = rng.permutation(len(self._ready))
    self._ready = [self._ready[i] for i in order]

  def __iter__(self) -> Iterator[Batch]:
    """Yields batches for ever."""
    while True:
      yield self.next()

  def next(self) -> Batch:
    """The next batch."""
    while not self._ready:
      self._fill()
    bucket, examples = self._ready.pop()
    context_frames, target_frames = self.buckets[bucket]
    batch, capped = cut_examples(
      self.codec,
      self.corpora,
      examples,
      context_frames=context_frames,
      target_frames=target_frames,
      target_steps=self.target_steps,
    )
    if self.style is not None:
      batch = batch._replace(style=self.style.drawn(self.corpora, examples))
    self.cut += len(examples)
    self.capped += int(capped.sum())
    return batch
