"""EnCodec's published weights, in the layout of Hugging Face's transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.weights import parameter_shapes
from magenta_midi.bounded_files import CODEC_BYTES, read_json
from magenta_midi.model.torch_file import read_torch_file
from magenta_midi.model.weights_file import CheckpointError, WeightsFile
from magenta_midi.plain_text import line
from magenta_midi.settings import convert

__all__ = ["CONFIG", "REPOSITORIES", "WEIGHTS", "read_published"]

# Model -> where it is published.
REPOSITORIES = {
  "24khz": "facebook/encodec_24khz",
  "48khz": "facebook/encodec_48khz",
}
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

# Of training: nothing here needs them.
_UNUSED = (".embed_avg", ".cluster_size", ".inited")

# The fields of their config that make a difference, their types and defaults.
_FIELDS: dict[str, tuple[Any, Any]] = {
  "target_bandwidths": (list[float], [1.5, 3.0, 6.0, 12.0, 24.0]),
  "sampling_rate": (int, 24_000),
  "audio_channels": (int, 1),
  "normalize": (bool, False),
  "chunk_length_s": (float | None, None),
  "overlap": (float | None, None),
  "hidden_size": (int, 128),
  "num_filters": (int, 32),
  "num_residual_layers": (int, 1),
  "upsampling_ratios": (tuple[int, ...], (8, 5, 4, 2)),
  "norm_type": (Literal["weight_norm", "time_group_norm"], "weight_norm"),
  "kernel_size": (int, 7),
  "last_kernel_size": (int, 7),
  "residual_kernel_size": (int, 3),
  "dilation_growth_rate": (int, 2),
  "use_causal_conv": (bool, True),
  "pad_mode": (Literal["reflect", "constant"], "reflect"),
  "compress": (int, 2),
  "num_lstm_layers": (int, 2),
  "trim_right_ratio": (float, 1.0),
  "codebook_size": (int, 1024),
  "codebook_dim": (int | None, None),
  "use_conv_shortcut": (bool, True),
}


class _Source(NamedTuple):
  """Arrays that are read one by one."""

  shapes: dict[str, tuple[int, ...]]
  read: Callable[[str], np.ndarray]


def read_published(path: Path) -> tuple[EncodecConfig, dict[str, np.ndarray]]:
  """Reads a published model.

  Args:
    path: The folder with `config.json` and `model.safetensors` or
      `pytorch_model.bin`, or one of these two files.

  Returns:
    The sizes, and our arrays by name, float32. Weight norm is applied.

  Raises:
    CheckpointError: Something is missing, damaged, of other shapes, or is what
      cannot be computed here.
    TorchFileError: See `read_torch_file`.
  """
  folder = path if path.is_dir() else path.parent
  weights = path if not path.is_dir() else None
  if weights is None or weights.name == CONFIG:
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not found:
      raise CheckpointError(
        f"{folder}: holds no {' and no '.join(WEIGHTS)}. Give the folder of a"
        f" published EnCodec, as {REPOSITORIES['24khz']}."
      )
    weights = found[0]
  config = _read_config(folder / CONFIG)
  source = _opened(weights)
  try:
    return config, _converted(source, config)
  except ValueError as error:
    raise CheckpointError(f"{weights}: {line(error, longest=300)}") from None


def _read_config(path: Path) -> EncodecConfig:
  try:
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("model_type") != "encodec":
      raise ValueError("its model_type is not encodec")
    return _config(facts)
  except OSError as error:
    raise CheckpointError(
      f"{path}: cannot be read: {error.strerror}. It belongs beside the"
      " weights."
    ) from None
  except ValueError as error:
    reason = line(error, longest=200).rstrip(".")
    raise CheckpointError(f"{path}: no config of EnCodec: {reason}.") from None


def _config(facts: Mapping[str, Any]) -> EncodecConfig:
  """Our sizes of theirs."""
  given = {
    name: convert(kind, facts.get(name, default), name, source="json")
    for name, (kind, default) in _FIELDS.items()
  }
  if given["trim_right_ratio"] != 1:
    raise ValueError("trim_right_ratio must be 1")
  if given["codebook_dim"] not in (None, given["hidden_size"]):
    raise ValueError("codebook_dim must be hidden_size")
  ratios, rate = tuple(given["upsampling_ratios"]), given["sampling_rate"]
  codes, bandwidths = given["codebook_size"], given["target_bandwidths"]
  hop = math.prod(ratios)
  if not bandwidths or not 0 < bandwidths[-1] < 1e6:
    raise ValueError("target_bandwidths must be positive numbers")
  if codes < 2 or hop < 1 or rate < 1 or max(codes, hop, rate) > 1e9:
    raise ValueError("its rate, ratios or codebook_size is out of range")
  bits = math.ceil(math.log2(codes))
  levels = int(1000 * bandwidths[-1] // (math.ceil(rate / hop) * bits))
  window = step = 0
  if (seconds := given["chunk_length_s"]) is not None:
    if not 0 < seconds < 60 or not 0 <= (given["overlap"] or 0) < 1:
      raise ValueError("chunk_length_s or overlap is out of range")
    window = int(seconds * rate)
    step = max(1, int((1.0 - (given["overlap"] or 0)) * window))
  return EncodecConfig(
    sample_rate=rate,
    channels=given["audio_channels"],
    ratios=ratios,
    filters=given["num_filters"],
    residual_layers=given["num_residual_layers"],
    residual_kernel=given["residual_kernel_size"],
    dilation_growth=given["dilation_growth_rate"],
    compress=given["compress"],
    shortcut=given["use_conv_shortcut"],
    kernel=given["kernel_size"],
    last_kernel=given["last_kernel_size"],
    lstm_layers=given["num_lstm_layers"],
    width=given["hidden_size"],
    levels=levels,
    codebook_size=codes,
    causal=given["use_causal_conv"],
    group_norm=given["norm_type"] == "time_group_norm",
    mirrored=given["pad_mode"] == "reflect",
    window=window,
    window_step=step,
    normalized=given["normalize"],
  )


def _opened(path: Path) -> _Source:
  if path.suffix != ".safetensors":
    if path.stat().st_size > CODEC_BYTES:
      raise CheckpointError(
        f"{path}: is larger than {CODEC_BYTES / 2**20:g} MiB."
      )
    arrays = read_torch_file(path, key=None)
    shapes = {name: array.shape for name, array in arrays.items()}
    return _Source(shapes, arrays.__getitem__)
  file = WeightsFile(path, limit=CODEC_BYTES)
  shapes = {name: info.shape for name, info in file.infos.items()}
  return _Source(shapes, lambda name: file.read(name).astype(np.float32))


def _converted(source: _Source, config: EncodecConfig) -> dict[str, np.ndarray]:
  """Our arrays; `ValueError` if theirs are others."""
  expected = parameter_shapes(config)
  layers = list(_layers(config))
  unused = {name for name in source.shapes if name.endswith(_UNUSED)}
  rest = source.shapes.keys() - unused
  reader = _Reader(source)
  arrays: dict[str, np.ndarray] = {}

  def put(name: str, array: np.ndarray) -> None:
    if array.shape != expected[name]:
      raise ValueError(
        f"its array for {name} is {list(array.shape)}, by its config"
        f" {list(expected[name])}."
      )
    if not np.isfinite(array).all():
      raise ValueError(f"its array for {name} is not finite.")
    arrays[name] = np.ascontiguousarray(array, np.float32)

  for ours, theirs, kind in layers:
    if kind == "lstm":
      put(f"{ours}.kernel", reader.read(f"{theirs[0]}.weight_ih_{theirs[1]}").T)
      put(
        f"{ours}.recurrent", reader.read(f"{theirs[0]}.weight_hh_{theirs[1]}").T
      )
      input_, recurrent = (
        reader.read(f"{theirs[0]}.bias_{part}_{theirs[1]}")
        for part in ("ih", "hh")
      )
      put(f"{ours}.bias", input_ + recurrent)
      continue
    kernel = reader.kernel(f"{theirs[0]}.conv", folded=not config.group_norm)
    # Theirs: out, in, time; of a transposed one in, out, time.
    axes = (2, 0, 1) if kind == "transposed" else (2, 1, 0)
    put(f"{ours}.kernel", kernel.transpose(axes))
    put(f"{ours}.bias", reader.read(f"{theirs[0]}.conv.bias"))
    if config.group_norm:
      put(f"{ours}.norm.scale", reader.read(f"{theirs[0]}.norm.weight"))
      put(f"{ours}.norm.bias", reader.read(f"{theirs[0]}.norm.bias"))
  books = [
    reader.read(f"quantizer.layers.{level}.codebook.embed")
    for level in range(config.levels)
  ]
  if len({book.shape for book in books}) != 1:
    raise ValueError("its codebooks are of several shapes.")
  put("quantizer.codebooks", np.stack(books))
  if more := sorted(rest - reader.done):
    raise ValueError(f"its config does not explain the array {more[0]!r}.")
  return arrays


class _Reader:
  """Reads arrays that must be there, and keeps the names of those read."""

  def __init__(self, source: _Source):
    self._source = source
    self.done: set[str] = set()

  def read(self, name: str) -> np.ndarray:
    if name not in self._source.shapes:
      raise ValueError(f"lacks the array {name!r}.")
    self.done.add(name)
    return self._source.read(name)

  def kernel(self, name: str, *, folded: bool) -> np.ndarray:
    """A kernel [x, y, time]; if folded, of its direction and its length.

    Weight norm: the length of what belongs to each index of the first axis.
    """
    if not folded:
      kernel = self.read(f"{name}.weight")
    else:
      # Two spellings of PyTorch's, the older one first.
      length, direction = f"{name}.weight_g", f"{name}.weight_v"
      if length not in self._source.shapes:
        weight = f"{name}.parametrizations.weight"
        length, direction = f"{weight}.original0", f"{weight}.original1"
      size, kernel = self.read(length), self.read(direction)
      if kernel.ndim == 3 and size.shape == (len(kernel), 1, 1):
        norm = np.sqrt(np.sum(kernel**2, axis=(1, 2), keepdims=True))
        kernel = kernel * (size / norm)
      else:
        raise ValueError(f"{name!r} is not in weight norm.")
    if kernel.ndim != 3:
      raise ValueError(f"{name!r} must have 3 axes, got {kernel.ndim}.")
    return kernel


def _layers(
  config: EncodecConfig,
) -> Iterator[tuple[str, tuple[str, ...], str]]:
  """Our name, their name, and the kind of each layer with weights."""
  for part in ("encoder", "decoder"):
    ours, theirs = 0, 0
    for kind in _kinds(part, config):
      mine, other = f"{part}.layers.{ours}", f"{part}.layers.{theirs}"
      if kind == "residual":
        yield f"{mine}.first", (f"{other}.block.1",), "conv"
        yield f"{mine}.second", (f"{other}.block.3",), "conv"
        if config.shortcut:
          yield f"{mine}.shortcut", (f"{other}.shortcut",), "conv"
      elif kind == "lstm":
        for layer in range(config.lstm_layers):
          yield f"{mine}.layers.{layer}", (f"{other}.lstm", f"l{layer}"), kind
      elif kind.startswith("bent"):
        # Theirs counts the function before it as a layer.
        theirs += 1
        other = f"{part}.layers.{theirs}"
        yield f"{mine}.layer", (other,), kind.removeprefix("bent ")
      else:
        yield mine, (other,), kind
      ours, theirs = ours + 1, theirs + 1


def _kinds(part: str, config: EncodecConfig) -> list[str]:
  """The layers of a part, in order."""
  residuals = ["residual"] * config.residual_layers
  if part == "encoder":
    middle = [*residuals, "bent conv"] * len(config.ratios)
    return ["conv", *middle, "lstm", "bent conv"]
  middle = ["bent transposed", *residuals] * len(config.ratios)
  return ["conv", "lstm", *middle, "bent conv"]
