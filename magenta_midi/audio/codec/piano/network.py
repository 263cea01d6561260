"""The network of the piano codec: frames of a spectrum in, frames out.

Everything runs at the frame rate: ConvNeXt blocks between the spectrum of a
window (in) and that of a window (out), as in Vocos. That trains many times
faster on a CPU than convolutions at the sample rate. All layers are causal; one
code path does a whole sound, a training crop and a chunk of a stream, with what
came before in a state.

The lowest bins of the decoded spectrum are resonators, as strings are: each
turns on by its frequency and decays, and gets what the frame adds. Convolutions
know no time, so that without resonators a tone that lasts would need codes that
tell its phase anew in every frame.

Source: Vocos, arXiv 2306.00814; ConvNeXt, arXiv 2201.03545.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.audio.codec.distances import mel_filters
from magenta_midi.audio.codec.piano.quantizer import ResidualQuantizer
from magenta_midi.limits import COUNT
from magenta_midi.settings import check_bounds
from magenta_midi.typing import Float, Int

__all__ = [
  "DecoderState",
  "EncoderState",
  "PianoCodecConfig",
  "PianoNetwork",
]

# Windows of this many hops: Hann windows squared then add up to a constant.
WINDOW_HOPS = 3
# Spectral values are relative to a sine of full scale.
_FLOOR = 1e-5
# Exponent of magnitudes that keep their phase.
_COMPRESSION = 0.3
# Of a predicted magnitude: its logarithm is kept within ± this.
_LOG_LIMIT = 12.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PianoCodecConfig:
  """Sizes of a piano codec."""

  # Samples a second, and samples a frame.
  sample_rate: int = 48_000
  hop: int = 640
  # Levels of the residual quantizer, and codes of each.
  levels: int = 4
  codes: int = 2048
  # Width of the space in which codes are looked up, and of what is quantized.
  code_width: int = 8
  latent_width: int = 64
  # Width of the blocks and of their MLPs, kernel of their convolutions, frames.
  width: int = 256
  mlp_width: int = 768
  kernel: int = 7
  encoder_blocks: int = 3
  decoder_blocks: int = 5
  # The encoder gets the lowest bins with their phase, and this many mel bands.
  # The decoder has a resonator for each of these bins.
  tone_bins: int = 256
  bands: int = 128

  def __post_init__(self) -> None:
    """Refuses sizes that no codec can have."""
    names = [field.name for field in dataclasses.fields(self)]
    check_bounds(self, COUNT, *names)
    if self.hop % 2:
      raise ValueError(f"hop must be even, got {self.hop}.")
    if self.tone_bins > self.bins:
      raise ValueError(
        f"tone_bins must be at most {self.bins}, got {self.tone_bins}."
      )

  @property
  def window(self) -> int:
    """Samples of a window."""
    return WINDOW_HOPS * self.hop

  @property
  def bins(self) -> int:
    """Bins of a window's spectrum."""
    return self.window // 2 + 1

  @property
  def overlap(self) -> int:
    """Samples by which a window is longer than a hop; the decoder's delay."""
    return self.window - self.hop


class EncoderState(NamedTuple):
  """What an encoder knows of the past.

  Attributes:
    samples: `[b, overlap]`, the newest.
    blocks: Input of each block's convolution, `[b, kernel - 1, width]`.
  """

  samples: jax.Array
  blocks: tuple[jax.Array, ...]


class DecoderState(NamedTuple):
  """What a decoder knows of the past.

  Attributes:
    sums: `[b, overlap]`, samples to which more windows will be added.
    tones: complex `[b, tone_bins]`, of the resonators.
    blocks: Input of each block's convolution, `[b, kernel - 1, width]`.
  """

  sums: jax.Array
  tones: jax.Array
  blocks: tuple[jax.Array, ...]


class Block(nnx.Module):
  """A causal ConvNeXt block."""

  def __init__(self, config: PianoCodecConfig, scale: float, rngs: nnx.Rngs):
    width, kernel = config.width, config.kernel
    taps = jax.random.normal(rngs.params(), (kernel, width)) / kernel**0.5
    self.taps = nnx.Param(taps)
    self.norm = nnx.LayerNorm(width, rngs=rngs)
    self.rise = nnx.Linear(width, config.mlp_width, rngs=rngs)
    self.fall = nnx.Linear(config.mlp_width, width, rngs=rngs)
    self.scale = nnx.Param(jnp.full((width,), scale))

  def __call__(
    self, x: Float[jax.Array, "b t d"], past: Float[jax.Array, "b p d"]
  ) -> tuple[Float[jax.Array, "b t d"], Float[jax.Array, "b p d"]]:
    """Gives what goes on, and the past of the next frames."""
    # [kernel, 1, 1, d], as shapes are not promoted.
    taps = self.taps[...][:, None, None]
    whole = jnp.concatenate([past, x], axis=1)
    length = x.shape[1]
    # As a sum of shifts: XLA's depthwise convolution is slow on a CPU.
    y = sum(whole[:, i : i + length] * taps[i] for i in range(len(taps)))
    y = self.fall(jax.nn.gelu(self.rise(self.norm(y))))
    return x + self.scale[...][None, None] * y, whole[:, length:]


