"""SEANet: sound to vectors of frames, and back.

Source: Défossez et al. 2022, https://arxiv.org/abs/2210.13438, section 3.1;
Tagliasacchi et al. 2020, https://arxiv.org/abs/2009.02095
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.convolution import (
  Conv,
  State,
  TransposedConv,
  Valid,
)
from magenta_midi.typing import Float

__all__ = ["SeaNet", "make_decoder", "make_encoder"]

_EXACT = jax.lax.Precision.HIGHEST


class SeaNet(nnx.Module):
  """Layers one after the other; see `convolution` for their two functions."""

  def __init__(self, layers: list[Any]):
    self.layers = nnx.List(layers)

  def begin(
    self, x: Float[Array, "t d"], valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of a sound's start, and what the layers keep."""
    states = []
    for layer in self.layers:
      x, valid, kept = layer.begin(x, valid)
      states.append(kept)
    return x, valid, tuple(states)

  def go_on(
    self, x: Float[Array, "t d"], kept: State, valid: Valid
  ) -> tuple[Float[Array, "u e"], Valid, State]:
    """The output of what follows, and what the layers keep."""
    states = []
    for layer, before in zip(self.layers, kept, strict=True):
      x, valid, after = layer.go_on(x, before, valid)
      states.append(after)
    return x, valid, tuple(states)

  def silence(self) -> State:
    """What the layers keep if silence, of zeros, came before the sound."""
    return tuple(layer.silence() for layer in self.layers)


class Bent(nnx.Module):
  """A layer behind the network's non-linear function (ELU)."""

  def __init__(self, layer: Any):
    self.layer = layer

  def begin(self, x: Array, valid: Valid) -> tuple[Array, Valid, State]:
    """See `Conv.begin`."""
    return self.layer.begin(jax.nn.elu(x), valid)

  def go_on(
    self, x: Array, kept: State, valid: Valid
  ) -> tuple[Array, Valid, State]:
    """See `Conv.go_on`."""
    return self.layer.go_on(jax.nn.elu(x), kept, valid)

  def silence(self) -> State:
    """See `Conv.silence`."""
    return self.layer.silence()


class Residual(nnx.Module):
  """Two convolutions, added to their input."""

  def __init__(self, first: Conv, second: Conv, shortcut: Conv | None):
    self.first, self.second, self.shortcut = first, second, shortcut

  def begin(self, x: Array, valid: Valid) -> tuple[Array, Valid, State]:
    """See `Conv.begin`."""
    y, _, first = self.first.begin(jax.nn.elu(x), valid)
    y, _, second = self.second.begin(jax.nn.elu(y), valid)
    if self.shortcut is None:
      return x + y, valid, (first, second)
    x, _, third = self.shortcut.begin(x, valid)
    return x + y, valid, (first, second, third)

  def go_on(
    self, x: Array, kept: State, valid: Valid
  ) -> tuple[Array, Valid, State]:
    """See `Conv.go_on`."""
    y, _, first = self.first.go_on(jax.nn.elu(x), kept[0], valid)
    y, _, second = self.second.go_on(jax.nn.elu(y), kept[1], valid)
    if self.shortcut is None:
      return x + y, valid, (first, second)
    x, _, third = self.shortcut.go_on(x, kept[2], valid)
    return x + y, valid, (first, second, third)

  def silence(self) -> State:
    """See `Conv.silence`."""
    layers = (self.first, self.second, self.shortcut)
    return tuple(layer.silence() for layer in layers if layer is not None)


