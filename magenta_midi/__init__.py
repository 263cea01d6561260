"""A live MIDI duet with a model that has learned to play like you.

from magenta_midi import MagentaMidi, Score
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi
  from magenta_midi.generate.generator import Chunk, GenerationState
  from magenta_midi.generate.sampling import Sampling
  from magenta_midi.live.duet import Duet
  from magenta_midi.midi.score import Score

__all__ = ["Chunk", "Duet", "GenerationState", "MagentaMidi"]
__all__ += ["Sampling", "Score"]

_HOME = {
  "Chunk": "magenta_midi.generate.generator",
  "Duet": "magenta_midi.live.duet",
  "GenerationState": "magenta_midi.generate.generator",
  "MagentaMidi": "magenta_midi.api",
  "Sampling": "magenta_midi.generate.sampling",
  "Score": "magenta_midi.midi.score",
}


def __getattr__(name: str) -> Any:
  """Imports on first use: `Score` alone needs no JAX."""
  if name not in _HOME:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(_HOME[name]), name)
