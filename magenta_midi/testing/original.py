"""Magenta RealTime's own arrays, recorded from the original's code.

They are not part of the package: tests need the path of their folder.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from magenta_midi.magenta_rt.names import load_t5x
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer

__all__ = ["ORIGINAL_CONFIGS", "RecordedOriginal"]

_A = DepthformerConfig(
  vocab_size=256,
  levels=4,
  embed_dim=64,
  num_heads=4,
  head_dim=16,
  mlp_dim=128,
  encoder_layers=2,
  temporal_layers=2,
  depth_layers=2,
)
# A: Depthformer; B: plain T5 decoder; B2: Depthformer of one level, with the
# two depth buckets that the original needs to run it; C: A in bfloat16.
ORIGINAL_CONFIGS = {
  "A": _A,
  "B": dataclasses.replace(
    _A, levels=1, depth_layers=0, temporal_positions="sinusoid"
  ),
  "B2": dataclasses.replace(_A, levels=1, depth_buckets=2),
  "C": dataclasses.replace(_A, dtype="bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class RecordedOriginal:
  """Weights, inputs and outputs of the original by name of its config.

  Attributes:
    folder: Holds `<name>_params.npz`, `<name>_io.npz`, `<name>_meta.json`.
  """

  folder: Path

  def arrays(self, name: str) -> dict[str, np.ndarray]:
    """Flat parameters, `target.<path>`; C shares those of A."""
    weights = "A" if name == "C" else name
    return dict(np.load(self.folder / f"{weights}_params.npz"))

  def recorded(self, name: str) -> dict[str, np.ndarray]:
    """Inputs and every stage's output."""
    return dict(np.load(self.folder / f"{name}_io.npz"))

  def meta(self, name: str) -> dict[str, Any]:
    """Settings of each recorded run."""
    return json.loads((self.folder / f"{name}_meta.json").read_text("utf-8"))

  def model(self, name: str) -> Depthformer:
    """Our model with the original's weights, in evaluation mode."""
    model = Depthformer(ORIGINAL_CONFIGS[name], rngs=nnx.Rngs(0))
    load_t5x(model, self.arrays(name))
    model.eval()
    return model