class Lstm(nnx.Module):
  """A recurrent layer; gates are input, forget, cell, output."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    make = nnx.initializers.lecun_normal()
    self.kernel = nnx.Param(make(rngs.params(), (width, 4 * width)))
    self.recurrent = nnx.Param(make(rngs.params(), (width, 4 * width)))
    self.bias = nnx.Param(jnp.zeros(4 * width))

  def __call__(
    self, x: Float[Array, "t d"], state: State
  ) -> tuple[Float[Array, "t d"], State]:
    """The output at each step, and the state behind the last one."""
    inner = jnp.dot(x, self.kernel[...], precision=_EXACT)
    inner = inner + self.bias[...][None]
    recurrent = self.recurrent[...]

    def step(state: State, gates: Array) -> tuple[State, Array]:
      h, c = state
      gates = gates + jnp.dot(h, recurrent, precision=_EXACT)
      i, f, g, o = jnp.split(gates, 4)
      c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
      h = jax.nn.sigmoid(o) * jnp.tanh(c)
      return (h, c), h

    state, y = jax.lax.scan(step, state, inner)
    return y, state


class Recurrent(nnx.Module):
  """Recurrent layers, added to their input."""

  def __init__(self, width: int, layers: int, *, rngs: nnx.Rngs):
    self.layers = nnx.List(Lstm(width, rngs=rngs) for _ in range(layers))

  def begin(self, x: Array, valid: Valid) -> tuple[Array, Valid, State]:
    """See `Conv.begin`."""
    return self.go_on(x, self.silence(), valid)

  def go_on(
    self, x: Array, kept: State, valid: Valid
  ) -> tuple[Array, Valid, State]:
    """See `Conv.go_on`."""
    y, after = x, []
    for layer, state in zip(self.layers, kept, strict=True):
      y, state = layer(y, state)
      after.append(state)
    return x + y, valid, tuple(after)

  def silence(self) -> State:
    """The state at the start."""
    width = [layer.recurrent.shape[0] for layer in self.layers]
    return tuple((jnp.zeros(d), jnp.zeros(d)) for d in width)


def make_encoder(config: EncodecConfig, rngs: nnx.Rngs) -> SeaNet:
  """The network from samples to frames, with random weights."""
  kinds = _kinds(config)
  width = config.filters
  layers: list[Any] = [
    Conv(config.channels, width, config.kernel, **kinds, rngs=rngs)
  ]
  for ratio in reversed(config.ratios):
    layers += _residuals(config, width, rngs)
    down = Conv(width, 2 * width, 2 * ratio, stride=ratio, **kinds, rngs=rngs)
    layers.append(Bent(down))
    width *= 2
  layers.append(Recurrent(width, config.lstm_layers, rngs=rngs))
  last = Conv(width, config.width, config.last_kernel, **kinds, rngs=rngs)
  return SeaNet([*layers, Bent(last)])


def make_decoder(config: EncodecConfig, rngs: nnx.Rngs) -> SeaNet:
  """The network from frames to samples, with random weights."""
  kinds = _kinds(config)
  width = config.top
  layers: list[Any] = [
    Conv(config.width, width, config.kernel, **kinds, rngs=rngs),
    Recurrent(width, config.lstm_layers, rngs=rngs),
  ]
  for ratio in config.ratios:
    up = TransposedConv(
      width,
      width // 2,
      ratio,
      causal=config.causal,
      group_norm=config.group_norm,
      rngs=rngs,
    )
    layers.append(Bent(up))
    width //= 2
    layers += _residuals(config, width, rngs)
  last = Conv(width, config.channels, config.last_kernel, **kinds, rngs=rngs)
  return SeaNet([*layers, Bent(last)])


def _kinds(config: EncodecConfig) -> dict[str, bool]:
  return dict(
    causal=config.causal,
    mirrored=config.mirrored,
    group_norm=config.group_norm,
  )


def _residuals(
  config: EncodecConfig, width: int, rngs: nnx.Rngs
) -> list[Residual]:
  kinds, inner = _kinds(config), width // config.compress
  return [
    Residual(
      Conv(
        *(width, inner, config.residual_kernel),
        dilation=config.dilation_growth**layer,
        **kinds,
        rngs=rngs,
      ),
      Conv(inner, width, 1, **kinds, rngs=rngs),
      Conv(width, width, 1, **kinds, rngs=rngs) if config.shortcut else None,
    )
    for layer in range(config.residual_layers)
  ]
