"""Locks that keep a second process out of a folder or a file.

A lock is a file beside what it protects, locked by the system: a process that
crashes or is killed gives it back. What it leaves is an unlocked file of a few
bytes, which the next one takes over. On file systems without locks, as some
network drives are, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None

__all__ = ["FolderInUseError", "file_lock", "folder_lock", "lock_file"]

LOCK = ".lock"
# Far behind the end: on Windows, locked bytes cannot be read.
_PLACE = 1 << 30
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)

# Thread and descriptor by the lock files that this process holds.
_held: dict[str, tuple[int, int]] = {}
_mutex = threading.Lock()


class FolderInUseError(ValueError):
  """Another process is at work there; one line names it."""


def lock_file(fd: int) -> bool | None:
  """Locks an open file until it is closed or the process ends.

  Args:
    fd: Opened for writing.

  Returns:
    False if another process, or another descriptor, has it; None where the file
    system has no locks.
  """
  try:
    if fcntl is not None:
      fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
      import msvcrt

      at = os.lseek(fd, 0, os.SEEK_CUR)
      os.lseek(fd, _PLACE, os.SEEK_SET)
      try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
      finally:
        os.lseek(fd, at, os.SEEK_SET)
  except OSError as error:
    return False if error.errno in _TAKEN else None
  return True


@contextlib.contextmanager
def folder_lock(
  folder: str | PathLike[str], *, again: bool = False
) -> Iterator[None]:
  """Holds a folder for this thread.

  Args:
    folder: Made with those above it, and removed again if it stays empty.
    again: Whether this thread may hold it already; it goes on to.

  Raises:
    FolderInUseError: Another process, or thread, holds it.
    OSError: The folder cannot be made or written to.
  """
  folder = Path(folder)
  made = [path for path in (folder, *folder.parents) if not path.exists()]
  folder.mkdir(parents=True, exist_ok=True)
  try:
    with _locked(folder / LOCK, folder, "another folder", again):
      yield
  finally:
    with contextlib.suppress(OSError):
      for path in made:
        path.rmdir()


@contextlib.contextmanager
def file_lock(path: str | PathLike[str]) -> Iterator[None]:
  """Holds a file, which need not be there, for this thread.

  Raises:
    FolderInUseError: Another process, or thread, holds it.
    OSError: Its folder is not there or cannot be written to.
  """
  path = Path(path)
  with _locked(path.with_name(f".{path.name}{LOCK}"), path, "another file"):
    yield


@contextlib.contextmanager
def _locked(
  lock: Path, shown: Path, other: str, again: bool = False
) -> Iterator[None]:
  key, thread = os.path.realpath(lock), threading.get_ident()
  with _mutex:
    held = _held.get(key)
    if held is None:
      fd = _take(lock, shown, other)
      _held[key] = (thread, fd)
    elif held[0] != thread or not again:
      raise _in_use(shown, os.getpid(), other)
  if held is not None:
    yield
    return
  try:
    yield
  finally:
    with _mutex:
      del _held[key]
      _give_back(lock, fd)


def _take(lock: Path, shown: Path, other: str) -> int:
  """Opens and locks a lock file; gives its descriptor."""
  while True:
    try:
      fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
      raise OSError(error.errno, error.strerror, str(shown)) from None
    if lock_file(fd) is False:
      with os.fdopen(fd, "rb") as file:
        said = file.read(32).strip()
      raise _in_use(shown, int(said) if said.isdigit() else None, other)
    # Who gave it back meanwhile has removed it: then it protects nothing.
    with contextlib.suppress(OSError):
      if os.path.samestat(os.fstat(fd), os.stat(lock)):
        break
    os.close(fd)
  # A full disk takes no number; the lock holds without it.
  with contextlib.suppress(OSError):
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"%d\n" % os.getpid())
  return fd


def _give_back(lock: Path, fd: int) -> None:
  if fcntl is None:  # Windows removes no open file
    os.close(fd)
  with contextlib.suppress(OSError):
    lock.unlink()
  if fcntl is not None:
    os.close(fd)


def _in_use(shown: Path, pid: int | None, other: str) -> FolderInUseError:
  who = "another process" if pid is None else f"process {pid}"
  return FolderInUseError(
    f"{shown}: {who} is at work there. Wait for it, stop it, or give {other}."
  )


def _forget_in_child() -> None:
  """A forked child may not keep what its parent holds."""
  # Another thread of the parent may have been in the middle of it.
  global _mutex
  _mutex = threading.Lock()
  for _, fd in _held.values():
    with contextlib.suppress(OSError):
      os.close(fd)
  _held.clear()


if hasattr(os, "register_at_fork"):
  os.register_at_fork(after_in_child=_forget_in_child)
