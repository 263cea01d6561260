"""Audio files to scores, with the transcriber that is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from magenta_midi.audio.audio_file import (
  AUDIO_SUFFIXES,
  AudioFile,
  AudioFileError,
)
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import MissingModelError

__all__ = [
  "Transcriber",
  "Transcription",
  "audio_files",
  "load_transcriber",
  "transcribe_file",
]


@runtime_checkable
class Transcriber(Protocol):
  """Turns audio into notes.

  Attributes:
    name: For reports and caches; another one if the notes may differ.
    rate_hz: Rate of the audio it takes.
  """

  @property
  def name(self) -> str: ...

  @property
  def rate_hz(self) -> int: ...

  def transcribe(
    self,
    blocks: Iterable[np.ndarray],
    on_seconds: Callable[[float], None] = ...,
  ) -> Score:
    """Transcribes float32 [n, c] blocks at `rate_hz`, c = 1 or 2."""
    ...


class Transcription(NamedTuple):
  """What an audio file holds.

  Attributes:
    score: Its notes, and the pedal if the transcriber hears it.
    damage: What of the file could not be read, in words; "": nothing.
  """

  score: Score
  damage: str


def load_transcriber(*, fast: bool = False) -> Transcriber:
  """Loads a transcriber.

  Args:
    fast: basic-pitch in place of Transkun, which is also taken if Transkun is
      not installed.

  Raises:
    MissingModelError: No weights are installed.
    ModuleNotFoundError: A package of the extra `transcribe` is not.
  """
  if not fast:
    from magenta_midi.transcribe.transkun.transcriber import TranskunTranscriber

    try:
      return TranskunTranscriber()
    except MissingModelError as missing:
      with contextlib.suppress(MissingModelError, ModuleNotFoundError):
        return load_transcriber(fast=True)
      raise missing from None
  from magenta_midi.transcribe.basic_pitch import BasicPitch

  return BasicPitch()


def transcribe_file(
  path: str | PathLike[str],
  transcriber: Transcriber,
  on_seconds: Callable[[float, float], None] = lambda done, total: None,
) -> Transcription:
  """Transcribes an audio file, in constant memory.

  Args:
    path: WAV, FLAC, Ogg, MP3 or AIFF.
    transcriber: From `load_transcriber`.
    on_seconds: Receives the seconds that are done, and how many there are by
      the file's header; 0: unknown.

  Raises:
    AudioFileError: The file cannot be used, or no note is heard in it.
  """
  with AudioFile(path) as file:
    score = transcriber.transcribe(
      file.blocks(transcriber.rate_hz),
      lambda done: on_seconds(done, file.seconds),
    )
    if not len(score):
      reason = f" ({file.damage})" if file.damage else ""
      raise AudioFileError(f"{path}: no notes were heard{reason}.")
    return Transcription(score, file.damage)


def audio_files(folder: Path) -> list[Path]:
  """The audio files in a folder and its subfolders, sorted."""
  return sorted(
    path
    for path in folder.rglob("*")
    if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
  )
