"""Audio files of any usual kind, read in blocks: memory does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from magenta_midi.bounded_files import open_regular

__all__ = ["AUDIO_SUFFIXES", "MAX_AUDIO_S", "AudioFile", "AudioFileError"]

# Suffixes of audio files; which can be read depends on libsndfile.
AUDIO_SUFFIXES = (
  *(".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus"),
  *(".aif", ".aiff", ".aifc", ".m4a", ".aac"),
)

# A MIDI file ends there too; a damaged header easily names more.
MAX_AUDIO_S = 24 * 3600.0
_RATES_HZ = (4000, 384_000)
# Values that are in memory at once, of all channels together.
_BLOCK_VALUES = 1 << 18
# Samples of each channel that are lost where a file is damaged.
_PIECE = 4096
# libsndfile's length of a stream whose header names none.
_UNKNOWN_FRAMES = 1 << 62


class AudioFileError(ValueError):
  """A file that is no usable audio; one line names it and says why."""


class AudioFile:
  """An audio file that is open for reading; a context manager.

  Attributes:
    path: As given.
    seconds: Length by its header; 0.0: the header names none.
    damage: Once the blocks are read: what could not be read, in words; "":
      nothing.

  Raises:
    AudioFileError: The file is missing, no audio, empty or too long, or its
      sample rate is out of range.
    ModuleNotFoundError: soundfile is not installed.
  """

  def __init__(self, path: str | PathLike[str]):
    import soundfile

    self.path = Path(path)
    self.damage = ""
    try:
      # The descriptor goes to libsndfile, which closes it.
      with open_regular(self.path) as file:
        descriptor = os.dup(file.fileno())
      self._file: Any = soundfile.SoundFile(descriptor, closefd=True)
    except OSError as error:
      raise self._error((error.strerror or str(error)).lower()) from None
    except soundfile.LibsndfileError as error:
      reason = error.error_string.rstrip(".")
      raise self._error(
        f"not read as audio ({reason}). Give WAV, FLAC, Ogg, MP3 or AIFF."
      ) from None
    # soundfile seeks after each read of what can be sought in; libsndfile then
    # loses its place in an MP3.
    self._file.seekable = lambda: False
    try:
      self._check()
    except AudioFileError:
      self._file.close()
      raise

  def _check(self) -> None:
    rate, (low, high) = self._file.samplerate, _RATES_HZ
    if not low <= rate <= high:
      raise self._error(
        f"the sample rate must be {low}..{high} Hz, got {rate}."
      )
    frames = self._file.frames
    if frames == 0:
      raise self._error("holds no sound.")
    self.seconds = 0.0 if frames >= _UNKNOWN_FRAMES else frames / rate
    self._check_length(self.seconds)

  def _check_length(self, seconds: float) -> None:
    if seconds > MAX_AUDIO_S:
      raise self._error(
        f"is longer than {MAX_AUDIO_S / 3600:g} hours. Cut it into parts."
      )

  def _error(self, reason: str) -> AudioFileError:
    return AudioFileError(f"{self.path}: {reason}")

  def __enter__(self) -> AudioFile:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    del kind, error, trace
    self._file.close()

  def blocks(self, rate_hz: int) -> Iterator[np.ndarray]:
    """Reads the file once, from its start to its end.

    If the rest of a file cannot be decoded, the blocks end there, and `damage`
    is the reason.

    Args:
      rate_hz: Rate of the blocks; the audio is resampled to it, with no delay.

    Yields:
      float32 [n, c] with c = 1 or 2 as in the file, full scale 1; of more
      channels their mean, [n, 1].

    Raises:
      AudioFileError: A sample is not finite, or the audio is longer than its
        header says and too long.
      ModuleNotFoundError: soxr is needed, and is not installed.
    """
    source_hz = self._file.samplerate
    channels = self._file.channels if self._file.channels <= 2 else 1
    resampler: Any = None
    if source_hz != rate_hz:
      import soxr

      resampler = soxr.ResampleStream(
        source_hz, rate_hz, channels, dtype="float32"
      )
    try:
      for block in self._source_blocks():
        if self._file.channels > 2:
          block = block.mean(axis=1, keepdims=True)
        if resampler is not None:
          block = resampler.resample_chunk(block)
        if len(block):
          yield block
      if resampler is not None:
        nothing = np.zeros((0, channels), np.float32)
        rest = resampler.resample_chunk(nothing, last=True)
        if len(rest):
          yield rest
    finally:
      # An error's traceback would keep it to the end of the process, where
      # soxr then reports a leak.
      resampler = None

  def _source_blocks(self) -> Iterator[np.ndarray]:
    """Blocks float32 [n, c] as the file has them, finite."""
    rate, done, whole = self._file.samplerate, 0, True
    while whole:
      block, whole = self._read_block()
      if not len(block):
        break
      if not np.isfinite(block).all():
        at = done + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
        raise self._error(
          f"has a sample that is NaN or infinite, at {at / rate:.3f} s. Export"
          " it again, as 16 or 24 bits."
        )
      done += len(block)
      self._check_length(done / rate)
      yield block
    if not done:
      raise self._error("holds no sound.")
    # Half a second: lossy formats are some samples off.
    if done / rate < self.seconds - 0.5:
      self.damage = (
        f"damaged: {done / rate:.1f} s of {self.seconds:.1f} s could be read"
      )

  def _read_block(self) -> tuple[np.ndarray, bool]:
    """The next block [n, c], and whether what follows may be read."""
    import soundfile

    pieces, whole = [], True
    for _ in range(max(1, _BLOCK_VALUES // _PIECE // self._file.channels)):
      try:
        piece = self._file.read(_PIECE, dtype="float32", always_2d=True)
      except soundfile.LibsndfileError:
        whole = False
        break
      if not len(piece):
        break
      pieces.append(piece)
    if not pieces:
      return np.zeros((0, self._file.channels), np.float32), whole
    return np.concatenate(pieces), whole
