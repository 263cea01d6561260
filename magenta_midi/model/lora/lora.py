"""Low-rank adaptation (LoRA) as a parameter tree: W + scale A B.

The network does not contain LoRA code. Kernels are changed before the network
uses them, inside the compiled step, so that a merged model equals the trained
one exactly. For a quantized base the sum is computed when the network reads the
kernel. In training, gradients go from a product directly to A and B. The
gradient of the kernel itself, as much work as the forward pass, is never
computed.

LoRA draws dropout of the input of A for each position. Here it is drawn once a
step for all positions, because a kernel does not see positions.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.limits import ALPHA, FRACTION, RANK
from magenta_midi.model.lora.kernel_proxy import KernelProxy
from magenta_midi.settings import (
  check_bounds,
  check_numbers,
)

__all__ = [
  "DEFAULT_TARGETS",
  "Factors",
  "LoraConfig",
  "LowRank",
  "STACKS",
  "TARGETS",
  "adapt",
  "array_names",
  "init_factors",
  "drop_inputs",
  "low_rank_delta",
  "merge_factors",
  "merge_on_host",
  "parameter_count",
  "target_names",
]

STACKS = ("encoder", "temporal", "depth")
# Targets, and the name patterns of their arrays; {} is the stack.
TARGETS = {
  **{
    part + name: rf"{{}}_layers\.\d+\.{kind}attention\.{name}\.kernel"
    for part, kind in (
      ("", r"(\w+_)?"),
      ("self_", r"(self_)?"),
      ("cross_", r"encoder_decoder_"),
    )
    for name in ("query", "key", "value", "out")
  },
  "mlp": r"{}_layers\.\d+\.mlp\.\w+\.kernel",
  "embeddings": r"token_embedder\.embedding",
  "head": r"logits_dense\.kernel",
}
# Kernels of `Dense` in layers.
_LAYER = re.compile(r"\w+_layers\.\d+\..*\.kernel")
# All projections of all stacks, and the input and output arrays.
DEFAULT_TARGETS = (
  *("query", "key", "value", "out", "mlp"),
  *("embeddings", "head"),
)


class LowRank(NamedTuple):
  """The factors of one array: scale times `a @ b` is added; float32."""

  a: Any  # [in, r]
  b: Any  # [r, out]


# Keys: dotted names of arrays.
Factors = dict[str, LowRank]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
  """Settings of LoRA: which arrays, rank and scale."""

  # Number of columns of A and rows of B.
  rank: int = 16
  # The scale is alpha / rank.
  alpha: float = 32.0
  # Names of `TARGETS`: for all stacks (`query`) or for one (`temporal.query`).
  # `query` means self and cross attention; `self_query` and `cross_query` mean
  # one of them.
  targets: tuple[str, ...] = DEFAULT_TARGETS
  # Share of the inputs of A that are dropped at each step.
  dropout: float = 0.0

  def __post_init__(self) -> None:
    """Checks that the settings can be trained."""
    check_numbers(self)
    check_bounds(self, RANK, "rank")
    check_bounds(self, ALPHA, "alpha")
    check_bounds(self, FRACTION, "dropout")

  @property
  def scale(self) -> float:
    """The factor of `a @ b`."""
    return self.alpha / self.rank


def target_names(
  names: Iterable[str], targets: Sequence[str]
) -> tuple[str, ...]:
  """Names of the arrays of all targets, in the order of `names`.

  Args:
    names: Dotted names of all arrays of a model.
    targets: As in `LoraConfig`.

  Raises:
    ValueError: A target is unknown, or the model has no such array.
  """
  names = list(names)
  found: set[str] = set()
  for target in targets:
    stack, dot, array = target.rpartition(".")
    if array not in TARGETS or (dot and stack not in STACKS):
      raise ValueError(
        f"unknown target {target!r}. Known: {', '.join(TARGETS)}; in one stack"
        f" with {', '.join(f'{name}.' for name in STACKS)} before it."
      )
    pattern = re.compile(TARGETS[array].format(stack or r"\w+"))
    matching = [name for name in names if pattern.fullmatch(name)]
    if not matching or (dot and "{}" not in TARGETS[array]):
      raise ValueError(f"target {target!r}: the model has no such array.")
    found.update(matching)
  if not found:
    raise ValueError("targets: none given, so there is nothing to train.")
  return tuple(name for name in names if name in found)


def array_names(params: nnx.State) -> dict[str, tuple[int, ...]]:
  """Dotted name and shape of each array, as in checkpoints."""
  return {
    ".".join(map(str, path)): tuple(variable.get_value().shape)
    for path, variable in nnx.to_flat_state(params)
  }


def init_factors(
  params: nnx.State, config: LoraConfig, key: jax.Array
) -> Factors:
  """Initial factors, which change nothing: A is random, B is 0.

  A has the standard deviation of its array. Query kernels are several times
  smaller than others (this replaces 1 / sqrt(head size)), so their factors are
  smaller too.

  Args:
    params: Parameters of the model, from `nnx.split`.
    config: Settings; selects the arrays.
    key: Random key. Each array draws from a separate key, so its factors do not
      depend on the other targets.

  Raises:
    ValueError: A target is unknown, or an array is not a matrix or too small.
  """
  chosen = set(target_names(array_names(params), config.targets))
  factors = {}
  for path, variable in nnx.to_flat_state(params):
    name = ".".join(map(str, path))
    if name not in chosen:
      continue
    array = jnp.asarray(variable.get_value(), jnp.float32)
    if array.ndim != 2 or config.rank > min(array.shape):
      raise ValueError(
        f"rank must be at most {min(array.shape)}, the smaller side of {name},"
        f" got {config.rank}."
      )
    inputs, outputs = array.shape
    spread = jnp.sqrt(jnp.mean(jnp.square(array)))
    array_key = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
    factors[name] = LowRank(
      spread * jax.random.normal(array_key, (inputs, config.rank), jnp.float32),
      jnp.zeros((config.rank, outputs), jnp.float32),
    )
  return factors


def drop_inputs(factors: Factors, key: jax.Array, rate: float) -> Factors:
  """Drops rows of each A; the others grow to keep the mean."""
  if not rate:
    return factors
  dropped = {}
  for index, (name, pair) in enumerate(sorted(factors.items())):
    drop_key = jax.random.fold_in(key, index)
    kept = jax.random.bernoulli(drop_key, 1 - rate, (pair.a.shape[0], 1))
    dropped[name] = LowRank(pair.a * kept / (1 - rate), pair.b)
  return dropped


def low_rank_delta(pair: LowRank, scale: float | jax.Array) -> jax.Array:
  """The change of an array, in float32 on every device."""
  product = jnp.matmul(
    jnp.asarray(pair.a, jnp.float32),
    jnp.asarray(pair.b, jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
  return scale * product


def merge_factors(
  params: nnx.State,
  adapters: Sequence[tuple[Mapping[str, LowRank], float | jax.Array]],
) -> nnx.State:
  """Adds the changes of all adapters to the parameters.

  Args:
    params: Parameters of the base, not modified; may be traced or quantized.
    adapters: Factors and scale of each adapter; changes are summed.

  Raises:
    ValueError: An adapter has an array that the model lacks, or an array of
      another shape.
  """
  return _added(params, adapters, low_rank_delta)


@jax.custom_vjp
def _adapted_product(
  x: jax.Array, kernel: jax.Array, a: jax.Array, b: jax.Array
) -> jax.Array:
  """`x @ kernel`, where `kernel` is the sum of a base and `a @ b`."""
  return jnp.dot(x, kernel.astype(x.dtype))


def _product_forward(
  x: jax.Array, kernel: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  return _adapted_product(x, kernel, a, b), (x, kernel, a, b)


def _product_backward(
  kept: tuple[jax.Array, ...], slope: jax.Array
) -> tuple[jax.Array | None, ...]:
  x, kernel, a, b = kept
  to_x = jnp.dot(slope, kernel.astype(x.dtype).T)
  rows, slopes = (
    y.reshape(-1, y.shape[-1]).astype(jnp.float32) for y in (x, slope)
  )
  # Narrow products first: the gradient of the kernel, `rows.T @ slopes`, is not
  # computed.
  to_a = rows.T @ (slopes @ b.T)
  to_b = (rows @ a).T @ slopes
  return to_x, None, to_a, to_b


_adapted_product.defvjp(_product_forward, _product_backward)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["base", "adapters"],
  meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class _Adapted(KernelProxy):
  """A matrix with factors that are added when it is read."""

  base: Any  # an array, or KernelProxy
  adapters: Any  # pairs of factors and scales

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the matrix."""
    return self.base.shape

  def as_float32(self) -> jax.Array:
    """The sum in float32."""
    wide = self.base[...].astype(jnp.float32)
    return wide + sum(low_rank_delta(*adapter) for adapter in self.adapters)

  def product(self, x: jax.Array) -> jax.Array:
    """Multiplies by the sum; only the factors get gradients."""
    a = jnp.concatenate([scale * pair.a for pair, scale in self.adapters], 1)
    b = jnp.concatenate([pair.b for pair, _ in self.adapters])
    # Bit for bit the sum of `merge_factors`.
    kernel = jax.lax.stop_gradient(self.as_float32())
    if not isinstance(self.base, KernelProxy):
      kernel = kernel.astype(self.base.dtype)
    return _adapted_product(x, kernel, a, b)


