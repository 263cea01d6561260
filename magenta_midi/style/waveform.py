"""Waveform: audio as a style prompt, from arrays or files."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from magenta_midi.audio.audio_file import AUDIO_SUFFIXES
from magenta_midi.bounded_files import open_regular

__all__ = ["AUDIO_SUFFIXES", "MAX_S", "Waveform", "read_waveform"]

# Longer audio has no single style and would fill memory.
MAX_S = 600.0
_RATES_HZ = (4000, 384_000)
# Type by bytes of a sample. Only 8-bit samples are unsigned; 24-bit samples are
# unpacked.
_PCM = {1: "u1", 2: "<i2", 4: "<i4"}


@dataclass(frozen=True, eq=False)
class Waveform:
  """A sound in memory.

  Attributes:
    samples: float32 [n, c], full scale 1; any floating type is converted.
    sample_rate: Rate in Hz.

  Raises:
    ValueError: The samples have another shape or type, are empty or not finite,
      the audio is too long, or the rate is out of range.
  """

  samples: np.ndarray
  sample_rate: int

  def __post_init__(self) -> None:
    kind, shape = self.samples.dtype, self.samples.shape
    if self.samples.ndim != 2 or not np.issubdtype(kind, np.floating):
      raise ValueError(
        f"samples must be floating-point [n, c], got {kind} {list(shape)}. "
        "Divide integers by their full scale; mono is [n, 1]."
      )
    if 0 in shape:
      raise ValueError(f"a sound must have samples, got {list(shape)}.")
    _check_length(shape[0], self.sample_rate)
    if not np.isfinite(self.samples).all():
      raise ValueError("samples must be finite, got NaN or infinity.")
    object.__setattr__(self, "samples", self.samples.astype(np.float32))

  @property
  def seconds(self) -> float:
    """Length in seconds."""
    return len(self.samples) / self.sample_rate


def read_waveform(path: str | PathLike[str]) -> Waveform:
  """Reads an audio file: PCM WAV, other formats with soundfile.

  Args:
    path: Audio of at most MAX_S seconds, with any number of channels.

  Raises:
    ValueError: The file is missing, damaged, empty or too long, or its format
      is not supported; one line names it and states what to do.
  """
  path = Path(path)
  try:
    try:
      return _read_pcm(path)
    # Float WAV, FLAC, MP3 ... or damaged; RuntimeError: its chunks overlap.
    except (wave.Error, EOFError, RuntimeError):
      return _read_any(path)
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
    raise ValueError(f"{path}: {reason}") from error
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _read_pcm(path: Path) -> Waveform:
  # If `wave` opens the file, it raises other errors.
  with open_regular(path) as raw, wave.open(raw) as file:
    channels, width = file.getnchannels(), file.getsampwidth()
    if width not in (*_PCM, 3):
      raise wave.Error(f"{8 * width}-bit samples")
    _check_length(file.getnframes(), file.getframerate())
    data = file.readframes(file.getnframes())
    rate = file.getframerate()
  data = data[: len(data) - len(data) % (channels * width)]  # last one cut
  if width == 3:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    values, width = wide.view("<i4")[:, 0], 4
  else:
    values = np.frombuffer(data, _PCM[width])
  scaled = values.astype(np.float32) / 2.0 ** (8 * width - 1)
  samples = (scaled - 1 if width == 1 else scaled).reshape(-1, channels)
  return Waveform(samples, rate)


def _read_any(path: Path) -> Waveform:
  try:
    import soundfile
  except (ImportError, OSError):  # OSError: without libsndfile
    raise ValueError(
      "not PCM WAV, and other audio files need soundfile. Get it with: pip "
      "install soundfile"
    ) from None
  try:
    with soundfile.SoundFile(path) as file:
      _check_length(file.frames, file.samplerate)
      samples = file.read(dtype="float32", always_2d=True)
      return Waveform(samples, file.samplerate)
  except soundfile.LibsndfileError as error:
    kinds = "WAV, FLAC, MP3, Ogg or AIFF"
    raise ValueError(
      f"not read as audio ({error.error_string.rstrip('.')}). Give {kinds}."
    ) from error


def _check_length(samples: int, rate_hz: int) -> None:
  low, high = _RATES_HZ
  if not low <= rate_hz <= high:
    raise ValueError(
      f"the sample rate must be {low}..{high} Hz, got {rate_hz}."
    )
  if samples > MAX_S * rate_hz:
    raise ValueError(
      f"a sound must be at most {MAX_S:.0f} s long, got "
      f"{samples / rate_hz:.0f} s. Cut out what has the style."
    )
