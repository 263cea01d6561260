"""Sources of a run's batches."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.batches import FEW_BUCKETS, BatchStream
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import Batch
from magenta_midi.data.examples.history_noise import HistoryNoise
from magenta_midi.data.examples.outline_draws import OutlineDraws
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.run_settings import TrainConfig

__all__ = ["BatchSource", "make_source", "outline_draws"]


@runtime_checkable
class BatchSource(Protocol):
  """Source of batches; resumable to the example."""

  # Examples given out here, and how many of them had more frames than
  # positions.
  cut: int
  capped: int

  def next(self) -> Batch:
    """The next batch."""
    ...

  def state(self) -> dict[str, Any]:
    """Everything that decides the batches to come: JSON and NumPy arrays."""
    ...

  def restore(self, state: dict[str, Any]) -> None:
    """Continues where `state` was taken."""
    ...


def outline_draws(config: TrainConfig) -> OutlineDraws | None:
  """What a run tells of beats and chords; None: it has no outlines."""
  return OutlineDraws(config.outline, config.seed) if config.outline else None


def make_source(
  config: TrainConfig,
  codec: Codec,
  corpora: list[Corpus],
  shares: list[float],
  style: StyleRows | None = None,
  *,
  shard_index: int = 0,
  shard_count: int = 1,
  row_multiple: int = 1,
  buckets: tuple[tuple[int, int], ...] = (),
) -> BatchSource:
  """A run's source of batches, at its first batch.

  Args:
    config: The run's; `source` and `workers` select what cuts the batches; the
      batches are the same for all.
    codec: The run's.
    corpora: What to train on.
    shares: Share of examples from each corpus.
    style: The run's `style_rows`.
    shard_index: Which of the hosts this is.
    shard_count: How many hosts share each batch.
    row_multiple: A host's rows are filled up to a multiple of this.
    buckets: Shapes of batches; (): as `config.shapes` says.

  Raises:
    ValueError: There is no such source, or targets are longer than the codec
      reaches.
  """
  step_ms = codec.config.step_ms
  target_steps = round(config.target_s * 1000 / step_ms)
  if target_steps > codec.config.horizon_steps:
    raise ValueError(
      f"target_s must be at most {codec.config.horizon_s} s (the codec's"
      f" horizon), got {config.target_s}."
    )
  stream = BatchStream(
    codec=codec,
    corpora=corpora,
    shares=shares,
    augmentation=config.augmentation,
    frames_per_batch=config.frames_per_batch,
    target_steps=target_steps,
    context_steps=round(config.context_s * 1000 / step_ms),
    seed=config.seed,
    partners=config.partners,
    style=style,
    outlines=outline_draws(config),
    history_noise=HistoryNoise(share=config.history_noise, seed=config.seed)
    if config.history_noise
    else None,
    shard_index=shard_index,
    shard_count=shard_count,
    row_multiple=row_multiple,
    buckets=buckets
    or (FEW_BUCKETS[codec.name] if config.shapes == "few" else ()),
  )
  if config.source == "numpy":
    return stream
  from magenta_midi.train.grain_source import GrainSource

  return GrainSource(stream, workers=config.workers)