def adapt(
  params: nnx.State, factors: Mapping[str, LowRank], scale: float | jax.Array
) -> nnx.State:
  """`merge_factors` for a training step: only factors get gradients.

  Kernels of layers are replaced by proxies whose product is bit for bit that of
  the sum.

  Args:
    params: Parameters of the base; may be traced or quantized.
    factors: The trained factors.
    scale: Scale of the factors.

  Raises:
    ValueError: See `merge_factors`.
  """
  in_layers = {name for name in factors if _LAYER.fullmatch(name)}
  others = {name: factors[name] for name in factors.keys() - in_layers}
  merged = merge_factors(params, [(others, scale)])
  layer_factors = {name: factors[name] for name in in_layers}
  _check_sides(merged, layer_factors)
  adapted = []
  for path, variable in nnx.to_flat_state(merged):
    name = ".".join(map(str, path))
    if name in layer_factors:
      proxy = _Adapted(variable.get_value(), [(layer_factors[name], scale)])
      variable = variable.replace(proxy)
    adapted.append((path, variable))
  return nnx.from_flat_state(adapted)


def merge_on_host(
  params: nnx.State, adapters: Sequence[tuple[Mapping[str, LowRank], float]]
) -> nnx.State:
  """`merge_factors` with NumPy: compiles nothing for new shapes.

  Used to change adapters while music plays.
  """

  def delta(pair: LowRank, scale: float) -> np.ndarray:
    a, b = (np.asarray(x, np.float32) for x in pair)
    return np.float32(scale) * (a @ b)

  return _added(params, adapters, delta)


