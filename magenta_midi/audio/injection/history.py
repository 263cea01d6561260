"""History: the newest samples of a stream, in memory that does not grow."""

import numpy as np

from magenta_midi.typing import Float

__all__ = ["History"]


class History:
  """A ring of samples. Before the first ones there is silence."""

  def __init__(self, samples: int, channels: int):
    """Makes one.

    Args:
      samples: How many are kept.
      channels: Of the sound.
    """
    self._ring = np.zeros((samples, channels), np.float32)
    self._next = 0

  def __len__(self) -> int:
    return len(self._ring)

  def push(self, samples: Float[np.ndarray, "n c"]) -> None:
    """Takes the next samples, any number."""
    size = len(self._ring)
    kept = samples[max(0, len(samples) - size) :]
    start = (self._next + len(samples) - len(kept)) % size
    first = min(len(kept), size - start)
    self._ring[start : start + first] = kept[:first]
    self._ring[: len(kept) - first] = kept[first:]
    self._next = (self._next + len(samples)) % size

  def read(self, out: Float[np.ndarray, "n c"], *, ago: int = 0) -> None:
    """Copies samples in order of time.

    Args:
      out: As many as are wanted; is overwritten.
      ago: Samples between the last one and the newest.

    Raises:
      ValueError: They reach further back than what is kept.
    """
    done = 0
    for piece in self._pieces(len(out), ago):
      out[done : done + len(piece)] = piece
      done += len(piece)

  def scale(self, samples: int, gain: float) -> None:
    """Multiplies the newest samples, in place.

    Raises:
      ValueError: So many are not kept.
    """
    for piece in self._pieces(samples, 0):
      piece *= np.float32(gain)

  def clear(self) -> None:
    """Silence from here back."""
    self._ring[:] = 0

  def _pieces(self, samples: int, ago: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views that together hold a stretch."""
    size = len(self._ring)
    if ago < 0 or samples + ago > size:
      raise ValueError(
        f"{size} samples are kept, got a stretch of {samples} that ends {ago}"
        " before the newest."
      )
    start = (self._next - ago - samples) % size
    first = min(samples, size - start)
    return (
      self._ring[start : start + first],
      self._ring[: samples - first],
    )
