"""Quantized base model, expanded to float32 array by array when used.

A quantized matrix replaces a parameter and gives float32 values when it is
read, so the network needs no code for it. If layers run as a loop
(`Depthformer.loop`), only one layer is in float32 at a time, forwards and
backwards.

`int8`: one byte for each number and a float32 scale for each column, as in
checkpoints, so a base from an int8 checkpoint loses nothing. `nf4`: 4 bits for
each number, in blocks of 64; the scales of the blocks are quantized again, to
one byte each, in blocks of 256.

Source: Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314; the
second quantization is to int8 here, in place of 8-bit floats.
"""

import dataclasses
import functools
import math
import re
import statistics
import typing
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.model.lora.kernel_proxy import KernelProxy
from magenta_midi.typing import Float

__all__ = [
  "BLOCK",
  "NF4",
  "SCALE_BLOCK",
  "QuantizedBase",
  "Int8Matrix",
  "Nf4Matrix",
  "Quantize",
  "check_quantize",
  "quantize_base",
  "stored_bytes",
  "quantize",
]

# Storage of a base in memory.
Quantize = Literal["none", "int8", "nf4"]
# `nf4`: numbers that share a scale, and scales that share a second scale.
BLOCK, SCALE_BLOCK = 64, 256
# The matrices of layers. Embeddings and head, a few percent of all numbers, are
# not quantized, as in QLoRA: a lookup does not average out errors as a sum
# does.
_LAYERS = re.compile(r"(\w+_layers)\.(\d+)\.(.*\.kernel)")


def _normal_quantiles() -> np.ndarray:
  """The 16 values of NF4: quantiles of a normal distribution, with 0.

  Eight values from 0 down and nine from 0 up, in -1..1.
  """
  # The tails: the mean of half a step of 15 and half a step of 16.
  outermost = 1 - (1 / 30 + 1 / 32) / 2
  quantile = statistics.NormalDist().inv_cdf
  down = [-quantile(p) for p in np.linspace(outermost, 0.5, 8)[:-1]]
  up = [quantile(p) for p in np.linspace(outermost, 0.5, 9)[:-1]]
  found = np.sort([*down, 0.0, *up])
  return (found / found[-1]).astype(np.float32)


# In ascending order.
NF4 = _normal_quantiles()


# Fields are Any, because trees of shapes or shardings also use these classes.
@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["codes", "scale"],
  meta_fields=["shape"],
)
@dataclasses.dataclass(frozen=True)
class Int8Matrix(KernelProxy):
  """int8 codes times the scale of their column."""

  codes: Any  # int8 [i, o]
  scale: Any  # float32 [o]
  shape: tuple[int, ...]

  def as_float32(self) -> Float[jax.Array, "i o"]:
    """The whole matrix in float32."""
    return self.codes.astype(jnp.float32) * self.scale[None]


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["codes", "scale_codes", "scale_steps", "scale_mean"],
  meta_fields=["shape"],
)
@dataclasses.dataclass(frozen=True)
class Nf4Matrix(KernelProxy):
  """Numbers of `NF4` times the scale of their block.

  A block is 64 numbers of the matrix, row by row; the last one is filled with
  zeros. The scale of a block is a common mean plus a quantized difference.
  """

  codes: Any  # uint8 [n, 32], first half of the block in the low 4 bits
  scale_codes: Any  # int8 [n]
  scale_steps: Any  # float32 [ceil(n / 256)]
  scale_mean: Any  # float32 ()
  shape: tuple[int, ...]

  def scales(self) -> Float[jax.Array, " n"]:
    """The scale (largest absolute value) of each block."""
    count = self.scale_codes.shape[0]
    steps = jnp.repeat(self.scale_steps, SCALE_BLOCK)[:count]
    return self.scale_codes.astype(jnp.float32) * steps + self.scale_mean

  def as_float32(self) -> Float[jax.Array, "i o"]:
    """The whole matrix in float32."""
    halves = [self.codes & 15, self.codes >> 4]
    numbers = jnp.asarray(NF4)[jnp.concatenate(halves, axis=1)]
    flat = (numbers * self.scales()[:, None]).reshape(-1)
    return flat[: math.prod(self.shape)].reshape(self.shape)


def quantize(
  matrix: Float[Any, "i o"], how: Literal["int8", "nf4"]
) -> KernelProxy:
  """Quantizes one matrix, rounding to nearest.

  Args:
    matrix: A matrix of any float dtype.
    how: The storage.
  """
  return _QUANTIZERS[how](jnp.asarray(matrix, jnp.float32))


