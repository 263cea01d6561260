"""SpectroStream: the codec of Magenta RealTime, from its package.

48 kHz stereo, 25 frames a second, 64 levels; Magenta RealTime plays 16 of them
and reads 4 of what it has heard. The networks are those of `magenta-rt`; the
weights are read here, because its own loaders read no encoder for JAX.

Source: https://github.com/magenta/magenta-realtime
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.audio.codec.codec import (
  CodecFacts,
  checked_codes,
  checked_levels,
  checked_samples,
)
from magenta_midi.audio.codec.quantizer import nearest_codes, summed_vectors
from magenta_midi.bounded_files import CODEC_BYTES
from magenta_midi.model.weights_file import CheckpointError, WeightsFile
from magenta_midi.plain_text import line
from magenta_midi.typing import Float, Int

__all__ = ["LEVELS", "PARTS", "SpectroStreamCodec", "load_spectrostream"]

LEVELS = 64
# Parts of the network; each has a file in the folder resources/spectrostream of
# the package's home.
PARTS = ("encoder", "decoder", "quantizer")

_HOP = 1920
_CHANNELS = 2
_INSTALL = "pip install 'magenta-midi[magenta]'"
_FETCH = "mrt models init"
# Frames that are timed at the start.
_TIMED = 10


def load_spectrostream(
  folder: Path | None = None,
  *,
  levels: int = LEVELS,
  random_weights: bool = False,
) -> SpectroStreamCodec:
  """Reads the weights, compiles, and measures the speed.

  Args:
    folder: Holds `encoder.safetensors`, `decoder.safetensors` and
      `quantizer.safetensors`; None: where the package keeps them.
    levels: Levels that are coded, 1..64, the first ones.
    random_weights: Reads nothing, for tests; the sound is noise.

  Raises:
    ValueError: The package or a file is missing (with the command that fetches
      it), or `levels` is out of range.
    CheckpointError: A file is damaged or of other shapes.
  """
  if not 1 <= levels <= LEVELS:
    raise ValueError(f"SpectroStream has 1..{LEVELS} levels, got {levels}.")
  model, paths = _published()
  shapes = _shapes(model)
  if random_weights:
    arrays = _random(shapes)
  else:
    arrays = _read(shapes, folder or paths.spectrostream_dir())
  return SpectroStreamCodec(model, arrays, levels)


def _published() -> tuple[Any, Any]:
  """The package's network and its paths."""
  try:
    from magenta_rt import paths  # pyright: ignore
    from magenta_rt.jax import spectrostream  # pyright: ignore
  except (ImportError, OSError) as error:  # OSError: a library of the system
    reason = str(error).split("\n")[0]
    raise ValueError(
      f"SpectroStream needs the package magenta-rt ({reason}). Get it with:"
      f" {_INSTALL}, then its weights with: {_FETCH}"
    ) from error
  make = spectrostream.stft_spectrostream_40ms_generic_48khz_stereo_config
  return make().make(), paths


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
  """Shapes of all arrays by name, without computing them."""
  import sequence_layers.jax as sl  # pyright: ignore
  from flax import traverse_util
  from flax.core import meta

  def init() -> Any:
    sound = sl.Sequence.from_values(jnp.zeros((1, 2 * _HOP, _CHANNELS)))
    return model.init(jax.random.key(0), sound, training=False)

  variables = meta.unbox(jax.eval_shape(init))
  flat: Any = traverse_util.flatten_dict(variables["params"], sep="/")
  return {name: tuple(value.shape) for name, value in flat.items()}


def _random(
  shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)

  def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("bias"):
      return np.zeros(shape, np.float32)
    # So that what goes in and what comes out of a layer are as large.
    width = 1 if name.startswith("quantizer") else math.prod(shape[:-1])
    numbers = rng.standard_normal(shape, dtype=np.float32)
    return numbers / np.float32(math.sqrt(width))

  return {name: array(name, shape) for name, shape in shapes.items()}


