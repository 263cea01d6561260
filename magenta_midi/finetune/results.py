"""What a fine-tuning run is given, says on the way, and gives."""

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
  """What is fine-tuned; it is not changed."""

  model: Depthformer
  codec: Codec
  # How the user knows it, and the SHA-256 of its weights.
  name: str
  sha256: str
  # Of its codec, as its config.json has it.
  codec_entry: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneProgress:
  """Where a run stands."""

  stage: Stage
  fraction: float  # of the stage, 0..1
  step: int
  minutes: float  # of training and scoring so far
  estimate_min: float | None  # of the whole run, once it is known
  nats: float | None  # training nats an event, lately
  before: float | None  # held-out nats a note of what it starts from
  held_out: float | None  # the lowest so far, of the windows scored on the way


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finetuned:
  """An adapter, and what it is worth."""

  adapter: Adapter
  # The run's own copy.
  path: Path
  before: Evaluation
  after: Evaluation
  general_before: Evaluation | None
  general_after: Evaluation | None
  # How far it has come from what it started from, on what that one plays by
  # itself; None: other music says it.
  drift: Divergence | None
  trainable_parameters: int
  total_parameters: int
  # How the base was held while factors were trained, and in how many bytes.
  quantize: Quantize
  base_bytes: int
  steps: int
  minutes: float

  @property
  def difference(self) -> Comparison:
    """After less before: below 0 is better."""
    return Comparison(self.after, self.before)
