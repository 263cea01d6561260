"""How far a decoded sound is from the original."""

import numpy as np

from magenta_midi.typing import Float

__all__ = ["log_mel_distance_db", "mel_filters", "si_sdr_db"]

# Of the log-mel distance: window and hop in samples, bands, and what counts as
# silence, relative to a sine of full scale.
_WINDOW, _HOP, _BANDS, _FLOOR_DB = 2048, 512, 128, -80.0


def log_mel_distance_db(
  sound: Float[np.ndarray, " n"],
  decoded: Float[np.ndarray, " n"],
  sample_rate: int,
) -> float:
  """Mean distance of 128 mel bands in windows of 2048 samples, dB.

  Levels below -80 dB of full scale count as -80 dB.
  """
  one, other = (_mel_db(x, sample_rate) for x in (sound, decoded))
  return float(np.abs(one - other).mean())


def si_sdr_db(
  sound: Float[np.ndarray, " n"], decoded: Float[np.ndarray, " n"]
) -> float:
  """Signal to distortion, once the decoded sound is scaled to fit best, dB.

  Source: Le Roux et al. 2019, arXiv 1811.02508
  """
  one, other = sound.astype(float), decoded.astype(float)
  target = one * (one @ other) / max(1e-20, one @ one)
  rest = other - target
  return float(10 * np.log10((target @ target + 1e-20) / (rest @ rest + 1e-20)))


def _mel_db(sound: np.ndarray, sample_rate: int) -> np.ndarray:
  padded = np.pad(sound.astype(float), (0, _WINDOW))
  windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
  window = np.hanning(_WINDOW + 1)[:-1] * 4 / _WINDOW
  power = np.square(np.abs(np.fft.rfft(windows * window)))
  mel = power @ mel_filters(_WINDOW // 2 + 1, _BANDS, sample_rate)
  return 10 * np.log10(mel + 10 ** (_FLOOR_DB / 10))


def mel_filters(bins: int, bands: int, sample_rate: int) -> np.ndarray:
  """Triangles on the mel scale, from a power spectrum to bands.

  Where bins are wider than bands, a band takes its share of the nearest two.

  Args:
    bins: Of the spectrum, from 0 Hz to half of the sample rate.
    bands: From 0 Hz to half of the sample rate.
    sample_rate: In hertz.

  Returns:
    float32 [bins, bands]; each band's weights add up to 1.
  """
  top = 2595 * np.log10(1 + sample_rate / 2 / 700)
  edges_hz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
  edges = edges_hz / (sample_rate / 2) * (bins - 1)
  low, mid, high = edges[:-2], edges[1:-1], edges[2:]
  # At least one bin to each side.
  low, high = np.minimum(low, mid - 1), np.maximum(high, mid + 1)
  at = np.arange(bins)[:, None]
  rising, falling = (at - low) / (mid - low), (high - at) / (high - mid)
  filters = np.maximum(0, np.minimum(rising, falling))
  return (filters / filters.sum(0)).astype(np.float32)
