"""Compiled functions, kept on disk between runs."""

import os
from pathlib import Path

__all__ = ["cache_folder", "enable_compilation_cache"]


def enable_compilation_cache() -> None:
  """Keeps compiled functions on disk; without a writable home, does not."""
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
  """Where compiled functions are kept; MAGENTA_MIDI_CACHE moves it."""
  if base := os.environ.get("MAGENTA_MIDI_CACHE"):
    return Path(base)
  home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  return Path(home) / "magenta_midi"
