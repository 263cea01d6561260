"""JAX's cache of compiled functions on disk."""

import os
from pathlib import Path

__all__ = ["cache_folder", "enable_compilation_cache"]


def enable_compilation_cache() -> None:
  """Enables JAX's cache on disk, if the home folder can be written."""
  import jax

  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  folder = cache_folder() / "jax"
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def cache_folder() -> Path:
  """Folder of compiled functions; set by MAGENTA_MIDI_CACHE."""
  if base := os.environ.get("MAGENTA_MIDI_CACHE"):
    return Path(base)
  home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  return Path(home) / "magenta_midi"
