"""Crossfade between chunks that overlap."""

import numpy as np

from magenta_midi.audio.injection.settings import FadeKind
from magenta_midi.typing import Float

__all__ = ["Crossfade", "ramp"]


def ramp(samples: int, kind: FadeKind) -> Float[np.ndarray, " n"]:
  """Gains of a sound that comes in; in reverse, of one that goes.

  `equal-gain`: sin² of 0 to π/2, both ends included; with its reverse it adds
  up to 1, right for two decodings of one frame. `equal-power`: sin of 0 to
  π/2 without its end, as Magenta RealTime's own streaming has it; the squares
  do not add up to 1 exactly, because the ends are not alike.
  """
  if kind == "equal-gain":
    gains = np.sin(np.linspace(0, np.pi / 2, samples)) ** 2
  else:
    gains = np.sin(np.linspace(0, np.pi / 2, samples, endpoint=False))
  return gains.astype(np.float32)


class Crossfade:
  """Joins chunks that begin with what the one before ended with.

  Before the first chunk there is silence, so it fades in.
  """

  def __init__(self, samples: int, channels: int, kind: FadeKind):
    """Makes one.

    Args:
      samples: Of the overlap, at least 1.
      channels: Of the sound.
      kind: See `ramp`.
    """
    self._samples = samples
    self._rise = ramp(samples, kind)[:, None]
    self._fall = np.ascontiguousarray(self._rise[::-1])
    self._tail = np.zeros((samples, channels), np.float32)

  def join(
    self, wave: Float[np.ndarray, "m c"], out: Float[np.ndarray, "n c"]
  ) -> None:
    """Writes the next samples; the end of the wave waits for the next chunk.

    Args:
      wave: float32; the overlap more than `out`, and at least two of it. Stays
        as it is.
      out: float32; is overwritten.

    Raises:
      ValueError: The lengths do not fit.
    """
    if len(wave) != len(out) + self._samples or len(out) < self._samples:
      raise ValueError(
        f"a wave of {len(out) + self._samples} samples was expected, of which"
        f" {self._samples} overlap at either end, got {len(wave)}."
      )
    out[:] = wave[: len(out)]
    head = out[: self._samples]
    head *= self._rise
    head += self._tail
    np.multiply(wave[len(out) :], self._fall, out=self._tail)

  def reset(self) -> None:
    """Silence before the next chunk."""
    self._tail[:] = 0
