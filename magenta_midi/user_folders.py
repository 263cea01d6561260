"""Where a user's data, settings and caches lie: the XDG base directories.

The specification has a variable that is empty or holds a relative path
ignored: otherwise a program's data would depend on the folder that it is
started in. https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["NoHomeError", "cache_home", "config_home", "data_home", "home"]


class NoHomeError(OSError):
  """The user has no home folder; one line says what to set."""


def home() -> Path:
  """The user's home folder.

  Raises:
    NoHomeError: HOME is not set, and the system does not know the user.
  """
  if sys.platform == "win32":
    return Path.home()
  named = os.environ.get("HOME", "")
  if os.path.isabs(named):
    return Path(named)
  import pwd

  try:
    return Path(pwd.getpwuid(os.getuid()).pw_dir)
  except KeyError:
    raise NoHomeError(
      "the user has no home folder. Set HOME to a folder that you may write to."
    ) from None


def data_home() -> Path:
  """Folder of what the user made: XDG_DATA_HOME, or ~/.local/share.

  Raises:
    NoHomeError: As `home`.
  """
  return _named("XDG_DATA_HOME") or home() / ".local" / "share"


def cache_home() -> Path:
  """Folder of what can be made again: XDG_CACHE_HOME, or ~/.cache.

  Raises:
    NoHomeError: As `home`.
  """
  return _named("XDG_CACHE_HOME") or home() / ".cache"


def config_home() -> Path:
  """Folder of settings, by system.

  XDG_CONFIG_HOME or ~/.config; on Windows APPDATA, on macOS
  ~/Library/Application Support.

  Raises:
    NoHomeError: As `home`.
  """
  if sys.platform == "win32":
    return _named("APPDATA") or home() / "AppData" / "Roaming"
  if sys.platform == "darwin":
    return home() / "Library" / "Application Support"
  return _named("XDG_CONFIG_HOME") or home() / ".config"


def _named(variable: str) -> Path | None:
  """The folder that a variable names; None: it is to be ignored."""
  named = os.environ.get(variable, "")
  return Path(named) if os.path.isabs(named) else None