def _read(
  shapes: Mapping[str, tuple[int, ...]], folder: Path
) -> dict[str, np.ndarray]:
  """The arrays of the three files, float32."""
  missing = [p for p in PARTS if not (folder / f"{p}.safetensors").is_file()]
  if missing:
    raise ValueError(
      f"SpectroStream's weights are not at {folder} ({missing[0]}.safetensors"
      f" is missing). Fetch them with: {_FETCH}, or let MAGENTA_HOME point to"
      " them."
    )
  files = {
    part: WeightsFile(folder / f"{part}.safetensors", limit=CODEC_BYTES)
    for part in PARTS
  }
  arrays = {}
  for name, shape in shapes.items():
    part, _, rest = name.partition("/")
    file = files[part]
    # With the names of the whole network, or of the part alone.
    spellings = [
      f"{before}{after}"
      for before in ("params/", "", "params/soundstream/")
      for after in (name, rest)
    ]
    found = [one for one in spellings if one in file.infos]
    if not found or file.infos[found[0]].shape != shape:
      there = list(file.infos[found[0]].shape) if found else "none"
      raise CheckpointError(
        f"{file.path}: the array {line(name, longest=80)} must be"
        f" {list(shape)}, got {there}. Fetch it again with: {_FETCH}"
      )
    array = file.read(found[0]).astype(np.float32)
    if not np.isfinite(array).all():
      raise CheckpointError(f"{file.path}: {name} is not finite.")
    arrays[name] = array
  return arrays