class Encoder(nnx.Module):
  """Samples to what is quantized."""

  def __init__(self, config: PianoCodecConfig, rngs: nnx.Rngs):
    self.config = config
    inputs = 2 * config.tone_bins + config.bands
    self.enter = nnx.Linear(inputs, config.width, rngs=rngs)
    self.enter_norm = nnx.LayerNorm(config.width, rngs=rngs)
    count = config.encoder_blocks
    self.blocks = nnx.List(Block(config, 1 / count, rngs) for _ in range(count))
    self.norm = nnx.LayerNorm(config.width, rngs=rngs)
    self.leave = nnx.Linear(config.width, config.latent_width, rngs=rngs)

  def __call__(
    self, samples: Float[jax.Array, "b n"], state: EncoderState
  ) -> tuple[Float[jax.Array, "b t d"], EncoderState]:
    """Encodes whole frames."""
    config = self.config
    whole = jnp.concatenate([state.samples, samples], axis=1)
    x = self.enter_norm(self.enter(self._features(whole)))
    pasts = []
    for block, past in zip(self.blocks, state.blocks, strict=True):
      x, past = block(x, past)
      pasts.append(past)
    newest = whole[:, whole.shape[1] - config.overlap :]
    return self.leave(self.norm(x)), EncoderState(newest, tuple(pasts))

  def _features(
    self, whole: Float[jax.Array, "b n"]
  ) -> Float[jax.Array, "b t d"]:
    """Of each window the lowest bins with their phase, and mel bands."""
    config = self.config
    hops = whole.reshape(len(whole), -1, config.hop)
    count = hops.shape[1] - WINDOW_HOPS + 1
    windows = jnp.concatenate(
      [hops[:, i : i + count] for i in range(WINDOW_HOPS)], axis=-1
    )
    spectrum = jnp.fft.rfft(windows * _analysis(config))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    low = power[..., : config.tone_bins] + _FLOOR**2
    pressed = spectrum[..., : config.tone_bins] * low ** (
      (_COMPRESSION - 1) / 2
    )
    filters = mel_filters(config.bins, config.bands, config.sample_rate)
    bands = jnp.log10(power @ jnp.asarray(filters) + _FLOOR**2)
    return jnp.concatenate(
      [4 * pressed.real, 4 * pressed.imag, 0.5 * bands + 3], axis=-1
    )


