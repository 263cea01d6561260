"""Limiter: keeps a mix inside full scale without audible damage."""

import numpy as np

from magenta_midi.typing import Float

CEILING = 0.98  # no sample goes beyond
_KNEE = 0.75  # below this nothing is touched
_LOUDEST = 1.1  # a louder mix is turned down first, to spare the knee


def limit(samples: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
  """Turns a mix down where it is far too loud, then rounds off its peaks.

  Quiet music stays as it is, so that soft playing stays soft.

  Args:
    samples: Any level, finite.

  Returns:
    float32 with every sample within -CEILING..CEILING.
  """
  peak = float(np.max(np.abs(samples), initial=0.0))
  return round_off(samples.astype(np.float32) * turned_down(peak))


def turned_down(peak: float) -> np.float32:
  """The gain of a whole mix, at most 1, from its highest absolute sample.

  One for the whole mix, so that a loud passage does not duck its neighbours.
  """
  return np.float32(min(1.0, _LOUDEST / peak) if peak > 0 else 1.0)


def round_off(samples: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
  """Rounds off the peaks of float32 samples, in place; returns them.

  Each sample for itself, so a stream may pass in pieces of any length.
  """
  loud = np.abs(samples) > _KNEE
  if loud.any():
    over = (np.abs(samples[loud]) - _KNEE) / (CEILING - _KNEE)
    rounded = _KNEE + (CEILING - _KNEE) * np.tanh(over)
    samples[loud] = np.copysign(rounded, samples[loud])
  return samples
