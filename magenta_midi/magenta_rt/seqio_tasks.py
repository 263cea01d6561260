"""Corpora as seqio Tasks and Mixtures, for users of T5X.

A Task's `train` split draws the examples that a run on that corpus alone
draws, in their order, without end; `validation` and `test` cut every 2 s
once, without augmentation. A task's name says what its examples depend on, as
`magenta_midi_note_10ms_vel32_dur63_ctx10s_tgt4s_solo_pop909`:

  codec, step, its bins; seconds of context and of targets; the shares of
  modes of two players in percent; the corpus.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.data.corpus import Corpus, read_corpus
from magenta_midi.data.examples.batches import BUCKETS
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import (
  EXAMPLE_DTYPE,
  Augmentation,
  pad_sides,
)
from magenta_midi.data.examples.partners import MODES, SOLO, draw_partners
from magenta_midi.data.examples.pools import Pools
from magenta_midi.evaluation.evaluate import protocol_windows
from magenta_midi.limits import CONTEXT_S, TARGET_S
from magenta_midi.magenta_rt.feature_converter import TASK_FEATURES, all_lengths
from magenta_midi.settings import check_bounds
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Shaped

__all__ = [
  "SPLITS",
  "TaskSettings",
  "register_folder",
  "register_mixture",
  "register_task",
  "task_name",
]

# seqio's names of splits, and ours.
SPLITS = {"train": "train", "validation": "valid", "test": "test"}
# Bins of codecs, in names.
_SETTINGS = (
  ("velocity_bins", "vel"),
  ("duration_bins", "dur"),
  ("longest_shift_s", "shift"),
)
# Examples that one call of NumPy cuts.
_TOGETHER = 64
_NO_END = 2**31


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSettings:
  """Settings of a task's examples, beside its corpus."""

  codec: Codec
  context_s: float = 10.0
  target_s: float = 4.0
  augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
  # Share of each mode of `partners.MODES`.
  partners: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: dict(SOLO)
  )
  # Rows of style of the examples; None: no style.
  style: StyleRows | None = None

  def __post_init__(self) -> None:
    """Refuses lengths that no example can have."""
    check_bounds(self, CONTEXT_S, "context_s")
    check_bounds(self, TARGET_S, "target_s")

  def pools(self, corpus: Corpus, seed: int) -> Pools:
    """The pools of a run on one corpus."""
    step_ms = self.codec.config.step_ms
    return Pools(
      codec=self.codec,
      corpora=[corpus],
      shares=[1.0],
      augmentation=self.augmentation,
      target_steps=round(self.target_s * 1000 / step_ms),
      context_steps=round(self.context_s * 1000 / step_ms),
      seed=seed,
      partners=self.partners,
      style=self.style,
    )


def task_name(corpus: str, settings: TaskSettings) -> str:
  """The name under which a corpus is registered."""
  config = settings.codec.config
  parts = ["magenta_midi", settings.codec.name, f"{config.step_ms}ms"]
  for field, short in _SETTINGS:
    if hasattr(config, field):
      parts.append(f"{short}{getattr(config, field):g}")
  if getattr(config, "releases", False):
    parts.append("releases")
  parts += [f"ctx{settings.context_s:g}s", f"tgt{settings.target_s:g}s"]
  total = sum(settings.partners.values())
  for mode in MODES:
    if share := settings.partners.get(mode, 0.0):
      percent = round(100 * share / total)
      parts.append(mode if percent == 100 else f"{mode}{percent}")
  if settings.style is not None:
    parts.append(settings.style.model.name)
  parts.append(corpus)
  return re.sub(r"[^\w.]+", "_", "_".join(parts))


def register_folder(
  folder: Path, settings: TaskSettings, *, name: str | None = None
) -> str:
  """Registers a folder of MIDI files, or a prepared one; returns the name.

  Args:
    folder: Read when a split is first asked for.
    settings: Of its examples.
    name: Of the corpus; None: the folder's.
  """

  @functools.cache
  def read(split: str) -> Corpus:
    return read_corpus(folder, (split,))[0][split]

  return register_task(name or folder.name, read, settings)


def register_task(
  corpus: str, read: Callable[[str], Corpus], settings: TaskSettings
) -> str:
  """Registers a corpus; returns the task's name.

  Args:
    corpus: Its name.
    read: Gives the corpus of `train`, `valid` or `test`.
    settings: Of its examples.
  """
  import seqio
  import tensorflow as tf

  vocabulary = seqio.PassThroughVocabulary(
    size=settings.codec.vocabulary.padded_size
  )

  def feature(rank: int) -> Any:
    return seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32, rank=rank)

  features = {name: feature(rank) for name, rank in TASK_FEATURES.items()}
  if settings.style is not None:
    features["style"] = feature(1)
  name = task_name(corpus, settings)
  seqio.TaskRegistry.add(
    name,
    source=_source_class()(read, settings),
    preprocessors=[functools.partial(_cut, read=read, settings=settings)],
    output_features=features,
    # The draws are shuffled already.
    shuffle_buffer_size=None,
  )
  return name


