"""Losses of the piano codec: how far a decoded sound is from the original.

Spectra of windows from 11 to 171 ms are compared: short ones hear onsets, long
ones hear whether tones are pure. Magnitudes count by their logarithm, in mel
bands and bin by bin; phases count where the ear follows them.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.audio.codec.distances import mel_filters
from magenta_midi.typing import Float

__all__ = ["CodecLosses", "reconstruction", "rfft", "spectrum"]

# Windows in samples, and mel bands of each.
SCALES = ((512, 32), (1024, 64), (2048, 96), (4096, 160), (8192, 240))
# The window whose phases count, and up to which frequency.
PHASE_WINDOW, PHASE_HZ = 2048, 2500.0
# Magnitudes below this count as this; a sine of full scale has 1.
FLOOR = 2e-5
# Magnitudes with their phase count by this power.
COMPRESSION = 0.3


class CodecLosses(NamedTuple):
  """Parts of the loss.

  Attributes:
    mel: Mean distance of mel bands, natural logarithm of magnitudes.
    bins: The same of bins.
    phase: Mean distance of compressed complex bins.
    commitment: Of the quantizer.
  """

  mel: jax.Array
  bins: jax.Array
  phase: jax.Array
  commitment: jax.Array


@jax.custom_vjp
def rfft(x: Float[jax.Array, "*n s"]) -> jax.Array:
  """Spectrum of real rows; its gradient is a real transform too."""
  return jnp.fft.rfft(x)


def _rfft_forward(x: jax.Array) -> tuple[jax.Array, None]:
  return jnp.fft.rfft(x), None


def _rfft_backward(_: None, dy: jax.Array) -> tuple[jax.Array]:
  # All bins but the first and the last stand for two.
  bins = dy.shape[-1]
  size = 2 * (bins - 1)
  share = np.full(bins, 0.5, np.float32)
  share[[0, -1]] = 1.0
  share = share.reshape((1,) * (dy.ndim - 1) + (bins,))
  return (size * jnp.fft.irfft(jnp.conj(dy) * jnp.asarray(share), size),)


rfft.defvjp(_rfft_forward, _rfft_backward)


def spectrum(x: Float[jax.Array, "b n"], size: int) -> jax.Array:
  """Complex spectra `[b, t, bins]` of Hann windows, four to a window."""
  hop = size // 4
  hops = x[:, : x.shape[1] // hop * hop].reshape(len(x), -1, hop)
  count = hops.shape[1] - 3
  windows = jnp.concatenate([hops[:, i : i + count] for i in range(4)], axis=-1)
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
  window = jnp.asarray(hann[None, None] * 4 / size, jnp.float32)
  return rfft(windows * window)


def reconstruction(
  sound: Float[jax.Array, "b n"],
  decoded: Float[jax.Array, "b n"],
  sample_rate: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`mel`, `bins` and `phase` of `CodecLosses`."""
  mel, bins, phase = [], [], jnp.zeros(())
  for size, bands in SCALES:
    if sound.shape[1] < 2 * size:
      continue
    one, other = spectrum(sound, size), spectrum(decoded, size)
    powers = [jnp.square(s.real) + jnp.square(s.imag) for s in (one, other)]
    bins.append(_log_distance(*powers))
    filters = jnp.asarray(mel_filters(size // 2 + 1, bands, sample_rate))
    mel.append(_log_distance(*(power @ filters for power in powers)))
    if size == PHASE_WINDOW:
      last = math.ceil(PHASE_HZ * size / sample_rate)
      press = functools.partial(_pressed, last=last)
      far = press(one, powers[0]) - press(other, powers[1])
      phase = jnp.mean(
        jnp.sqrt(jnp.square(far.real) + jnp.square(far.imag) + 1e-6)
      )
  return jnp.mean(jnp.stack(mel)), jnp.mean(jnp.stack(bins)), phase


def _log_distance(one: jax.Array, other: jax.Array) -> jax.Array:
  """Mean distance of logarithms of magnitudes, from powers."""
  far = jnp.log(one + FLOOR**2) - jnp.log(other + FLOOR**2)
  return 0.5 * jnp.mean(jnp.abs(far))


def _pressed(bins: jax.Array, power: jax.Array, last: int) -> jax.Array:
  low = power[..., :last] + FLOOR**2
  return bins[..., :last] * low ** ((COMPRESSION - 1) / 2)
