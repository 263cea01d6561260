"""Base, progress and result of a fine-tuning run."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.finetune.forgetting import Divergence
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.adapter_file import Adapter
from magenta_midi.model.lora.quantized import Quantize
from magenta_midi.tokens.codec import Codec

__all__ = ["Base", "FinetuneProgress", "Finetuned", "Stage"]

Stage = Literal[
  "sampling",
  "scoring before",
  "training",
  "learning the style",
  "scoring after",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
  """The model that is fine-tuned; it does not change."""

  model: Depthformer
  codec: Codec
  # Name for the user, and SHA-256 of its weights.
  name: str
  sha256: str
  # Entry of its codec in config.json.
  codec_entry: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneProgress:
  """Progress of a run."""

  stage: Stage
  fraction: float  # of the stage, 0..1
  step: int
  minutes: float  # of training and scoring so far
  estimate_min: float | None  # of the whole run, once it is known
  nats: float | None  # training nats an event, lately
  before: float | None  # held-out nats a note of what it starts from
  held_out: float | None  # lowest so far, of the windows evaluated on the way


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finetuned:
  """An adapter and its figures."""

  adapter: Adapter
  # The run's own copy.
  path: Path
  before: Evaluation
  after: Evaluation
  general_before: Evaluation | None
  general_after: Evaluation | None
  # Divergence from the model before training, on what that one plays by itself;
  # None: not measured.
  drift: Divergence | None
  trainable_parameters: int
  total_parameters: int
  # Format of the base during training, and its bytes.
  quantize: Quantize
  base_bytes: int
  steps: int
  minutes: float

  @property
  def difference(self) -> Comparison:
    """After minus before: below 0 is better."""
    return Comparison(self.after, self.before)
