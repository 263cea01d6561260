"""Audio where music is asked for: transcribed once, then known."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from magenta_midi.audio.audio_file import AudioFile
from magenta_midi.bounded_files import open_regular
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.files import SUFFIXES, MidiFileError
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.transcribe.transcribe import (
  Transcriber,
  Transcription,
  audio_files,
  load_transcriber,
  transcribe_file,
)

__all__ = ["Listener", "unpaired_audio"]

# Most transcriptions that are kept: 50 KB each.
_MOST_KEPT = 1000
_PIECE_BYTES = 1 << 20


class Listener:
  """Transcribes audio files, and keeps what it has heard.

  The transcriber is loaded when the first file is new.

  Args:
    folder: Where transcriptions are kept, by content; None: nowhere. Errors of
      reading and writing there are ignored.
  """

  def __init__(self, folder: Path | None):
    self._folder = folder
    self._transcriber: Transcriber | None = None

  def hear(
    self,
    path: str | PathLike[str],
    on_start: Callable[[str], None] = lambda how: None,
    on_seconds: Callable[[float, float], None] = lambda done, total: None,
  ) -> Transcription:
    """The notes of an audio file.

    Args:
      path: The file.
      on_start: Receives how its notes are found, in words.
      on_seconds: Receives the seconds that are done, and how many there are;
        0: unknown.

    Raises:
      AudioFileError: The file cannot be used, or no note is heard in it.
      MissingModelError: No transcriber is installed.
      ModuleNotFoundError: A package of the extra `transcribe` is not.
    """
    path = Path(path)
    with AudioFile(path):  # a bad file is refused before anything slow
      pass
    if self._transcriber is None:
      self._transcriber = load_transcriber()
    name = self._transcriber.name
    kept = self._place(path, name)
    if kept is not None and kept.is_file():
      with contextlib.suppress(MidiFileError, OSError):
        score = read_score(kept)
        on_start(f"notes as {name} heard them before")
        return Transcription(score, "")
    on_start(f"notes as {name} hears them")
    found = transcribe_file(path, self._transcriber, on_seconds)
    data = found.score.to_bytes()
    # What is missing would not be reported the next time.
    if kept is not None and not found.damage:
      with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, data)
        _remove_oldest(kept.parent)
    # As a file has it: the same command gives the same music the next time.
    return found._replace(score=Score.from_bytes(data))

  def _place(self, path: Path, name: str) -> Path | None:
    """Where a file's transcription is kept; None: nowhere."""
    if self._folder is None:
      return None
    digest = hashlib.sha256(name.encode())
    try:
      with open_regular(path) as file:
        while piece := file.read(_PIECE_BYTES):
          digest.update(piece)
    except OSError:  # the transcriber will say it
      return None
    return self._folder / f"{digest.hexdigest()}.mid"


def _remove_oldest(folder: Path) -> None:
  kept = sorted(folder.glob("*.mid"), key=lambda path: path.stat().st_mtime)
  for path in kept[:-_MOST_KEPT]:
    path.unlink(missing_ok=True)


def unpaired_audio(folder: Path) -> list[Path]:
  """Audio files below a folder that have no MIDI file of their name beside."""
  return [
    path
    for path in audio_files(folder)
    if not any(path.with_suffix(suffix).is_file() for suffix in SUFFIXES)
  ]
