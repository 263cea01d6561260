"""Audio files where a command asks for MIDI: transcribed, and said so."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magenta_midi.cli.terminal.output import progress_bar, remark

if TYPE_CHECKING:
  from magenta_midi.transcribe.listener import Listener
  from magenta_midi.transcribe.transcribe import Transcription

__all__ = ["hear", "is_audio"]


def is_audio(path: Path) -> bool:
  """Whether a file's name is that of an audio file."""
  from magenta_midi.audio.audio_file import AUDIO_SUFFIXES

  return path.suffix.lower() in AUDIO_SUFFIXES


def hear(path: Path, *, shows_progress: bool = True) -> "Transcription":
  """Transcribes an audio file, with a line about it; known ones are kept.

  Args:
    path: The file.
    shows_progress: Whether there may be a progress bar; not within another one
      or a spinner.

  Raises:
    ValueError: The file cannot be used, or no transcriber is installed; one
      line states what to do.
  """
  listener = _listener(_folder())

  def say(how: str) -> None:
    remark(f"{path}: {how}")

  if shows_progress:
    with progress_bar() as bar:
      task: Any = bar.add_task("transcribing", total=None, note="")

      def show(done_s: float, total_s: float) -> None:
        bar.update(task, completed=done_s, total=total_s or None)

      found = listener.hear(path, say, show)
  else:
    found = listener.hear(path, say)
  if found.damage:
    remark(f"{path}: {found.damage}")
  return found


def _folder() -> Path | None:
  """Where transcriptions are kept; None: there is no such place."""
  from magenta_midi.generate.compilation.compilation_cache import cache_folder
  from magenta_midi.user_folders import NoHomeError

  try:
    return cache_folder() / "transcribed"
  except NoHomeError:
    return None


@functools.cache
def _listener(folder: Path | None) -> "Listener":
  """One for all files of a command: its network is loaded once."""
  from magenta_midi.generate.compilation.compilation_cache import (
    enable_compilation_cache,
  )
  from magenta_midi.transcribe.listener import Listener

  enable_compilation_cache()
  return Listener(folder)