class Decoder(nnx.Module):
  """What was quantized to samples."""

  def __init__(self, config: PianoCodecConfig, rngs: nnx.Rngs):
    self.config = config
    self.enter = nnx.Linear(config.latent_width, config.width, rngs=rngs)
    self.enter_norm = nnx.LayerNorm(config.width, rngs=rngs)
    count = config.decoder_blocks
    self.blocks = nnx.List(Block(config, 1 / count, rngs) for _ in range(count))
    self.norm = nnx.LayerNorm(config.width, rngs=rngs)
    tones = config.tone_bins
    self.head = nnx.Linear(config.width, 3 * config.bins, rngs=rngs)
    # Begins with a quiet sound that falls towards high frequencies.
    quiet = jnp.zeros((3, config.bins))
    quiet = quiet.at[0].set(-5.0 - 4.0 * jnp.linspace(0, 1, config.bins))
    self.head.bias = nnx.Param(quiet.reshape(-1))
    self.poles = nnx.Linear(config.width, 2 * tones, rngs=rngs)
    # Begins with tones at the middle of each bin that fade by 3 dB a frame.
    kernel = self.poles.kernel[...]
    self.poles.kernel = nnx.Param(0.1 * kernel)
    bias = jnp.concatenate([jnp.ones(tones), jnp.zeros(tones)])
    self.poles.bias = nnx.Param(bias)

  def __call__(
    self, latents: Float[jax.Array, "b t d"], state: DecoderState
  ) -> tuple[Float[jax.Array, "b n"], DecoderState]:
    """Decodes frames; the samples are `overlap` late."""
    config = self.config
    x = self.enter_norm(self.enter(latents))
    pasts = []
    for block, past in zip(self.blocks, state.blocks, strict=True):
      x, past = block(x, past)
      pasts.append(past)
    x = self.norm(x)
    level, real, imag = jnp.split(self.head(x), 3, axis=-1)
    # The direction keeps a length below 1 where the phase is not known.
    length = jnp.sqrt(jnp.square(real) + jnp.square(imag) + 0.01)
    size = jnp.exp(jnp.clip(level, -_LOG_LIMIT, _LOG_LIMIT)) / length
    added = jax.lax.complex(size * real, size * imag)
    tones = config.tone_bins
    low = self._resonated(x, added[..., :tones], state.tones)
    spectrum = jnp.concatenate([low, added[..., tones:]], axis=-1)
    windows = jnp.fft.irfft(spectrum, config.window) * _synthesis(config)
    batch, frames = windows.shape[:2]
    parts = windows.reshape(batch, frames, WINDOW_HOPS, config.hop)
    total = jnp.concatenate(
      [
        state.sums.reshape(batch, WINDOW_HOPS - 1, config.hop),
        jnp.zeros((batch, frames, config.hop)),
      ],
      axis=1,
    )
    for part in range(WINDOW_HOPS):
      rest = WINDOW_HOPS - 1 - part
      total += jnp.pad(parts[:, :, part], ((0, 0), (part, rest), (0, 0)))
    samples = total[:, :frames].reshape(batch, -1)
    sums = total[:, frames:].reshape(batch, -1)
    return samples, DecoderState(sums, low[:, -1], tuple(pasts))

  def _resonated(
    self,
    x: Float[jax.Array, "b t d"],
    added: jax.Array,
    tones: jax.Array,
  ) -> jax.Array:
    """What resonators make of what is added to them, complex `[b, t, bins]`."""
    real, imag = jnp.split(self.poles(x), 2, axis=-1)
    # Shorter than 1: every tone decays.
    shrink = jax.lax.rsqrt(1 + jnp.square(real) + jnp.square(imag))
    # From window to window, the middle of a bin turns by this.
    turn = 2j * np.pi * np.arange(tones.shape[1]) / WINDOW_HOPS
    turn = jnp.asarray(np.exp(turn)[None, None], jnp.complex64)
    poles = jax.lax.complex(shrink * real, shrink * imag) * turn

    # What was before is as if it were added to the first frame.
    added = added.at[:, 0].add(poles[:, 0] * tones)

    def joined(
      earlier: tuple[jax.Array, jax.Array], later: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
      pole, sound = later
      return earlier[0] * pole, earlier[1] * pole + sound

    return jax.lax.associative_scan(joined, (poles, added), axis=1)[1]


class PianoNetwork(nnx.Module):
  """Encoder, quantizer and decoder."""

  def __init__(self, config: PianoCodecConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.encoder = Encoder(config, rngs)
    self.quantizer = ResidualQuantizer(
      levels=config.levels,
      codes=config.codes,
      code_width=config.code_width,
      width=config.latent_width,
      rngs=rngs,
    )
    self.decoder = Decoder(config, rngs)

  def encoder_state(self, batch: int = 1) -> EncoderState:
    """After silence."""
    config = self.config
    return EncoderState(
      jnp.zeros((batch, config.overlap)),
      _pasts(config, config.encoder_blocks, batch),
    )

  def decoder_state(self, batch: int = 1) -> DecoderState:
    """Before the first frame."""
    config = self.config
    return DecoderState(
      jnp.zeros((batch, config.overlap)),
      jnp.zeros((batch, config.tone_bins), jnp.complex64),
      _pasts(config, config.decoder_blocks, batch),
    )

  def encode(
    self, samples: Float[jax.Array, "b n"], state: EncoderState
  ) -> tuple[Int[jax.Array, "b t l"], EncoderState]:
    """Codes of whole frames."""
    latents, state = self.encoder(samples, state)
    return self.quantizer.codes_of(latents), state

  def decode(
    self, codes: Int[jax.Array, "b t l"], state: DecoderState
  ) -> tuple[Float[jax.Array, "b n"], DecoderState]:
    """Samples of frames, `overlap` late; of fewer levels than all too."""
    return self.decoder(self.quantizer.latents_of(codes), state)


def _pasts(
  config: PianoCodecConfig, blocks: int, batch: int
) -> tuple[jax.Array, ...]:
  shape = (batch, config.kernel - 1, config.width)
  return tuple(jnp.zeros(shape) for _ in range(blocks))


def _hann(length: int) -> np.ndarray:
  return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _analysis(config: PianoCodecConfig) -> jax.Array:
  """Window `[1, 1, n]`; a sine of full scale then has a magnitude of 1."""
  window = _hann(config.window) * 4 / config.window
  return jnp.asarray(window[None, None], jnp.float32)


def _synthesis(config: PianoCodecConfig) -> jax.Array:
  """Window `[1, 1, n]` that gives back the sound of `_analysis`."""
  window = _hann(config.window) * config.window / 4
  # The mean square of a Hann window is 3/8.
  window /= WINDOW_HOPS * 3 / 8
  return jnp.asarray(window[None, None], jnp.float32)
