"""Transkun's published weights as a Flax network."""

from __future__ import annotations

import re
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.torch_file import TorchFileError, read_torch_file
from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.transcribe.transkun.front_end import FrontEnd, learned_windows
from magenta_midi.transcribe.transkun.network import Transkun

__all__ = ["load_transkun"]

# Names of modules, ours and theirs; `#` is a number, in theirs by _NUMBERS.
_MODULES = {
  "stem.conv_in": "backbone.inputConv",
  "stem.positions": "backbone.posEmbedBuilder",
  "stem.convs.0": "backbone.downConv.1",
  "stem.convs.1": "backbone.downConv.5",
  "stem.convs.2": "backbone.downConv.9",
  "stem.convs.3": "backbone.downConv.13",
  "stem.norms.0": "backbone.downConv.2",
  "stem.norms.1": "backbone.downConv.6",
  "stem.norms.2": "backbone.downConv.10",
  "stem.norms.3": "backbone.downConv.14",
  "positions": "backbone.posEmbedBuilderAttnTF",
  "target_positions": "backbone.posEmbedBuilderAttnTE",
  "frames_out": "backbone.upConv1dSkip",
  "scores": "scorer.map.0",
  "velocity_hidden": "velocityPredictor.0",
  "velocity_out": "velocityPredictor.3",
  "times_hidden": "refinedOFPredictor.0",
  "times_out": "refinedOFPredictor.3",
}
_POSITIONS = {"rates": "proj", "hidden": "mlp.0", "out": "mlp.3"}
_BLOCKS = {
  "frequency": "mhaBlockF",
  "frequency_mlp": "fnnBlockF",
  "time": "mhaBlockT",
  "time_mlp": "fnnBlockT",
}
_ATTENTION = {
  "query.kernel": "q_proj_weight",
  "key.kernel": "k_proj_weight",
  "value.kernel": "v_proj_weight",
  "out.kernel": "out_proj.weight",
  "out.bias": "out_proj.bias",
}
_PARTS = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_FRONT_END = "framewiseFeatureExtractor"


def load_transkun(
  path: str | PathLike[str], config: TranskunConfig | None = None
) -> tuple[Transkun, FrontEnd]:
  """Reads a checkpoint of the original.

  Args:
    path: The file; it is read without PyTorch and runs nothing.
    config: Its sizes; by default those of the published one.

  Raises:
    TorchFileError: It is none, or of other sizes.
  """
  config = config or TranskunConfig()
  arrays = read_torch_file(path)
  try:
    return _network(arrays, config), _front_end(arrays, config)
  except KeyError as error:
    raise TorchFileError(
      f"{path}: lacks {error.args[0]!r}. Is it Transkun 2.0?"
    ) from None
  except ValueError as error:
    raise TorchFileError(f"{path}: {error}") from None


def _network(arrays: dict[str, np.ndarray], config: TranskunConfig) -> Transkun:
  """Puts every array in its place."""
  abstract = nnx.eval_shape(lambda: Transkun(config, rngs=nnx.Rngs(0)))
  graph, state = nnx.split(abstract)

  def placed(path: tuple[Any, ...], value: Any) -> jax.Array:
    # The last step leads into the variable.
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    name = ".".join(map(str, keys))
    theirs = _name(name)
    array = _turned(name, arrays[theirs], config)
    if array.shape != value.shape:
      raise ValueError(
        f"{theirs!r} is {list(arrays[theirs].shape)}, which does not fit."
        " Is it Transkun 2.0?"
      )
    return jnp.asarray(array)

  filled = jax.tree_util.tree_map_with_path(placed, state)
  return nnx.merge(graph, filled)


def _name(ours: str) -> str:
  """The original's name of one of our arrays."""
  if block := re.match(r"blocks\.(\d+)\.(\w+)\.(.+)", ours):
    number, part, rest = block.groups()
    theirs = f"backbone.encoderLayers.{number}.{_BLOCKS[part]}"
    if rest == "scale":
      return f"{theirs}.scale"
    if not part.endswith("mlp"):
      return f"{theirs}.module.{_ATTENTION[rest]}"
    layer, kind = rest.split(".")
    return f"{theirs}.module.{_POSITIONS[layer].split('.')[1]}.{_PARTS[kind]}"
  module, kind = ours.rsplit(".", 1)
  if module in _MODULES:
    return f"{_MODULES[module]}.{_PARTS[kind]}"
  module, layer = module.rsplit(".", 1)
  return f"{_MODULES[module]}.{_POSITIONS[layer]}.{_PARTS[kind]}"


def _turned(ours: str, array: np.ndarray, config: TranskunConfig) -> np.ndarray:
  """An array in Flax's order of axes."""
  if ours == "frames_out.kernel":  # in, out, frame -> in, frame and out
    return array.transpose(0, 2, 1).reshape(config.width, -1)
  if ours == "frames_out.bias":
    return np.tile(array, 8)
  if array.ndim == 4:  # out, in, time, frequency
    return array.transpose(2, 3, 1, 0)
  # Their attention keeps these as in, out; all other layers as out, in.
  if re.search(r"(query|key|value)\.kernel$", ours):
    return array
  return array.T


def _front_end(
  arrays: dict[str, np.ndarray], config: TranskunConfig
) -> FrontEnd:
  spectrum = f"{_FRONT_END}.spectrogramExtractor"
  hann = arrays[f"{spectrum}.win"]
  center, width = (
    arrays[f"{spectrum}.winGen.{name}"] for name in ("center", "sigma")
  )
  filters = arrays[f"{_FRONT_END}.freq2mels"]
  shapes = [hann.shape, center.shape, width.shape, filters.shape]
  learned = (config.windows - 1,)
  spectra = (config.window // 2 + 1, config.mels)
  if shapes != [(config.window,), learned, learned, spectra]:
    raise ValueError("its front end does not fit. Is it Transkun 2.0?")
  windows = learned_windows(*map(jnp.asarray, (hann, center, width)))
  return FrontEnd(windows, jnp.asarray(filters))