@jax.jit
def _to_int8(matrix: jax.Array) -> Int8Matrix:
  scale = jnp.max(jnp.abs(matrix), axis=0) / 127
  # A column of zeros.
  scale = jnp.where(scale == 0, 1.0, scale)
  codes = jnp.round(matrix / scale[None]).astype(jnp.int8)
  return Int8Matrix(codes, scale, matrix.shape)


@jax.jit
def _to_nf4(matrix: jax.Array) -> Nf4Matrix:
  blocks = _rows_of(matrix.reshape(-1), BLOCK)
  largest = jnp.max(jnp.abs(blocks), axis=1)
  mean = jnp.mean(largest)
  groups = _rows_of(largest - mean, SCALE_BLOCK)
  steps = jnp.max(jnp.abs(groups), axis=1) / 127
  steps = jnp.where(steps == 0, 1.0, steps)
  scale_codes = jnp.round(groups / steps[:, None]).astype(jnp.int8)
  scale_codes = scale_codes.reshape(-1)[: len(blocks)]
  halves = jnp.zeros((len(blocks), BLOCK // 2), jnp.uint8)
  uncoded = Nf4Matrix(halves, scale_codes, steps, mean, matrix.shape)
  # Divide by the quantized scale, which is used for decoding. A scale that was
  # rounded to 0 or below belongs to a block of almost zeros.
  scales = uncoded.scales()[:, None]
  share = jnp.where(scales > 0, blocks / scales, 0.0)
  codes = jnp.zeros(blocks.shape, jnp.uint8)
  for between in (NF4[1:] + NF4[:-1]) / 2:
    codes = codes + (share > between).astype(jnp.uint8)
  low, high = jnp.split(codes, 2, axis=1)
  return dataclasses.replace(uncoded, codes=low | (high << 4))


def _rows_of(flat: jax.Array, length: int) -> jax.Array:
  """Splits into rows of a length; the last is filled with zeros."""
  return jnp.pad(flat, (0, -len(flat) % length)).reshape(-1, length)


_QUANTIZERS = {"int8": _to_int8, "nf4": _to_nf4}


class QuantizedBase(NamedTuple):
  """Parameters of a base in memory: the argument of a training step."""

  # Parameters that are not quantized.
  params: Any  # nnx.State
  # Kernel proxies of the layers' matrices, by name with * for the number of the
  # layer. All layers of a stack share one proxy with an axis of layers first,
  # so that a loop over them needs no copy.
  stacks: dict[str, Any]

  def state(self) -> nnx.State:
    """The parameters for the network; call it inside the step."""
    found = list(nnx.to_flat_state(self.params))
    for name, stack in self.stacks.items():
      for layer in range(jax.tree.leaves(stack)[0].shape[0]):
        path = tuple(layer if part == "*" else part for part in name.split("."))
        matrix = jax.tree.map(lambda x, layer=layer: x[layer], stack)
        found.append((path, nnx.Param(matrix)))
    return nnx.from_flat_state(found)


def check_quantize(how: Any) -> None:
  """Raises a ValueError for an unknown storage."""
  if how not in (known := typing.get_args(Quantize)):
    raise ValueError(
      f"quantize must be one of {', '.join(known)}, got {how!r}."
    )


def quantize_base(params: nnx.State, how: Quantize) -> QuantizedBase:
  """Quantizes the matrices of layers, one after the other.

  Args:
    params: Parameters from `nnx.split`, in memory of the device or the host.
    how: The storage; `none` keeps the arrays without copies.

  Raises:
    ValueError: The storage is unknown.
  """
  check_quantize(how)
  if how == "none":
    return QuantizedBase(params, {})
  kept, layers = [], {}
  for path, variable in nnx.to_flat_state(params):
    value = variable.get_value()
    if match := _LAYERS.fullmatch(".".join(map(str, path))):
      name = f"{match[1]}.*.{match[3]}"
      layers.setdefault(name, {})[int(match[2])] = quantize(value, how)
    else:
      kept.append((path, variable.replace(jnp.asarray(value))))
  stacks = {}
  for name in list(layers):
    by_layer = layers.pop(name)
    matrices = [by_layer[layer] for layer in range(len(by_layer))]
    stacks[name] = jax.tree.map(lambda *x: jnp.stack(x), *matrices)
  return QuantizedBase(nnx.from_flat_state(kept), stacks)


def stored_bytes(tree: Any) -> int:
  """Bytes of all arrays of a tree, which may come from `jax.eval_shape`."""
  return sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
