"""A transcriber for tests, and sound for it."""

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["RATE", "SecondsAsNotes", "write_sound"]

RATE = 8000


class SecondsAsNotes:
  """Hears a note in each second that is not silent."""

  name, rate_hz = "seconds", RATE

  def __init__(self, *, fast=False):
    self.fast = fast

  def transcribe(self, blocks, on_seconds=lambda seconds: None):
    samples = np.concatenate(list(blocks))[:, 0]
    loud = [
      second
      for second in range(len(samples) // RATE)
      if np.abs(samples[second * RATE : (second + 1) * RATE]).max() > 0.1
    ]
    on_seconds(len(samples) / RATE)
    return Score.from_arrays(
      onset_s=loud,
      duration_s=np.full(len(loud), 0.5),
      key=[60 + second % 12 for second in loud],
      velocity=np.full(len(loud), 70),
    )


def write_sound(path, seconds=3, level=0.5):
  """Writes a tone of so many seconds."""
  import soundfile

  path.parent.mkdir(parents=True, exist_ok=True)
  samples = level * np.sin(np.arange(seconds * RATE, dtype=np.float32))
  soundfile.write(path, samples, RATE)
  return path
