"""A struck piano string, as numbers: partials, hammer, damper, place.

What the offline piano (`piano`) and the live one (`voice`) have in common.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

BRIGHTNESS_STEPS = 8
RESTRIKE_S = 0.03  # the hammer stops a string that still sounds
SILENT_DB = -66.0  # a tone ends where it has decayed this far
FIRST_UNDAMPED_KEY = 90  # F#6: real pianos have no dampers from about here

_TOP_HZ = 14_000.0
_NOISE_S = 0.06
_SPREADS = (0.0, 0.25)  # left and right begin a little apart: a wide tone


class Strings(NamedTuple):
  """Damped sinusoids of unit loudness that sum to a key's tone.

  Attributes:
    omega: Radians a sample, one for each sinusoid.
    sigma: Decay a sample, in nepers.
    amplitude: complex128 [2, sinusoids], left and right, before panning.
  """

  omega: np.ndarray
  sigma: np.ndarray
  amplitude: np.ndarray


@lru_cache(maxsize=1024)
def strings(key: int, step: int, sample_rate: int) -> Strings:
  """The strings of a key after a blow; the same arrays to every caller.

  Args:
    key: MIDI key.
    step: Brightness, 1 (softest) to BRIGHTNESS_STEPS.
    sample_rate: In hertz.
  """
  rate = float(sample_rate)
  f0 = 440.0 * 2 ** ((key - 69) / 12)
  force = step / BRIGHTNESS_STEPS
  freq, level, sigma = _partials(key, f0, force, min(_TOP_HZ, 0.45 * rate))
  # Two strings a partial, half a cent off each other: the pair gives the quick
  # first and slow second decay of a piano, and a slow beat.
  cents = 2 ** (0.25 / 1200)
  turns = np.tile(0.618034 * np.arange(len(freq)), 2)  # both struck together
  freq = np.concatenate([freq / cents, freq * cents])
  level = np.concatenate([0.68 * level, 0.32 * level])
  sigma = np.concatenate([1.7 * sigma, 0.7 * sigma])
  phase = np.stack(
    [
      np.exp(2j * np.pi * (turns + spread * np.sin(5 * turns)))
      for spread in _SPREADS
    ]
  )
  return Strings(2 * np.pi * freq / rate, sigma / rate, level * phase)


def gain(key: np.ndarray | int, strength: np.ndarray | float) -> np.ndarray:
  """How loud a blow is; `strength` is the velocity as a share of 127."""
  # Long strings and the large end of the soundboard speak louder.
  lengths = 2.0 ** ((60 - np.asarray(key)) / 48)
  return np.asarray(0.4 * np.asarray(strength) ** 1.6 * lengths)


def brightness(strength: np.ndarray | float) -> np.ndarray:
  """The brightness step of a blow, 1 to BRIGHTNESS_STEPS."""
  return np.asarray(np.ceil(strength * BRIGHTNESS_STEPS), np.int64)


def pan(key: int) -> tuple[float, float]:
  """Levels left and right: bass left as the player hears it; equal power."""
  angle = np.pi / 4 + (min(max(key, 21), 108) - 64.5) / 43.5 * 0.35
  return float(np.sqrt(2) * np.cos(angle)), float(np.sqrt(2) * np.sin(angle))


def hammer_rise(step: int, sample_rate: int) -> np.ndarray:
  """The start of a tone, from 0 to 1.

  Hammers are soft: the softer the blow, the longer they touch the string.
  """
  force = step / BRIGHTNESS_STEPS
  rise = max(1, int((0.0045 - 0.003 * force) * sample_rate))
  return 0.5 - 0.5 * np.cos(np.pi * np.arange(rise, dtype=np.float32) / rise)


def release_s(key: np.ndarray | int) -> np.ndarray:
  """How long the damper takes: heavy bass strings are the slowest."""
  return np.asarray(np.interp(key, [21, 89], [0.15, 0.10]))


@lru_cache(maxsize=256)
def damper(samples: int) -> np.ndarray:
  """The level while the damper settles, from 1 to 0."""
  t = np.linspace(0, 1, samples, endpoint=False, dtype=np.float32)
  return np.exp(-4 * t) * (1 - t)


def _partials(
  key: int, f0: float, force: float, top_hz: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Frequencies (Hz), levels (unit energy) and decay rates (1/s)."""
  number = np.arange(1, 41, dtype=np.float64)
  # Stiff strings: sharper upwards, most of all short ones. Scaled so that the
  # first partial is the key's frequency exactly.
  stiffness = 1.5e-4 * 2 ** (abs(key - 45) / 12 * 0.9)
  freq = f0 * number * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
  keep = freq < top_hz
  keep[0] = True
  number, freq = number[keep], freq[keep]

  # Struck at an eighth of the string, where every eighth partial has a node.
  place = 0.15 + np.abs(np.sin(np.pi * number / 8.3))
  corner_hz = 900.0 + 6500.0 * force**1.4 + f0
  level = place * number**-1.0 * np.exp(-freq / corner_hz)
  # The soundboard hardly carries the lowest fundamentals.
  level = level / (1 + (48.0 / freq) ** 2)
  level = level / np.sqrt(np.sum(level**2))

  t60_s = 13.0 * 2 ** (-(key - 21) / 23)
  sigma = np.log(1000) / t60_s * (1 + 0.16 * (number - 1) + (freq / 6500) ** 2)
  return freq, level, sigma


@lru_cache(maxsize=1024)
def hammer_noise(key: int, step: int, sample_rate: int) -> np.ndarray:
  """The thump of felt and key bed: dull noise, gone in 60 ms [2, samples]."""
  force = step / BRIGHTNESS_STEPS
  samples = int(_NOISE_S * sample_rate)
  noise = np.random.default_rng(key).standard_normal((2, samples))
  spectrum = np.fft.rfft(noise)
  hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
  centre = 220.0 + 5.0 * key + 500.0 * force
  spectrum *= (hertz / centre) ** 2 * np.exp(-2 * hertz / centre)
  noise = np.fft.irfft(spectrum, samples)
  noise /= np.sqrt(np.mean(noise**2))
  t = np.arange(samples) / sample_rate
  shape = np.minimum(1, t / 0.002) * np.exp(-t / 0.009) * (1 - t / _NOISE_S)
  return (0.16 * force**0.5 * shape * noise).astype(np.float32)
