"""16-bit WAV files, written whole or not at all, of any length.

Beyond 4 GB, which is 6.8 hours of CD quality, the file is RF64 (EBU Tech
3306): the same but for two sizes of 64 bits. FFmpeg, SoX, libsndfile, Audacity
and the studio programs read it.
"""

import errno
import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from magenta_midi.audio.limiter import round_off, turned_down
from magenta_midi.midi.atomic import open_atomically
from magenta_midi.typing import Float

__all__ = ["wav_header", "write_mix", "write_wav"]

_WIDTH = 2  # bytes a sample
_PIECE = 1 << 17  # samples that are in memory at once, for each channel


def wav_header(samples: int, channels: int, sample_rate: int) -> bytes:
  """What stands before the samples of a file.

  Args:
    samples: For each channel.
    channels: 1 or more.
    sample_rate: In hertz.
  """
  size = samples * channels * _WIDTH
  kind = struct.pack(
    "<4sIHHIIHH",
    *(b"fmt ", 16, 1, channels, sample_rate),
    *(sample_rate * channels * _WIDTH, channels * _WIDTH, 8 * _WIDTH),
  )
  if size + 36 < 1 << 32:
    data = struct.pack("<4sI", b"data", size)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + kind + data
  long = struct.pack("<4sIQQQI", b"ds64", 28, 72 + size, size, samples, 0)
  data = struct.pack("<4sI", b"data", 0xFFFFFFFF)
  head = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
  return head + long + kind + data


def write_wav(
  path: str | os.PathLike[str],
  samples: Float[np.ndarray, "n c"],
  sample_rate: int,
) -> None:
  """Writes samples as 16-bit PCM; beyond -1..1 they are clipped.

  Args:
    path: Replaced only once everything is written.
    samples: Full scale is 1.
    sample_rate: In hertz.

  Raises:
    ValueError: A sample is not finite.
    OSError: The file cannot be written.
  """
  _check_finite(samples)
  with open_atomically(path) as file:
    count, channels = samples.shape
    file.write(wav_header(count, channels, sample_rate))
    for start in range(0, len(samples), _PIECE):
      file.write(_pcm(samples[start : start + _PIECE]))


def write_mix(
  path: str | os.PathLike[str],
  blocks: Iterable[tuple[int, np.ndarray]],
  samples: int,
  sample_rate: int,
  *,
  sounding: int | None = None,
) -> None:
  """Writes a mix that comes in blocks as 16-bit stereo, as `limit` limits it.

  How far it is turned down is known at its end only. So the mix is first
  written as it is, then turned into PCM in the same file, from its start: that
  never overtakes what is still to be read. Memory is that of one block.

  Args:
    path: Replaced only once everything is written. Where the system can,
      silence takes no space in it.
    blocks: First sample and float32 [2, n] of each block, in order; silence
      may be left out.
    samples: Of the whole mix.
    sample_rate: In hertz.
    sounding: How many samples are not silence, for the check of the free
      space; by default all.

  Raises:
    ValueError: A sample is not finite.
    OSError: The file cannot be written, or there is too little space for it,
      which is found before the first block is asked for.
  """
  path = Path(path)
  header = wav_header(samples, 2, sample_rate)
  sounding = samples if sounding is None else sounding
  # The finished file, or the mix of 4 bytes a sample and what comes over it.
  needed = max(4 * samples, min(8 * samples, 12 * sounding))
  _check_space(path, len(header) + needed)
  # Of every piece whether there is sound in it, and not a hole in the file.
  heard = np.zeros(-(-samples // _PIECE), bool)
  peak = 0.0
  with open_atomically(path) as file:
    for first, block in blocks:
      for start in range(0, block.shape[1], _PIECE):
        part = block[:, start : start + _PIECE]
        loudest = float(np.abs(part).max())
        if loudest == 0.0:
          continue
        _check_finite(loudest)
        peak = max(peak, loudest)
        begin, end = first + start, first + start + part.shape[1]
        heard[begin // _PIECE : (end - 1) // _PIECE + 1] = True
        file.seek(len(header) + 8 * begin)
        file.write(part.T.tobytes())
    gain = turned_down(peak)
    for number in range(len(heard)):
      start = number * _PIECE
      length = min(_PIECE, samples - start)
      if heard[number]:
        mix = _read(file, len(header) + 8 * start, length)
        data = _pcm(round_off(mix * gain))
      elif heard[number // 2]:  # what stands there is of the mix
        data = bytes(4 * length)
      else:
        continue
      file.seek(len(header) + 4 * start)
      file.write(data)
    file.seek(0)
    file.write(header)
    file.truncate(len(header) + 4 * samples)


def _read(file: BinaryIO, at: int, samples: int) -> np.ndarray:
  """A piece of the mix, float32 [samples, 2]; behind its end is silence."""
  file.seek(at)
  found = np.frombuffer(file.read(8 * samples), "<f4")
  mix = np.zeros(2 * samples, np.float32)
  mix[: len(found)] = found
  return mix.reshape(-1, 2)


def _pcm(samples: np.ndarray) -> bytes:
  return np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def _check_finite(samples: np.ndarray | float) -> None:
  if not np.isfinite(samples).all():
    raise ValueError(
      "samples must be finite, got NaN or infinity. "
      "Look for a division by zero where they were made."
    )


def _check_space(path: Path, needed: int) -> None:
  free = shutil.disk_usage(path.parent).free
  if needed > free:
    raise OSError(
      errno.ENOSPC,
      f"{needed / 1e9:.2g} GB are needed, {free / 1e9:.2g} GB are free. Make"
      " room, or name another folder",
      str(path),
    )
