"""EnCodec as a codec: causal networks, whole and streaming."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from magenta_midi.audio.codec.codec import (
  CodecFacts,
  checked_codes,
  checked_levels,
  checked_samples,
)
from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.network import Encodec
from magenta_midi.typing import Float, Int

__all__ = ["EncodecCodec"]

# Frames that are coded at once where so many are at hand: half a second. Above
# that, a frame costs no less.
_BLOCK_FRAMES = 40


class EncodecCodec:
  """An EnCodec network that is causal, as the 24 kHz one.

  Published networks begin with the mirror image of the first samples, so the
  first frame waits for six more, in both directions; after that nothing waits.
  With `mirrored=False` the sound begins after silence and nothing waits, but
  the first 0.1 s differ a little.

  Attributes:
    config: Sizes of the network.
    facts: See `CodecFacts`.
  """

  def __init__(self, config: EncodecConfig, network: Encodec):
    """Takes a network; nothing is compiled yet.

    Args:
      config: The sizes that the network was made of.
      network: With its weights.

    Raises:
      ValueError: The network is not causal.
    """
    if not config.causal:
      raise ValueError(
        "this EnCodec is not causal: it codes windows of"
        f" {config.window / config.sample_rate:g} s. Use EncodecWindows."
      )
    waits = (config.start_frames - 1) * config.hop
    self.config = config
    self.facts = CodecFacts(
      name=f"EnCodec {config.sample_rate / 1000:g} kHz",
      sample_rate=config.sample_rate,
      channels=config.channels,
      hop=config.hop,
      levels=config.levels,
      codebook_size=config.codebook_size,
      encode_latency_samples=waits,
      decode_latency_samples=waits,
    )
    self._graph, self._weights = nnx.split(network)
    self._warm: set[str] = set()

  def encode(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """See `AudioCodec.encode`."""
    samples = checked_samples(self.facts, samples)
    stream = _Encoder(self)
    return np.concatenate([stream.push(samples), stream.flush()])

  def decode(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """See `AudioCodec.decode`."""
    codes = checked_codes(self.facts, codes)
    stream = _Decoder(self, codes.shape[1])
    return np.concatenate([stream.push(codes), stream.flush()])

  def encoder(self) -> _Encoder:
    """See `AudioCodec.encoder`."""
    stream = _Encoder(self)
    self._warm_up("encode", stream)
    return stream

  def decoder(self, levels: int | None = None) -> _Decoder:
    """See `AudioCodec.decoder`."""
    stream = _Decoder(self, checked_levels(self.facts, levels))
    self._warm_up("decode", stream)
    return stream

  def _warm_up(self, what: str, stream: _Encoder | _Decoder) -> None:
    """Compiles every function that the stream may call, once."""
    if what not in self._warm:
      stream.warm_up()
      self._warm.add(what)

  # What streams call. `count` is the number of real samples or frames.

  def _start(self, what: str, block: np.ndarray, count: int) -> tuple[Any, Any]:
    return _start(self._graph, what, self._weights, block, np.int32(count))

  def _silence(self, what: str) -> Any:
    return _silence(self._graph, what, self._weights)

  def _next(self, what: str, block: np.ndarray, kept: Any) -> tuple[Any, Any]:
    return _next(self._graph, what, self._weights, block, kept)

  def _last(
    self, what: str, block: np.ndarray, count: int, kept: Any
  ) -> tuple[Any, Any]:
    return _last(self._graph, what, self._weights, block, kept, np.int32(count))


class _Stream:
  """What both directions share: blocks of fixed shapes of what comes in."""

  what: str
  # Rows of input and of output that are one frame.
  per_frame: int
  made_per_frame: int

  def __init__(self, codec: EncodecCodec, row: tuple[int, ...], kind: type):
    self._codec = codec
    self._start_rows = codec.config.start_frames * self.per_frame
    self._empty = np.zeros((0, *row), kind)
    self._begin()

  def _begin(self) -> None:
    self._waiting: list[np.ndarray] = []
    self._rows = 0
    self._kept: Any = None
    if not self._codec.config.mirrored:
      self._kept = self._codec._silence(self.what)

  def _push(self, rows: np.ndarray) -> list[np.ndarray]:
    if len(rows):
      self._waiting.append(rows)
      self._rows += len(rows)
    needed = self._start_rows if self._kept is None else self.per_frame
    if self._rows < needed:
      return []
    rows, out, done = np.concatenate(self._waiting), [], 0
    if self._kept is None:
      done = self._start_rows
      made, self._kept = self._codec._start(self.what, rows[:done], done)
      out.append(np.asarray(made))
    while len(rows) - done >= self.per_frame:
      size = _BLOCK_FRAMES * self.per_frame
      if len(rows) - done < size:
        size = self.per_frame
      block = rows[done : done + size]
      made, self._kept = self._codec._next(self.what, block, self._kept)
      out.append(np.asarray(made))
      done += size
    # A copy: a view would keep all that was pushed.
    self._waiting, self._rows = [rows[done:].copy()], len(rows) - done
    return out

  def _flush(self) -> list[np.ndarray]:
    count, out = self._rows, []
    if count:
      size = self._start_rows if self._kept is None else self.per_frame
      block = np.concatenate([*self._waiting, self._empty])
      pads = [(0, size - count), *[(0, 0)] * (block.ndim - 1)]
      block = np.pad(block, pads)
      if self._kept is None:
        made, _ = self._codec._start(self.what, block, count)
      else:
        made, _ = self._codec._last(self.what, block, count, self._kept)
      frames = -(-count // self.per_frame)
      out.append(np.asarray(made)[: frames * self.made_per_frame])
    self._begin()
    return out

  def warm_up(self) -> None:
    """Runs every function once, with zeros; the stream stays as it is."""
    codec, row = self._codec, self._empty.shape[1:]

    def zeros(rows: int) -> np.ndarray:
      return np.zeros((rows, *row), self._empty.dtype)

    one, kept = self.per_frame, self._kept
    if kept is None:
      size = self._start_rows
      _, kept = codec._start(self.what, zeros(size), size)
    _, kept = codec._next(self.what, zeros(one), kept)
    _, kept = codec._next(self.what, zeros(_BLOCK_FRAMES * one), kept)
    made, _ = codec._last(self.what, zeros(one), one, kept)
    np.asarray(made)


class _Encoder(_Stream):
  """See `AudioEncoder`."""

  what = "encode"

  def __init__(self, codec: EncodecCodec):
    self.per_frame, self.made_per_frame = codec.facts.hop, 1
    self._none = np.zeros((0, codec.facts.levels), np.int32)
    super().__init__(codec, (codec.facts.channels,), np.float32)

  def push(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """See `AudioEncoder.push`."""
    samples = checked_samples(self._codec.facts, samples, some=False)
    return np.concatenate([self._none, *self._push(samples)])

  def flush(self) -> Int[np.ndarray, "f l"]:
    """See `AudioEncoder.flush`."""
    return np.concatenate([self._none, *self._flush()])


class _Decoder(_Stream):
  """See `AudioDecoder`."""

  what = "decode"

  def __init__(self, codec: EncodecCodec, levels: int):
    self.per_frame, self.made_per_frame = 1, codec.facts.hop
    self._levels = levels
    self._none = np.zeros((0, codec.facts.channels), np.float32)
    super().__init__(codec, (codec.facts.levels,), np.int32)

  def push(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """See `AudioDecoder.push`."""
    facts = self._codec.facts
    codes = checked_codes(facts, codes, levels=self._levels, some=False)
    # One shape for any number of levels: those that are absent are negative.
    absent = [(0, 0), (0, facts.levels - self._levels)]
    codes = np.pad(codes, absent, constant_values=-1)
    return np.concatenate([self._none, *self._push(codes)])

  def flush(self) -> Float[np.ndarray, "n c"]:
    """See `AudioDecoder.flush`."""
    return np.concatenate([self._none, *self._flush()])


@partial(jax.jit, static_argnums=(0, 1))
def _start(
  graph: Any, what: str, weights: Any, block: Array, count: Array
) -> tuple[Array, Any]:
  """The first frames of a sound of `count` samples or frames, or more."""
  network: Encodec = nnx.merge(graph, weights)
  if what == "encode":
    vectors, _, kept = network.encoder.begin(block, count)
    return network.quantizer.encode(vectors), kept
  vectors = network.quantizer.decode(block)
  samples, _, kept = network.decoder.begin(vectors, count)
  return samples, kept


@partial(jax.jit, static_argnums=(0, 1))
def _silence(graph: Any, what: str, weights: Any) -> Any:
  """What the layers keep of silence before the sound."""
  network: Encodec = nnx.merge(graph, weights)
  part = network.encoder if what == "encode" else network.decoder
  return part.silence()


@partial(jax.jit, static_argnums=(0, 1))
def _next(
  graph: Any, what: str, weights: Any, block: Array, kept: Any
) -> tuple[Array, Any]:
  """The frames of whole blocks that follow."""
  return _go_on(graph, what, weights, block, kept, None)


@partial(jax.jit, static_argnums=(0, 1))
def _last(
  graph: Any, what: str, weights: Any, block: Array, kept: Any, count: Array
) -> tuple[Array, Any]:
  """The last frame, of which `count` samples are there."""
  return _go_on(graph, what, weights, block, kept, count)


def _go_on(
  graph: Any, what: str, weights: Any, block: Array, kept: Any, count: Any
) -> tuple[Array, Any]:
  network: Encodec = nnx.merge(graph, weights)
  if what == "encode":
    vectors, _, kept = network.encoder.go_on(block, kept, count)
    return network.quantizer.encode(vectors), kept
  vectors = network.quantizer.decode(jnp.asarray(block))
  samples, _, kept = network.decoder.go_on(vectors, kept, count)
  return samples, kept
