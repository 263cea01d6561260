"""Batches of like-sized examples, resumable to the example.

Examples are drawn in pools, sorted into buckets by size, leave a bucket when it
holds a batch, and are cut then. Padding is what little a bucket allows; dense
music is not left out, since what does not fill a batch waits for the next pool.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.crops import Crops, join_crops, take_crops
from magenta_midi.data.examples.examples import (
  EXAMPLE_DTYPE,
  Augmentation,
  Batch,
  pad_sides,
)
from magenta_midi.data.examples.history_noise import HistoryNoise
from magenta_midi.data.examples.outline_draws import OutlineDraws
from magenta_midi.data.examples.partners import SOLO
from magenta_midi.data.examples.pools import Pools
from magenta_midi.tokens.codec import Codec

__all__ = [
  "BUCKETS",
  "FEW_BUCKETS",
  "BatchStream",
  "Cut",
  "bucket_of",
  "filled_up",
]

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
# Fewer shapes to compile, for a quarter more padding: on accelerators compiling
# costs more.
FEW_BUCKETS = {
  name: (shapes[3], shapes[6], shapes[9]) for name, shapes in BUCKETS.items()
}


def bucket_of(
  context: np.ndarray, after: np.ndarray, buckets: tuple
) -> np.ndarray:
  """The smallest bucket that holds each example, the start included."""
  fits = [(context <= s) & (after < t) for s, t in buckets[:-1]]
  return np.select(fits, range(len(fits)), len(fits))


class Cut(NamedTuple):
  """A batch, and what is counted of it."""

  batch: Batch
  examples: int
  capped: int  # of these, more frames than positions


class _Ready(NamedTuple):
  """A batch that is planned."""

  bucket: int
  crops: Crops  # of all hosts, cut or not
  rows: Crops  # this host's rows, cut


@dataclasses.dataclass
class BatchStream:
  """An endless stream of batches; `state` and `restore` make it resumable.

  Hosts that share a run draw and plan the same batches, and each cuts its block
  of their rows, filled up with rows that predict nothing; sizes and state are
  the same on all.

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
    style: Rows of style of the batches; None: no style.
    outlines: What is given of beats and chords; None: batches without outlines.
    history_noise: Moves the notes before *now*; None: they stay.
    shard_index: Which of the hosts this is.
    shard_count: How many share the examples.
    row_multiple: A block's rows are filled up to a multiple of this.
    open_pools: Gives the pools from a number on, cut; None: cut here.
    buckets: Context frames and decoder positions of each shape, the largest
      last; (): the codec's. Fewer compile faster and pad more.
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
  outlines: OutlineDraws | None = None
  history_noise: HistoryNoise | None = None
  shard_index: int = 0
  shard_count: int = 1
  row_multiple: int = 1
  open_pools: Callable[[int], Iterator[Crops]] | None = None
  buckets: tuple[tuple[int, int], ...] = ()

  def __post_init__(self) -> None:
    """Starts at the first pool."""
    if not 0 <= self.shard_index < self.shard_count:
      raise ValueError(
        "shard_index must be in 0..shard_count - 1, got"
        f" {self.shard_index} of {self.shard_count}."
      )
    self.buckets = self.buckets or BUCKETS[self.codec.name]
    self.pools = Pools(
      codec=self.codec,
      corpora=self.corpora,
      shares=self.shares,
      augmentation=self.augmentation,
      target_steps=self.target_steps,
      context_steps=self.context_steps,
      seed=self.seed,
      partners=self.partners,
      style=self.style,
      history_noise=self.history_noise,
    )
    self._pool = 0
    self._opened: Iterator[Crops] | None = None
    none = self._again(np.zeros(0, EXAMPLE_DTYPE))
    self._waiting = [none for _ in self.buckets]
    self._ready: list[_Ready] = []
    self.cut = 0  # examples given out here
    self.capped = 0  # of these, more frames than positions

  def state(self) -> dict[str, Any]:
    """Everything that decides the batches to come."""
    parts = self._waiting + [ready.crops for ready in self._ready]
    waiting = np.concatenate([part.examples for part in parts])
    return dict(
      pool=self._pool,
      counts=[len(crops.examples) for crops in self._waiting],
      ready=[
        [ready.bucket, len(ready.crops.examples)] for ready in self._ready
      ],
      examples=np.frombuffer(waiting.tobytes(), np.uint8),
    )

  def restore(self, state: dict[str, Any]) -> None:
    """Continues where `state` was taken.

    Raises:
      ValueError: It was written by an earlier version, with fewer fields in
        its examples, or by a run on a seqio task.
    """
    if "counts" not in state:
      raise ValueError(
        f"the run's state is of the seqio task {state.get('task')}, not of"
        " folders. Give --out a new folder."
      )
    sizes = list(state["counts"]) + [size for _, size in state["ready"]]
    found = state["examples"].tobytes()
    if len(found) != sum(sizes) * EXAMPLE_DTYPE.itemsize:
      raise ValueError(
        "the run's state is of an earlier version, whose examples had no"
        " other part. Give --out a new folder and --init-from this run's"
        " checkpoint."
      )
    crops = self._again(np.frombuffer(found, EXAMPLE_DTYPE))
    ends = np.cumsum(sizes).tolist()
    parts = [
      take_crops(crops, slice(end - size, end))
      for size, end in zip(sizes, ends, strict=True)
    ]
    self._pool = state["pool"]
    self._opened = None
    self._waiting = parts[: len(self.buckets)]
    buckets = [bucket for bucket, _ in state["ready"]]
    self._ready = self._cut(buckets, parts[len(self.buckets) :])

  def _again(self, examples: np.ndarray) -> Crops:
    """Examples that were drawn before, cut if those of pools are."""
    if self.open_pools is None:
      return self.pools.planned(examples)
    return self.pools.cut(examples)

  def batch_size(self, bucket: int) -> int:
    """Examples in a batch of a bucket, of all hosts together."""
    # A decoder frame, its levels included, costs about as much as a context
    # frame and a half.
    context, target = self.buckets[bucket]
    return max(1, round(self.frames_per_batch / (context + 1.5 * target)))

  def _fill(self) -> None:
    if self._opened is None:
      self._opened = (self.open_pools or self.pools.since)(self._pool)
    crops = next(self._opened)
    _, rng = self.pools.draw(self._pool)
    self._pool += 1
    before, after = crops.sizes.T
    bucket = bucket_of(before, after, self.buckets)
    full: list[Crops] = []
    buckets: list[int] = []
    for index in range(len(self.buckets)):
      waiting = self._waiting[index]
      if crops.style is not None and len(waiting.examples):
        # Restored crops have no style yet.
        waiting = self.pools.styled(waiting)
      waiting = join_crops([waiting, take_crops(crops, bucket == index)])
      size, count = self.batch_size(index), len(waiting.examples)
      for start in range(0, count - size + 1, size):
        full.append(take_crops(waiting, slice(start, start + size)))
        buckets.append(index)
      self._waiting[index] = take_crops(
        waiting, slice(count - count % size, count)
      )
    self._ready += self._cut(buckets, full)
    order = rng.permutation(len(self._ready))
    self._ready = [self._ready[i] for i in order]

  def _rows(self, examples: int) -> int:
    """Rows of each host's block of a batch."""
    share = -(-examples // self.shard_count)
    return share + -share % self.row_multiple

  def _cut(self, buckets: list[int], batches: list[Crops]) -> list[_Ready]:
    """Cuts this host's rows of batches, those of all at once."""
    crops_here = []
    for crops in batches:
      rows = self._rows(len(crops.examples))
      first = self.shard_index * rows
      crops_here.append(take_crops(crops, slice(first, first + rows)))
    if crops_here and crops_here[0].context is None:
      joined = self.pools.cut(
        np.concatenate([one.examples for one in crops_here])
      )
      ends = np.cumsum([len(one.examples) for one in crops_here]).tolist()
      crops_here = [
        take_crops(joined, slice(end - len(one.examples), end))
        for one, end in zip(crops_here, ends, strict=True)
      ]
    return list(map(_Ready, buckets, batches, crops_here))

  def __iter__(self) -> Iterator[Batch]:
    """Yields batches for ever."""
    while True:
      yield self.next()

  def next(self) -> Batch:
    """The next batch."""
    cut = self.next_cut()
    self.cut += cut.examples
    self.capped += cut.capped
    return cut.batch

  def next_cut(self) -> Cut:
    """The next batch, not yet counted."""
    while not self._ready:
      self._fill()
    bucket, crops, crops_here = self._ready.pop()
    context_frames, target_frames = self.buckets[bucket]
    crops_here = self.pools.styled(crops_here)
    batch, capped = pad_sides(
      self.codec,
      *crops_here.sides,
      crops_here.examples["delay_ms"].astype(np.int32),
      context_frames=context_frames,
      target_frames=target_frames,
    )
    batch = batch._replace(style=crops_here.style)
    if self.outlines is not None:
      outline = self.outlines.frames(
        self.corpora, crops_here.examples, self.codec.config.step_ms
      )
      batch = batch._replace(
        outline_rows=outline.rows,
        outline_time=outline.time,
        outline_key=outline.key,
      )
    return Cut(
      filled_up(batch, self._rows(len(crops.examples))),
      len(crops_here.examples),
      int(np.count_nonzero(capped)),
    )


def filled_up(batch: Batch, rows: int) -> Batch:
  """The batch, filled up with rows that predict nothing."""
  missing = rows - len(batch.targets)
  if not missing:
    return batch
  return Batch(
    *(
      None
      if array is None
      else np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
      for array in batch
    )
  )
