"""Roofline model of decoding: minimum work, and rates of this machine.

A decode step reads its weights and caches once and computes little, so bytes
divided by bandwidth is its lower bound. The encoder multiplies whole matrices,
so operations divided by throughput is its lower bound. Both rates are measured
in the same run as the times that they are compared with.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.model.config import DepthformerConfig
from magenta_midi.typing import Float

__all__ = [
  "Rates",
  "Work",
  "Yardstick",
  "best_of",
  "chunk_work",
  "time_in_turns",
]

# Sides of the matrices for bandwidth and throughput, and how often a turn reads
# the matrices for bandwidth.
SIDE = 512
SQUARE = 1536
PASSES = 8


@dataclasses.dataclass(frozen=True)
class Work:
  """Work of one chunk.

  Attributes:
    encoder_flops: Operations of the encoder.
    memory_flops: Operations of projecting its output to keys and values.
    stage_bytes: Bytes of weights and caches that each stage (temporal, depth,
      head) reads for one frame.
    frames: Number of decoded frames.
  """

  encoder_flops: float
  memory_flops: float
  stage_bytes: dict[str, float]
  frames: int

  @property
  def frame_bytes(self) -> float:
    """Bytes read for one frame."""
    return sum(self.stage_bytes.values())


@dataclasses.dataclass(frozen=True)
class Rates:
  """Rates of the machine.

  Attributes:
    bytes_per_s: Bandwidth of reading weights in matrix-vector products.
    flops_per_s: Throughput of float32 matrix products.
  """

  bytes_per_s: float
  flops_per_s: float

  def frame_ms(self, work: Work) -> float:
    """Lower bound of the time of one frame."""
    return work.frame_bytes / self.bytes_per_s * 1000

  def stages_ms(self, work: Work) -> dict[str, float]:
    """Lower bound of each stage of a chunk; drawing counts as 0."""
    return dict(
      encoder=work.encoder_flops / self.flops_per_s * 1000,
      memory=work.memory_flops / self.flops_per_s * 1000,
      **{
        name: size * work.frames / self.bytes_per_s * 1000
        for name, size in work.stage_bytes.items()
      },
    )

  def chunk_ms(self, work: Work) -> float:
    """Lower bound of the time of a chunk."""
    return sum(self.stages_ms(work).values())


def chunk_work(
  config: DepthformerConfig,
  *,
  context: int,
  frames: int,
  rows: int = 1,
  encoder_rows: int | None = None,
) -> Work:
  """Computes the work of a chunk.

  Args:
    config: Configuration of the model.
    context: Number of encoder positions, without style slots.
    frames: Number of decoded frames.
    rows: Number of rows decoded together: 2 with guidance.
    encoder_rows: Number of rows in the encoder; None: `rows`.
  """
  encoder_rows = rows if encoder_rows is None else encoder_rows
  item = jnp.dtype(config.dtype).itemsize
  width, hidden = config.embed_dim, config.mlp_dim
  joined = config.num_heads * config.head_dim
  positions = encoder_rows * context
  encoder_layer = 4 * width * joined + 3 * width * hidden
  encoder = config.encoder_layers * (
    2 * encoder_layer * positions
    # Logits and weighted sums of attention.
    + 4 * context * joined * positions
  )
  slots = context + config.style_slots
  projected = 2 * width * joined * 2 * rows * slots
  # Keys and values of the memory are projected once in a chunk.
  temporal_layer = 6 * width * joined + 3 * width * hidden
  # A cache is half full on average.
  cached = (slots + frames / 2) * joined * 2 * rows
  temporal = config.temporal_layers * (temporal_layer + cached)
  if config.time_features:
    temporal += width * width
  depth_joined = config.depth_num_heads * config.head_dim
  depth = config.depth_layers * (
    4 * config.depth_width * depth_joined
    + 3 * config.depth_width * config.depth_mlp_width
  )
  if config.depth_width != width:
    depth += width * config.depth_width
  columns = sum(stop - start for start, stop in config.columns)
  return Work(
    encoder_flops=float(encoder),
    memory_flops=float(config.temporal_layers * projected),
    stage_bytes=dict(
      temporal=float(temporal * item),
      depth=float(depth * config.levels * item),
      # The head always computes in float32.
      head=float(config.depth_width * columns * 4),
    ),
    frames=frames,
  )


def best_of(call: Callable[[], Any], repeats: int) -> float:
  """The shortest time of several runs, in seconds."""
  best = float("inf")
  jax.block_until_ready(call())
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(call())
    best = min(best, time.perf_counter() - started)
  return best


def time_in_turns(
  calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, Float[np.ndarray, " n"]]:
  """Wall times in ms of several calls that take turns.

  Other work of the machine then slows all of them equally, so their ratios stay
  valid.

  Args:
    calls: Calls by name; each runs once before, to compile and warm up.
    repeats: Number of turns.
  """
  times = {name: np.zeros(repeats) for name in calls}
  for call in calls.values():
    jax.block_until_ready(call())
  for turn in range(repeats):
    for name, call in calls.items():
      started = time.perf_counter()
      jax.block_until_ready(call())
      times[name][turn] = (time.perf_counter() - started) * 1000
  return times


class Yardstick:
  """Reference work that measures the rates of this machine.

  Args:
    footprint_bytes: Bytes that a frame reads. Bandwidth is measured over the
      same size, so that caches help the yardstick as much as decoding.
  """

  def __init__(self, footprint_bytes: float):
    self._count = max(4, round(footprint_bytes / (SIDE * SIDE * 4)))
    matrices = [jnp.full((SIDE, SIDE), 1 / SIDE) for _ in range(self._count)]
    vector = jnp.ones((1, SIDE), jnp.float32)

    @jax.jit
    def chain(matrices: list[jax.Array], vector: jax.Array) -> jax.Array:
      for matrix in matrices:
        vector = vector @ matrix
      return vector

    plain = [np.asarray(matrix) for matrix in matrices]
    column = np.ones(SIDE, np.float32)
    square = jnp.ones((SQUARE, SQUARE), jnp.float32)
    product = jax.jit(lambda x: x @ x)

    def numpy_chain() -> None:
      for _ in range(PASSES):
        for matrix in plain:
          np.dot(matrix, column)

    # Several passes, as for frames: only the first pass finds other data in the
    # caches.
    self.calls: dict[str, Callable[[], Any]] = {
      "read": lambda: [chain(matrices, vector) for _ in range(PASSES)],
      "multiply": lambda: product(square),
    }
    if jax.default_backend() == "cpu":
      self.calls["read by NumPy"] = numpy_chain

  def rates(self, times: Mapping[str, Float[np.ndarray, " n"]]) -> Rates:
    """The measured rates; the faster reading of XLA and NumPy counts.

    Args:
      times: Times from `time_in_turns`, in ms.
    """
    read_ms = min(
      float(np.median(times[name]))
      for name in self.calls
      if name.startswith("read")
    )
    read_bytes = PASSES * self._count * SIDE * SIDE * 4
    return Rates(
      bytes_per_s=read_bytes / read_ms * 1000,
      flops_per_s=2 * SQUARE**3 / float(np.median(times["multiply"])) * 1000,
    )