class SpectroStreamCodec:
  """SpectroStream as a codec.

  Attributes:
    facts: See `CodecFacts`.
    real_time_factor: Time that encoding and decoding a frame took at the start,
      over the length of a frame; above 1 it is slower than it sounds. The
      median of some frames.
  """

  def __init__(self, model: Any, arrays: Mapping[str, np.ndarray], levels: int):
    """Compiles, and measures the speed.

    Args:
      model: The package's network.
      arrays: Its arrays by name.
      levels: Levels that are coded.
    """
    from flax import traverse_util

    self.facts = CodecFacts(
      name="SpectroStream",
      sample_rate=48_000,
      channels=_CHANNELS,
      hop=_HOP,
      levels=levels,
      codebook_size=1024,
      # The spectrum of a frame reaches into the next one, and so does the
      # decoder.
      encode_latency_samples=_HOP,
      decode_latency_samples=_HOP,
    )
    weights = {name: jnp.asarray(array) for name, array in arrays.items()}
    nested = {"params": traverse_util.unflatten_dict(weights, sep="/")}
    self._books = weights["quantizer/embedding"][:levels]
    self._steps = {
      "encode": _encode_step(model, nested, self._books),
      "decode": _decode_step(model, nested, self._books),
    }
    self.real_time_factor = self._measured()

  def _measured(self) -> float:
    encoder, decoder = _Encoder(self), _Decoder(self, self.facts.levels)
    silence = np.zeros((_HOP, _CHANNELS), np.float32)
    codes = np.zeros((1, self.facts.levels), np.int32)
    times = []
    for _ in range(2 + _TIMED):
      began = time.perf_counter()
      encoder.push(silence)
      decoder.push(codes)
      times.append(time.perf_counter() - began)
    return float(np.median(times[2:])) * self.facts.frame_rate

  def encode(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """See `AudioCodec.encode`."""
    samples = checked_samples(self.facts, samples)
    stream = self.encoder()
    return np.concatenate([stream.push(samples), stream.flush()])

  def decode(self, codes: np.ndarray) -> Float[np.ndarray, "n c"]:
    """See `AudioCodec.decode`."""
    codes = checked_codes(self.facts, codes)
    stream = self.decoder(codes.shape[1])
    return np.concatenate([stream.push(codes), stream.flush()])

  def encoder(self) -> _Encoder:
    """See `AudioCodec.encoder`."""
    return _Encoder(self)

  def decoder(self, levels: int | None = None) -> _Decoder:
    """See `AudioCodec.decoder`."""
    return _Decoder(self, checked_levels(self.facts, levels))


class _Step:
  """A compiled function of one frame, and the state before the first one."""

  def __init__(self, function: Callable[..., Any], state: Any):
    self.run, self.state = function, state


def _encode_step(model: Any, weights: Any, books: Any) -> _Step:
  import sequence_layers.jax as sl  # pyright: ignore

  spec = sl.ShapeDType((_CHANNELS,), jnp.float32)

  def start(network: Any) -> Any:
    layer = network.waveform_to_embeddings_layer
    return layer.get_initial_state(1, spec, training=False)

  def step(network: Any, sound: Any, state: Any) -> Any:
    layer = network.waveform_to_embeddings_layer
    return layer.step(sound, state, training=False)

  @jax.jit
  def run(weights: Any, books: Any, block: Any, real: Any, state: Any) -> Any:
    del real  # what pads the last frame is silence
    sound = sl.Sequence.from_values(block[None])
    made, state = model.apply(weights, sound, state, method=step)
    return nearest_codes(made.values[0], books), state

  state = jax.jit(lambda w: model.apply(w, method=start))(weights)
  return _Step(lambda *args: run(weights, books, *args), state)


def _decode_step(model: Any, weights: Any, books: Any) -> _Step:
  import sequence_layers.jax as sl  # pyright: ignore

  spec = sl.ShapeDType((books.shape[2],), jnp.float32)

  def start(network: Any) -> Any:
    layer = network.embeddings_to_waveform_layer
    return layer.get_initial_state(1, spec, training=False)

  def step(network: Any, vectors: Any, state: Any) -> Any:
    layer = network.embeddings_to_waveform_layer
    return layer.step(vectors, state, training=False)

  @jax.jit
  def run(weights: Any, books: Any, block: Any, real: Any, state: Any) -> Any:
    vectors = summed_vectors(block, books)[None]
    # Behind the last frame there is nothing, which is not silence.
    mask = jnp.full((1, len(block)), real)
    sound = sl.Sequence(vectors, mask).mask_invalid()
    made, state = model.apply(weights, sound, state, method=step)
    return made.values[0], state

  state = jax.jit(lambda w: model.apply(w, method=start))(weights)
  return _Step(lambda *args: run(weights, books, *args), state)


class _Stream:
  """What both directions share: a frame in, the frame before out."""

  what: str
  # Rows of input and of output that are one frame.
  per_frame: int
  made_per_frame: int

  def __init__(self, codec: SpectroStreamCodec, empty: np.ndarray):
    self._codec, self._empty = codec, empty
    self._step = codec._steps[self.what]
    self._begin()

  def _begin(self) -> None:
    self._waiting = self._empty
    self._state = self._step.state
    self._begun = False

  def _push(self, rows: np.ndarray) -> list[np.ndarray]:
    rows = np.concatenate([self._waiting, rows])
    done, out = 0, []
    while len(rows) - done >= self.per_frame:
      out += self._frame(rows[done : done + self.per_frame])
      done += self.per_frame
    # A copy: a view would keep all that was pushed.
    self._waiting = rows[done:].copy()
    return out

  def _flush(self) -> list[np.ndarray]:
    out = []
    if count := len(self._waiting):
      pads = [(0, self.per_frame - count), (0, 0)]
      out += self._frame(np.pad(self._waiting, pads))
    if self._begun:
      nothing = np.zeros_like(self._empty, shape=(
        self.per_frame, self._empty.shape[1]
      ))  # fmt: skip
      out += self._frame(nothing, real=False)
    self._begin()
    return out

  def _frame(self, block: np.ndarray, real: bool = True) -> list[np.ndarray]:
    """Runs one frame; of the first one nothing comes yet."""
    made, self._state = self._step.run(block, np.bool_(real), self._state)
    late, self._begun = self._begun, True
    return [np.asarray(made)[: self.made_per_frame]] if late else []


class _Encoder(_Stream):
  """See `AudioEncoder`."""

  what, per_frame, made_per_frame = "encode", _HOP, 1

  def __init__(self, codec: SpectroStreamCodec):
    self._none = np.zeros((0, codec.facts.levels), np.int32)
    super().__init__(codec, np.zeros((0, _CHANNELS), np.float32))

  def push(self, samples: np.ndarray) -> Int[np.ndarray, "f l"]:
    """See `AudioEncoder.push`."""
    samples = checked_samples(self._codec.facts, samples, some=False)
    return np.concatenate([self._none, *self._push(samples)])

  def flush(self) -> Int[np.ndarray, "f l"]:
    """See `AudioEncoder.flush`."""
    return np.concatenate([self._none, *self._flush()])


class _Decoder(_Stream):
  """See `AudioDecoder`."""

  what, per_frame, made_per_frame = "decode", 1, _HOP

  def __init__(self, codec: SpectroStreamCodec, levels: int):
    self._levels = levels
    self._none = np.zeros((0, _CHANNELS), np.float32)
    super().__init__(codec, np.zeros((0, codec.facts.levels), np.int32))

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
