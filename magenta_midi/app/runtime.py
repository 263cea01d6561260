"""Settings of JAX that commands share."""

import os
from pathlib import Path

__all__ = ["cache_folder", "compilation_cache"]


def cache_folder() -> Path:
  """Where compiled functions are kept between runs."""
  base = os.environ.get("MAGENTA_MIDI_CACHE")
  if base:
    return Path(base)
  home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  return Path(home) / "magenta_midi"


def compilation_cache() -> None:
  """Keeps compiled functions on disk; without a writable home, does not."""
  import jax

  folder = cache_folder() / "jax"
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
