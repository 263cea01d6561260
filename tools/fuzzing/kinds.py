"""All kinds of files that are fuzzed, by name."""

from tools.fuzzing import (
  archives,
  model_files,
  music_files,
  session_files,
  settings_files,
)
from tools.fuzzing.kind import Kind

__all__ = ["KINDS"]

KINDS: dict[str, Kind] = {
  **music_files.KINDS,
  **model_files.KINDS,
  **archives.KINDS,
  **session_files.KINDS,
  **settings_files.KINDS,
}
