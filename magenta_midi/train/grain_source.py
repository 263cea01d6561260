"""Batches cut ahead of time with grain, by a thread and by processes.

The batches are those of a `BatchStream`, in the same order, whatever the
number of processes: they cut pools, which depend on seed and number alone;
sorting and padding stay in one thread. So a run may continue with another
number of them, or with none.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from absl import flags
from grain.experimental import ThreadPrefetchIterDataset

from magenta_midi.data.examples.batches import BatchStream, Cut
from magenta_midi.data.examples.crops import Crops
from magenta_midi.data.examples.examples import EXAMPLE_DTYPE, Batch
from magenta_midi.data.examples.framing import Side
from magenta_midi.data.examples.pools import Pools

__all__ = ["GrainSource"]

# Batches that wait for the accelerator.
AHEAD = 4
# grain wants to know how many pools there are; 2**31 are enough.
_NO_END = 2**31


class GrainSource:
  """The batches of a stream, cut ahead; resumable to the example.

  Args:
    stream: At its first batch; belongs to the source from now on.
    workers: Processes that cut pools; 0: the thread cuts them.
    ahead: Batches kept ready; 0: each is cut when it is needed.
  """

  def __init__(
    self, stream: BatchStream, *, workers: int = 0, ahead: int = AHEAD
  ):
    self.cut = 0  # examples given out
    self.capped = 0  # of these, more frames than positions
    pools = _ByProcesses(stream.pools, stream.shard_count, workers)
    if workers:
      stream = dataclasses.replace(stream, open_pools=pools.since)
    batches = ThreadPrefetchIterDataset(
      _Batches(stream), prefetch_buffer_size=ahead
    )
    self._iterator: Any = iter(batches)
    # A thread that waits, or a process, would keep the corpora in memory.
    self._finalizer = weakref.finalize(self, _close, self._iterator, pools)

  def next(self) -> Batch:
    """The next batch."""
    cut = next(self._iterator)
    self.cut += cut.examples
    self.capped += cut.capped
    return cut.batch

  def __iter__(self) -> Iterator[Batch]:
    """Yields batches for ever."""
    while True:
      yield self.next()

  def state(self) -> dict[str, Any]:
    """Everything that decides the batches to come, as a `BatchStream`'s."""
    return dict(self._iterator.get_state())

  def restore(self, state: dict[str, Any]) -> None:
    """Continues where `state` was taken, by this or by a `BatchStream`.

    Raises:
      ValueError: It was written by an earlier version, with fewer fields.
    """
    self._iterator.set_state(state)

  def close(self) -> None:
    """Ends threads and processes; nothing is given out afterwards."""
    self._finalizer()


def _close(iterator: Any, pools: _ByProcesses) -> None:
  iterator.close()
  pools.close()


class _Batches(grain.IterDataset):
  """A stream as grain's thread wants it."""

  def __init__(self, stream: BatchStream):
    super().__init__()
    self._stream = stream

  def __iter__(self) -> _BatchIterator:
    return _BatchIterator(self._stream)


class _BatchIterator(grain.DatasetIterator):
  def __init__(self, stream: BatchStream):
    super().__init__()
    self._stream = stream

  def __next__(self) -> Cut:
    return self._stream.next_cut()

  def get_state(self) -> dict[str, Any]:
    return self._stream.state()

  def set_state(self, state: dict[str, Any]) -> None:
    self._stream.restore(state)


class _ByProcesses:
  """Opens pools that other processes cut, one set of processes at a time."""

  def __init__(self, pools: Pools, shard_count: int, workers: int):
    # If hosts share a batch, each draws the style of its rows only.
    self._styled = shard_count == 1
    self._pools = pools
    self._workers = workers
    self._iterator: Any = None

  def since(self, index: int) -> Iterator[Crops]:
    self.close()
    # grain reads flags that absl's app would parse.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    numbered = grain.MapDataset.source(
      _NumberedPools(self._pools, index, self._styled)
    )
    # The processes are enough: none of them needs threads.
    one_by_one = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    self._iterator = iter(
      numbered.to_iter_dataset(one_by_one).mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._workers, per_worker_buffer_size=1
        ),
        worker_init_fn=_leave_the_accelerator,
      )
    )
    return map(_unpacked, self._iterator)

  def close(self) -> None:
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None


def _leave_the_accelerator(index: int, count: int) -> None:
  """Style models run on the CPU here; the accelerator is the parent's."""
  del index, count
  jax.config.update("jax_platforms", "cpu")


class _Packed(NamedTuple):
  """Crops on their way to another process: plain arrays only."""

  examples: np.ndarray  # bytes
  sizes: np.ndarray
  context: Side
  after: Side
  style: Any


def _unpacked(packed: _Packed) -> Crops:
  examples = np.frombuffer(packed.examples.tobytes(), EXAMPLE_DTYPE)
  return Crops(examples, *packed[1:])


class _NumberedPools:
  """A source that grain reads by number; it travels to the processes."""

  def __init__(self, pools: Pools, first: int, styled: bool):
    self._pools = pools
    self._first = first
    self._styled = styled

  def __len__(self) -> int:
    return _NO_END - self._first

  def __getitem__(self, index: Any) -> _Packed:
    crops = self._pools.crops(self._first + int(index))
    if self._styled:
      crops = self._pools.styled(crops)
    examples = np.frombuffer(crops.examples.tobytes(), np.uint8)
    return _Packed(examples, crops.sizes, *crops.sides, crops.style)
