"""Event codec: one token in each frame."""

import importlib
import warnings
from typing import Any


def __getattr__(name: str) -> Any:
  """`EventCodec` under its old name, which is deprecated."""
  if name != "EventCodec":
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  warnings.warn(
    f"{__name__}.EventCodec is deprecated: use magenta_midi.tokens.EventCodec.",
    DeprecationWarning,
    stacklevel=2,
  )
  return getattr(importlib.import_module(f"{__name__}.codec"), name)
