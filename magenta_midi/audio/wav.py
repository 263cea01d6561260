"""16-bit WAV files, written whole or not at all."""

import os
import wave

import numpy as np

from magenta_midi.midi.atomic import open_atomically
from magenta_midi.typing import Float


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
  if not np.isfinite(samples).all():
    raise ValueError(
      "samples must be finite, got NaN or infinity. "
      "Look for a division by zero where they were made."
    )
  pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
  with (
    open_atomically(path) as raw,
    wave.open(raw, "wb") as file,
  ):
    file.setnchannels(samples.shape[1])
    file.setsampwidth(2)
    file.setframerate(sample_rate)
    file.writeframes(pcm.tobytes())
