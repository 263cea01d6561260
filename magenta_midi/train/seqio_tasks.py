"""The old place of `magenta_midi.magenta_rt.seqio_tasks`."""

import importlib
import sys
import warnings

_NEW = "magenta_midi.magenta_rt.seqio_tasks"
warnings.warn(
  f"{__name__} is deprecated: use {_NEW}.", DeprecationWarning, stacklevel=2
)
sys.modules[__name__] = importlib.import_module(_NEW)
