"""Note codec: one note in each frame."""

import importlib
import warnings
from typing import Any


def __getattr__(name: str) -> Any:
  """`NoteCodec` under its old name, which is deprecated."""
  if name != "NoteCodec":
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  warnings.warn(
    f"{__name__}.NoteCodec is deprecated: use magenta_midi.tokens.NoteCodec.",
    DeprecationWarning,
    stacklevel=2,
  )
  return getattr(importlib.import_module(f"{__name__}.codec"), name)
