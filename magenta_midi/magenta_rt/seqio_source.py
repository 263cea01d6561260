"""The batches of a registered seqio task or mixture, for `train`.

A task has one shape: the codec's largest, filled up. Which examples come, and
how they are split into players and told of style, is the task's; the run's
augmentation and lengths are not asked.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.data.examples.batches import BUCKETS, filled_up
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import Batch
from magenta_midi.magenta_rt import feature_converter
from magenta_midi.magenta_rt.feature_converter import TASK_FEATURES, to_batch
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.sharding import HostRows

__all__ = ["SeqioSource", "registered_task"]

# Batches that wait for the accelerator.
AHEAD = 4


def registered_task(name: str, module: str, codec: Codec) -> Any:
  """A task or mixture, after the import of the module that registers it.

  Args:
    name: As it is registered.
    module: Found as Python finds it, or in the current folder.
    codec: What the run is trained for.

  Raises:
    ModuleNotFoundError: seqio is not installed.
    ValueError: There is no such module or task, or it gives other features.
  """
  here = str(Path.cwd())
  sys.path.append(here)
  try:
    top = module.partition(".")[0]
    # Before seqio, which takes long to import. No package is imported yet.
    if not top.isidentifier() or importlib.util.find_spec(top) is None:
      raise ModuleNotFoundError(name=module)
    import seqio

    importlib.import_module(module)
  except ModuleNotFoundError as error:
    # A missing import inside the module is another error.
    if error.name != module.partition(".")[0] and error.name != module:
      raise
    raise ValueError(
      f"there is no module {module}, here or where Python looks. Give the one"
      f" that registers {name}, as it is imported."
    ) from None
  finally:
    sys.path.remove(here)
  known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if name not in known:
    near = difflib.get_close_matches(name, known, n=1) or sorted(known)[:12]
    raise ValueError(
      f"{module} registers no seqio task or mixture {name!r}. Known:"
      f" {', '.join(near) or 'none'}."
    )
  found = seqio.get_mixture_or_task(name)
  features = found.output_features
  if missing := [n for n in TASK_FEATURES if n not in features]:
    raise ValueError(
      f"{name}: gives no {', '.join(missing)}. Register it with"
      " magenta_midi.magenta_rt.seqio_tasks, or give these features."
    )
  size = features["targets"].vocabulary.vocab_size
  if size != codec.vocabulary.padded_size:
    raise ValueError(
      f"{name}: its vocabulary has {size} ids, that of the codec"
      f" {codec.name!r} {codec.vocabulary.padded_size}. Give the codec it was"
      " registered with."
    )
  return found


class SeqioSource:
  """Batches of a task; resumable to the example, which are drawn again.

  Args:
    name: Of a task or mixture; `registered_task` has found it.
    config: The run's.
    codec: The run's.
    style: The run's `style_rows`.
    block: Which rows of each batch this host is given.
  """

  def __init__(
    self,
    name: str,
    config: TrainConfig,
    codec: Codec,
    style: StyleRows | None = None,
    block: HostRows | None = None,
  ):
    self.name = name
    self.cut = 0  # examples given out here
    self.capped = 0  # of these, more frames than positions
    self._config = config
    self._style_slots = 0 if style is None else style.slots
    self._block = HostRows() if block is None else block
    self._context, self._target = BUCKETS[codec.name][-1]
    work = self._context + 1.5 * self._target
    rows = max(1, round(config.frames_per_batch / work))
    self._rows = -(-rows // self._block.count)
    end = codec.vocabulary.to_ids(codec.end_frame()[None])
    self._end = int(end[0, 0])
    self._batches = 0
    self._opened: Iterator[Any] | None = None

  def next(self) -> Batch:
    """The next batch.

    Raises:
      ValueError: The task has a partner and the run none.
    """
    if self._opened is None:
      self._opened = self._open()
    batch = to_batch(next(self._opened))
    self._batches += 1
    if not self._config.duet and (
      batch.context_part.any() or batch.input_part.any()
    ):
      raise ValueError(
        f"{self.name}: its music has two players. Give --partners, with any"
        " shares, for a model that knows them."
      )
    self.cut += len(batch.targets)
    last = batch.weights[:, -1, 0] & (batch.targets[:, -1, 0] != self._end)
    self.capped += int(np.count_nonzero(last))
    missing = -self._rows % self._block.multiple
    return filled_up(batch, self._rows + missing)

  def state(self) -> dict[str, Any]:
    """How many batches were given out, of all hosts together."""
    return dict(task=self.name, batches=self._batches)

  def restore(self, state: dict[str, Any]) -> None:
    """Continues where `state` was taken: what came before is drawn again.

    Raises:
      ValueError: It is of another task, or of folders.
    """
    if state.get("task") != self.name:
      raise ValueError(
        f"the run's state is of {state.get('task', 'folders')}, not of the"
        f" seqio task {self.name}. Give --out a new folder."
      )
    self._batches = state["batches"]
    self._opened = None

  def _open(self) -> Iterator[Any]:
    import seqio
    import tensorflow as tf

    # The accelerator is JAX's.
    tf.config.set_visible_devices([], "GPU")
    dataset = seqio.get_dataset(
      self.name,
      dict(inputs=self._context, targets=self._target),
      feature_converter.MidiFeatureConverter(style_slots=self._style_slots),
      dataset_split="train",
      shuffle=True,
      seed=self._config.seed,
      shard_info=seqio.ShardInfo(self._block.index, self._block.count),
      batch_size=self._rows,
      verbose=False,
    )
    return iter(dataset.skip(self._batches).prefetch(AHEAD).as_numpy_iterator())
