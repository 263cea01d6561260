"""JAX's cache of compiled functions on disk."""

import contextlib
import functools
import logging
import os
import shutil
import time
import zlib
from pathlib import Path

from magenta_midi.user_folders import cache_home

__all__ = ["cache_folder", "enable_compilation_cache", "remove_damaged"]

_log = logging.getLogger(__name__)
_MIN_COMPILE_S = 0.3
# With less space JAX would keep halves of functions, which it never replaces.
_MIN_FREE_BYTES = 64 * 2**20
# A younger entry may still be in the writing.
_YOUNG_S = 60.0
# Its time is when the entries were last looked through.
_CHECKED = ".checked"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def enable_compilation_cache() -> None:
  """Enables JAX's cache on disk, if the home folder can be written.

  Entries that a full disk or a power cut has left half written are removed, and
  are made again; on a full disk nothing new is kept. Both are logged once.
  """
  import jax

  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  try:
    folder = cache_folder() / "jax"
    folder.mkdir(parents=True, exist_ok=True)
    keeps = _prepared(folder)
  except OSError:
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update(
    "jax_persistent_cache_min_compile_time_secs",
    _MIN_COMPILE_S if keeps else 1e9,
  )


def cache_folder() -> Path:
  """Folder of compiled functions; set by MAGENTA_MIDI_CACHE.

  Raises:
    NoHomeError: The user has no home folder.
  """
  if base := os.environ.get("MAGENTA_MIDI_CACHE"):
    return Path(base)
  return cache_home() / "magenta_midi"


@functools.cache
def _prepared(folder: Path) -> bool:
  """Mends the cache, once in a process; says whether it may grow."""
  removed = remove_damaged(folder)
  if removed:
    _log.warning(
      "%s: %d damaged of the compiled functions removed; they are made anew.",
      *(folder, removed),
    )
  if shutil.disk_usage(folder).free >= _MIN_FREE_BYTES:
    return True
  _log.warning(
    "%s: the disk is full: new compiled functions are not kept, and the next"
    " start compiles them again.",
    folder,
  )
  return False


def remove_damaged(folder: Path) -> int:
  """Removes entries of JAX's cache that are not whole.

  JAX neither writes them at once nor replaces them: it would read, warn and
  compile at every start.

  Args:
    folder: Of the cache. Entries that were there at the last call are not read
      again.

  Returns:
    How many were removed.
  """
  stamp, now_s = folder / _CHECKED, time.time()
  checked_s = stamp.stat().st_mtime if stamp.exists() else 0.0
  removed = 0
  with contextlib.suppress(OSError):
    for path in folder.glob("*-cache"):
      with contextlib.suppress(OSError):
        facts = path.stat()
        young = now_s - facts.st_mtime < _YOUNG_S
        if facts.st_size and (facts.st_mtime < checked_s or young):
          continue
        if not _is_whole(path.read_bytes()):
          path.unlink()
          removed += 1
    stamp.touch()
    os.utime(stamp, (now_s, now_s - _YOUNG_S))
  return removed


def _is_whole(data: bytes) -> bool:
  """Whether an entry can be unpacked, as JAX packs it."""
  if data.startswith(_ZSTANDARD):
    try:
      import zstandard
    except ImportError:  # then JAX cannot read it either
      return False
    try:
      return bool(zstandard.ZstdDecompressor().decompress(data))
    except zstandard.ZstdError:
      return False
  unpacking = zlib.decompressobj()
  try:
    unpacking.decompress(data)
  except zlib.error:
    return False
  return unpacking.eof