def _added(
  params: nnx.State,
  adapters: Sequence[tuple[Mapping[str, LowRank], Any]],
  delta: Callable[[LowRank, Any], Any],
) -> nnx.State:
  for factors, _ in adapters:
    _check_sides(params, factors)
  merged = []
  for path, variable in nnx.to_flat_state(params):
    name = ".".join(map(str, path))
    pairs = [(f[name], scale) for f, scale in adapters if name in f]
    if pairs:
      value = variable.get_value()
      if isinstance(value, KernelProxy):
        merged.append((path, variable.replace(_Adapted(value, pairs))))
        continue
      total = sum(delta(pair, scale) for pair, scale in pairs)
      if isinstance(total, np.ndarray):
        wide = np.asarray(value).astype(np.float32) + total
        value = jax.device_put(wide.astype(value.dtype))
      else:
        value = (value.astype(jnp.float32) + total).astype(value.dtype)
      variable = variable.replace(value)
    merged.append((path, variable))
  return nnx.from_flat_state(merged)


def _check_sides(params: nnx.State, factors: Mapping[str, LowRank]) -> None:
  """Checks that the model has the arrays of the factors, in the same shape."""
  shapes = array_names(params)
  for name, (a, b) in factors.items():
    sides = (a.shape[0], b.shape[1])
    if shapes.get(name) != sides or a.shape[1] != b.shape[0]:
      raise ValueError(
        f"the adapter changes {name} of {sides}, the model has"
        f" {shapes.get(name, 'none')}."
      )


def parameter_count(factors: Mapping[str, LowRank]) -> int:
  """Number of parameters in all factors."""
  return sum(int(np.prod(x.shape)) for pair in factors.values() for x in pair)
