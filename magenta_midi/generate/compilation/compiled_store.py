"""Store of compiled functions on disk, read without tracing or lowering.

JAX's compilation cache finds a function only after tracing and lowering it. For
the functions of a duet this takes longer than reading them. So this store keeps
them a second time, under a name that contains all they depend on.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import platform
import re
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from magenta_midi.midi.atomic import write_atomically

__all__ = ["CompiledStore", "open_store", "without_persistent_cache"]

# Packages whose code is traced.
TRACED = ("generate", "model", "tokens")
FOLDER = "executables"
# Files that were not read for this time are deleted at the next write.
UNUSED_S = 30 * 24 * 3600
_log = logging.getLogger(__name__)


class CompiledStore:
  """Compiled functions by name; starts to read them all at once.

  Args:
    folder: A folder that only this program uses; may not exist yet.
    digest: Hash of all that the functions depend on.
  """

  def __init__(self, folder: Path, digest: str):
    self._folder = folder
    self._digest = digest
    self._pool = ThreadPoolExecutor(1, thread_name_prefix="compiled")
    self._reading = self._begin()
    self._pool.shutdown(wait=False)

  def _begin(self) -> dict[str, Future[Callable[..., Any] | None]]:
    with contextlib.suppress(OSError):
      # In the order of the last use.
      paths = sorted(
        self._folder.glob(f"{self._digest}-*"),
        key=lambda path: path.stat().st_mtime_ns,
      )
      return {p.name: self._pool.submit(_read, p) for p in paths}
    return {}

  def get(self, name: str) -> Callable[..., Any] | None:
    """Returns a stored function or None; waits until it is read."""
    future = self._reading.get(f"{self._digest}-{name}")
    return future.result() if future is not None else None

  def put(self, name: str, compiled: jax.stages.Compiled) -> None:
    """Stores a function; an error is only logged."""
    from jax.experimental import serialize_executable

    # Experimental in JAX: a backend may raise any error. Playing must go on.
    try:
      data = pickle.dumps(serialize_executable.serialize(compiled))
      self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
      write_atomically(self._folder / f"{self._digest}-{name}", data)
      self._prune()
    except OSError as error:
      _say_once(
        self._folder,
        f"compiled functions cannot be kept ({error.strerror}): the next start"
        " compiles them again.",
      )
    except Exception as error:
      _log.debug("%s is not kept: %s", name, error)

  def discard(self, name: str) -> None:
    """Deletes a function that does not work."""
    self._reading.pop(f"{self._digest}-{name}", None)
    _discard(self._folder / f"{self._digest}-{name}")

  def _prune(self) -> None:
    oldest = time.time() - UNUSED_S
    for path in self._folder.iterdir():
      with contextlib.suppress(OSError):
        if path.stat().st_mtime < oldest:
          path.unlink()


def _read(path: Path) -> Callable[..., Any] | None:
  from jax.experimental import serialize_executable

  # After any error the function is compiled again.
  try:
    with path.open("rb") as file:
      if not _only_user_can_write(os.fstat(file.fileno())):
        return None
      serialized, in_tree, out_tree = pickle.load(file)
    loaded = serialize_executable.deserialize_and_load(
      serialized, in_tree, out_tree, execution_devices=jax.devices()[:1]
    )
    os.utime(path)
  except Exception as error:
    _log.debug("%s is not read: %s", path, error)
    _discard(path)
    return None
  return loaded


def _discard(path: Path) -> None:
  """Deletes a damaged function, and says so once."""
  with contextlib.suppress(OSError):
    path.unlink()
  _say_once(
    path.parent, "damaged compiled functions are deleted and made anew."
  )


@functools.cache
def _say_once(folder: Path, what: str) -> None:
  _log.warning("%s: %s", folder, what)


def _only_user_can_write(facts: os.stat_result) -> bool:
  """Whether only this user can write the file, because it is code to run."""
  if not hasattr(os, "getuid"):  # Windows: folders of a user are private
    return True
  return facts.st_uid == os.getuid() and not facts.st_mode & stat.S_IWOTH


class _WithoutCache:
  """Context in which JAX does not use its cache; safe with threads."""

  def __init__(self):
    self._lock = threading.Lock()
    self._inside = 0
    self._enabled = False

  def __enter__(self) -> None:
    with self._lock:
      if not self._inside:
        self._enabled = jax.config.values["jax_enable_compilation_cache"]
        _enable_cache(False)
      self._inside += 1

  def __exit__(self, *_: object) -> None:
    with self._lock:
      self._inside -= 1
      if not self._inside:
        _enable_cache(self._enabled)


def _enable_cache(enabled: bool) -> None:
  from jax.experimental.compilation_cache import compilation_cache

  jax.config.update("jax_enable_compilation_cache", enabled)
  # JAX reads these settings only once.
  compilation_cache.reset_cache()


# A function from JAX's cache cannot be serialized again: it lacks some parts.
without_persistent_cache = _WithoutCache()


def open_store(*depends_on: object) -> CompiledStore | None:
  """Opens the store beside JAX's cache; None if there is no cache.

  Args:
    depends_on: What else the functions depend on, by `repr`. The code of this
      package, JAX's versions and settings, and the machine are included.
  """
  settings = jax.config.values
  parent = settings["jax_compilation_cache_dir"]
  if not parent or not settings["jax_enable_compilation_cache"]:
    return None
  if "://" in parent:  # shared storage
    return None
  digest = hashlib.sha256(_surroundings().encode())
  for thing in depends_on:
    # The repr of a function contains its address.
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
    digest.update(shown.encode() + b"\0")
  return CompiledStore(Path(parent) / FOLDER, digest.hexdigest()[:32])


def _surroundings() -> str:
  device = jax.devices()[0]
  settings = {
    name: str(value)
    for name, value in sorted(jax.config.values.items())
    if "cache" not in name
  }
  return repr(
    (
      [(name, version(name)) for name in ("jax", "jaxlib", "flax", "numpy")],
      platform.python_version(),
      (device.platform, device.device_kind, device.client.platform_version),
      _processor(),
      os.cpu_count(),
      os.environ.get("XLA_FLAGS", ""),
      settings,
      _sources(),
    )
  )


def _processor() -> str:
  """Features of the processor that machine code may use."""
  with contextlib.suppress(OSError):
    for line in Path("/proc/cpuinfo").read_text().splitlines():
      if line.partition(":")[0].strip() in ("flags", "Features"):
        return line
  return f"{platform.machine()} {platform.processor()}"


@functools.cache
def _sources() -> str:
  """Hash of the traced code."""
  digest = hashlib.sha256()
  package = Path(__file__).parents[2]
  for room in TRACED:
    for path in sorted((package / room).rglob("*.py")):
      digest.update(path.relative_to(package).as_posix().encode())
      digest.update(path.read_bytes())
  return digest.hexdigest()
