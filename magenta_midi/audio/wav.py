"""16-bit WAV files, written whole or not at all."""

import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

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
    replacing(path) as part,
    part.open("wb") as raw,  # wave, opening it itself, trips over its errors
    wave.open(raw, "wb") as file,
  ):
    file.setnchannels(samples.shape[1])
    file.setsampwidth(2)
    file.setframerate(sample_rate)
    file.writeframes(pcm.tobytes())


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
  """Gives a name to write to, which becomes `path` if all goes well.

  The name lies in the same folder, so that the last step is one rename; after
  an error it is removed and whatever was at `path` is still there.
  """
  target = Path(path)
  part = target.with_name(f".{target.name}.{os.getpid()}.part")
  try:
    yield part
    os.replace(part, target)
  finally:
    part.unlink(missing_ok=True)
