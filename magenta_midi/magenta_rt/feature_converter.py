"""Conversion of the features of our seqio tasks to those of a T5X model.

Names are T5X's where they mean the same. A frame has several levels, so token
features are `[length, levels]`. The decoder's inputs and its targets are
separate features: a target is the model's next event, also where the frame
before it is the player's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from magenta_midi.data.examples.examples import Batch
from magenta_midi.tokens.vocabulary import RESERVED

if TYPE_CHECKING:
  MidiFeatureConverter: Any

__all__ = [
  "MidiFeatureConverter",
  "TASK_FEATURES",
  "all_lengths",
  "to_batch",
]

# Features of a task, and the number of axes of each.
TASK_FEATURES = {
  "inputs": 2,  # frames before now
  "inputs_time": 1,  # 10 ms steps from now
  "inputs_part": 1,  # 0 self, else the partner by delay
  "heard": 2,  # both players' frames after now, as they become known
  "heard_time": 1,
  "heard_part": 1,
  "targets": 2,  # before each of them and after the last: our next event
}
# Features of a model, and the field of a `Batch` for each.
_MODEL_FEATURES = {
  "encoder_input_tokens": "context_ids",
  "encoder_input_times": "context_time",
  "encoder_input_parts": "context_part",
  "decoder_input_tokens": "input_ids",
  "decoder_input_times": "input_time",
  "decoder_input_parts": "input_part",
  "decoder_target_tokens": "targets",
  "decoder_loss_weights": "weights",
}
_STYLE = "encoder_style_tokens"


def all_lengths(
  lengths: Mapping[str, int], style_slots: int = 0
) -> dict[str, int]:
  """The length of every feature of a task.

  Args:
    lengths: `inputs` (context frames) and `targets` (decoder positions), as
      TASK_FEATURE_LENGTHS gives them.
    style_slots: Rows of style; 0: the task has none.

  Raises:
    ValueError: One of the two is not there.
  """
  if missing := [name for name in ("inputs", "targets") if name not in lengths]:
    raise ValueError(
      "the feature lengths must name inputs (context frames) and targets"
      f" (decoder positions), got no {' and no '.join(missing)}."
    )
  context, target = lengths["inputs"], lengths["targets"]
  found = {name: context for name in TASK_FEATURES if name.startswith("inputs")}
  # The decoder's first position hears nothing yet.
  found |= {n: target - 1 for n in TASK_FEATURES if n.startswith("heard")}
  found["targets"] = target
  return found | (dict(style=style_slots) if style_slots else {})


def to_batch(features: Mapping[str, Any]) -> Batch:
  """A batch of the converter's features, as a training step takes it."""
  fields = {
    field: np.asarray(features[name]) for name, field in _MODEL_FEATURES.items()
  }
  fields["weights"] = fields["weights"].astype(bool)
  style = features.get(_STYLE)
  return Batch(**fields, style=None if style is None else np.asarray(style))


def __getattr__(name: str) -> Any:
  """The converter is made when it is asked for: seqio brings TensorFlow."""
  if name == "MidiFeatureConverter":
    return _converter_class()
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _converter_class() -> Any:
  import seqio
  import tensorflow as tf

  spec = seqio.FeatureConverter.FeatureSpec
  task_features = {
    name: spec(dtype=tf.int32, rank=rank)
    for name, rank in TASK_FEATURES.items()
  }
  model_features = {
    name: spec(dtype=tf.int32, rank=rank)
    for name, rank in zip(
      _MODEL_FEATURES, (2, 1, 1, 2, 1, 1, 2, 2), strict=True
    )
  }

  class MidiFeatureConverter(seqio.FeatureConverter):
    """Pads, and shifts what the decoder hears by one frame.

    Args:
      style_slots: Rows of style that the tasks give; 0: none.
      **options: Of `seqio.FeatureConverter`; `pack` must be False.
    """

    TASK_FEATURES = task_features
    MODEL_FEATURES = model_features
    PACKING_FEATURE_DTYPES = None

    def __init__(
      self, *, style_slots: int = 0, pack: bool = False, **options: Any
    ):
      if pack:
        raise ValueError(
          "examples of several levels cannot be packed: give pack=False."
        )
      self._style_slots = style_slots
      if style_slots:
        row = spec(dtype=tf.int32, rank=1)
        self.TASK_FEATURES = {**self.TASK_FEATURES, "style": row}
        self.MODEL_FEATURES = {**self.MODEL_FEATURES, _STYLE: row}
      super().__init__(pack=False, **options)

    def __call__(self, ds: Any, task_feature_lengths: Mapping[str, int]) -> Any:
      """Converts; lengths of inputs and targets are enough."""
      lengths = all_lengths(task_feature_lengths, self._style_slots)
      return super().__call__(ds, lengths)

    def _convert_features(
      self, ds: Any, task_feature_lengths: Mapping[str, int]
    ) -> Any:
      style = bool(self._style_slots)

      def convert(given: Mapping[str, Any]) -> dict[str, Any]:
        features = {
          f"encoder_input_{kind}": given[name]
          for kind, name in (
            ("tokens", "inputs"),
            ("times", "inputs_time"),
            ("parts", "inputs_part"),
          )
        }
        for kind, name in (
          ("tokens", "heard"),
          ("times", "heard_time"),
          ("parts", "heard_part"),
        ):
          start = tf.zeros_like(given["targets"][:1])
          start = start if kind == "tokens" else start[:, 0]
          features[f"decoder_input_{kind}"] = tf.concat(
            [start, given[name]], axis=0
          )
        targets = given["targets"]
        features["decoder_target_tokens"] = targets
        features["decoder_loss_weights"] = tf.cast(
          targets >= RESERVED, tf.int32
        )
        if style:
          features[_STYLE] = given["style"]
        return features

      ds = ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
      lengths = self.get_model_feature_lengths(task_feature_lengths)
      return self._pack_or_pad(ds, lengths)

    def get_model_feature_lengths(
      self, task_feature_lengths: Mapping[str, int]
    ) -> dict[str, int]:
      """Encoder features are as long as inputs, decoder's as targets."""
      found = {
        name: task_feature_lengths[
          "inputs" if name.startswith("encoder") else "targets"
        ]
        for name in _MODEL_FEATURES
      }
      return found | ({_STYLE: self._style_slots} if self._style_slots else {})

  return MidiFeatureConverter