def register_mixture(name: str, shares: Mapping[str, float]) -> str:
  """Registers a mixture of registered tasks by their shares; returns `name`.

  Raises:
    ValueError: A share is not positive.
  """
  import seqio

  for task, share in shares.items():
    if not share > 0:
      raise ValueError(f"the share of {task} must be positive, got {share}.")
  seqio.MixtureRegistry.add(name, list(shares.items()))
  return name


def _examples(
  corpus: Corpus, settings: TaskSettings, seed: int
) -> Shaped[np.ndarray, " n"]:
  """Every 2 s of a corpus; who is the partner where is drawn."""
  context_steps = settings.pools(corpus, seed).context_steps
  windows = protocol_windows(corpus, context_steps)
  rng = np.random.default_rng((seed, 1))
  draw_partners(rng, [corpus], windows, settings.partners)
  return windows


@functools.cache
def _source_class() -> Any:
  import seqio
  import tensorflow as tf

  class _Draws(seqio.DataSource):
    """Says of each example where it is cut and how; bytes of one row."""

    def __init__(self, read: Callable[[str], Corpus], settings: TaskSettings):
      super().__init__(
        splits=SPLITS, caching_permitted=False, performs_internal_shuffling=True
      )
      self._read = read
      self._settings = settings

    @property
    def supports_arbitrary_sharding(self) -> bool:
      return True

    def list_shards(self, split: str) -> Sequence[str]:
      return [split]

    def get_dataset(
      self,
      split: str = "train",
      shuffle: bool = True,
      seed: int | None = None,
      shard_info: Any = None,
      **unused: Any,
    ) -> Any:
      """The split's examples, those of one shard; drawn from a seed."""
      corpus = self._read(SPLITS[split])
      seed = 0 if seed is None else int(seed)
      if split == "train":
        pools = self._settings.pools(corpus, seed)

        def draw(index: Any) -> np.ndarray:
          return _as_bytes(pools.examples(int(index)))

        rows = tf.data.Dataset.range(_NO_END).map(
          lambda index: tf.numpy_function(draw, [index], tf.uint8)
        )
        rows = rows.map(
          lambda row: tf.ensure_shape(row, [None, EXAMPLE_DTYPE.itemsize])
        ).unbatch()
      else:
        rows = tf.data.Dataset.from_tensor_slices(
          _as_bytes(_examples(corpus, self._settings, seed))
        )
      if shard_info is not None and shard_info.num_shards > 1:
        rows = rows.shard(shard_info.num_shards, shard_info.index)
      return rows.map(lambda row: dict(example=row, split=split))

  return _Draws


def _as_bytes(examples: np.ndarray) -> np.ndarray:
  found = np.frombuffer(examples.tobytes(), np.uint8)
  return found.reshape(len(examples), EXAMPLE_DTYPE.itemsize)


def _cut(
  dataset: Any,
  sequence_length: Mapping[str, int] | None,
  *,
  read: Callable[[str], Corpus],
  settings: TaskSettings,
) -> Any:
  """A seqio preprocessor: cuts the examples that the source says."""
  import tensorflow as tf

  codec = settings.codec
  if sequence_length is None:
    context, target = BUCKETS[codec.name][-1]
    sequence_length = dict(inputs=context, targets=target)
  lengths = all_lengths(sequence_length)
  names = list(TASK_FEATURES) + (["style"] if settings.style else [])

  def cut(rows: np.ndarray, split: bytes) -> list[np.ndarray]:
    pools = settings.pools(read(SPLITS[split.decode()]), 0)
    examples = np.frombuffer(rows.tobytes(), EXAMPLE_DTYPE)
    crops = pools.styled(pools.cut(examples))
    batch, _ = pad_sides(
      codec,
      *crops.sides,
      examples["delay_ms"].astype(np.int32),
      context_frames=lengths["inputs"],
      target_frames=lengths["targets"],
    )
    before, after = crops.frame_counts()
    arrays = [
      np.minimum(before, lengths["inputs"]),
      np.minimum(after, lengths["heard"]),
      # Of all frames one more is predicted, of those cut short none.
      np.minimum(after + 1, lengths["targets"]),
      batch.context_ids,
      batch.context_time,
      batch.context_part,
      batch.input_ids[:, 1:],
      batch.input_time[:, 1:],
      batch.input_part[:, 1:],
      batch.targets,
    ]
    if crops.style is not None:
      arrays.append(crops.style)
    return [array.astype(np.int32) for array in arrays]

  def to_features(rows: Any) -> tuple[Any, ...]:
    count = 3 + len(names)
    found = tf.numpy_function(
      cut, [rows["example"], rows["split"][0]], [tf.int32] * count
    )
    for index, name in enumerate(names, 3):
      rank = TASK_FEATURES.get(name, 1)
      levels = [codec.vocabulary.levels] if rank == 2 else []
      found[index].set_shape([None, None, *levels])
    for array in found[:3]:
      array.set_shape([None])
    return tuple(found)

  def unpadded(*arrays: Any) -> dict[str, Any]:
    used: dict[str, Any] = dict(
      zip(("inputs", "heard", "targets"), arrays[:3], strict=True)
    )
    features = {}
    for name, array in zip(names, arrays[3:], strict=True):
      count = used.get(name.split("_")[0])
      features[name] = array if count is None else array[:count]
    return features

  # In order: a run that is repeated sees the same.
  return dataset.batch(_TOGETHER).map(to_features).unbatch().map(unpadded)
