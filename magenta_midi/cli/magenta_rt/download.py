"""Download of the published checkpoints, resumed and checked."""

import os
from pathlib import Path

import rich.progress

from magenta_midi.cli.terminal.download import fetch_file, hugging_face_url
from magenta_midi.user_folders import cache_home

__all__ = ["ARCHIVES", "cache_folder", "checkpoint_url", "fetch_checkpoint"]

REPOSITORY = "google/magenta-realtime"
# Tag -> path in the repository, and in the cache.
ARCHIVES = {
  "base": "checkpoints/llm_base_x4286_c1860k.tar",
  "large": "checkpoints/llm_large_x3047_c1860k.tar",
}


def cache_folder() -> Path:
  """Folder of the original's files too; MAGENTA_RT_CACHE_DIR sets another."""
  if base := os.environ.get("MAGENTA_RT_CACHE_DIR"):
    return Path(os.path.expanduser(base))
  return cache_home() / "magenta_rt"


def checkpoint_url(tag: str) -> str:
  """The address of a checkpoint; HF_ENDPOINT names a mirror."""
  return hugging_face_url(REPOSITORY, ARCHIVES[tag])


def fetch_checkpoint(
  tag: str, path: Path | None, bar: rich.progress.Progress
) -> Path:
  """Downloads a published checkpoint, or finds it already there.

  Args:
    tag: `base` or `large`.
    path: The file; None: in the cache.
    bar: Shows the progress.

  Returns:
    The archive. It is there under its name only when whole and checked.

  Raises:
    UserError: The server cannot be reached, or the file is damaged.
    FolderInUseError: Another process is downloading it.
  """
  path = path or cache_folder() / "assets" / ARCHIVES[tag]
  return fetch_file(
    checkpoint_url(tag),
    path,
    bar,
    name=tag,
    by_hand=(
      f"magenta-midi import-magenta-rt {path.name} --tag {tag} --out DIR"
    ),
  )
