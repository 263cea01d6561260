"""Segments of audio to log-mel spectra, as Transkun's network takes them."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.typing import Float

__all__ = ["FrontEnd", "learned_windows", "log_mels"]

_EPSILON = 1e-5


class FrontEnd(NamedTuple):
  """Arrays of the front end.

  Attributes:
    windows: [w, 4096] by which frames are multiplied.
    filters: [2049, 229] from powers to mels.
  """

  windows: Float[Array, "w n"]
  filters: Float[Array, "f m"]


def learned_windows(
  hann: Float[Array, " n"],
  center: Float[Array, " k"],
  width: Float[Array, " k"],
) -> Float[Array, "w n"]:
  """The Hann window and Gaussians, of which both arrays hold logits."""
  samples = len(hann)
  place = jnp.arange(samples)[None] - samples * _sigmoid(center)[:, None]
  spread = _sigmoid(width)[:, None] * samples / 2
  return jnp.concatenate([hann[None], jnp.exp(-0.5 * (place / spread) ** 2)])


def _sigmoid(x: Array) -> Array:
  return 1 / (1 + jnp.exp(-x))


def log_mels(
  samples: Float[Array, "n c"], front_end: FrontEnd, config: TranskunConfig
) -> Float[Array, "t m w"]:
  """Log-mel spectra of a segment at one loudness, for each window.

  Args:
    samples: A whole segment.
    front_end: From the weights.
    config: Sizes.
  """
  window, hop, frames = config.window, config.hop, config.frames
  behind = (frames - 1) * hop + window // 2 - samples.shape[0]
  padded = jnp.pad(samples, ((window // 2, behind), (0, 0)))
  # A frame is a whole number of hops, so frames are hops side by side.
  hops = padded.reshape(-1, hop, samples.shape[1])
  frame = jnp.concatenate(
    [hops[place : place + frames] for place in range(window // hop)], axis=1
  ).transpose(2, 0, 1)
  # All frames have the same share, though they overlap.
  frame = (frame - frame.mean()) / (frame.std(ddof=1) + 1e-8)
  mels = []
  for shape in front_end.windows:
    spectrum = jnp.fft.rfft(frame * shape[None, None], norm="ortho")
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    mels.append(power @ front_end.filters)
  floor = math.log(_EPSILON)
  return (jnp.log(jnp.stack(mels, axis=-1) + _EPSILON) - floor) / -floor
