"""What decoding must at least move and compute, and what this machine gives.

A decode step reads its weights and caches once and does little else, so bytes
over bandwidth bound it from below; the encoder works on whole matrices, so
operations over throughput bound that. Both rates are measured here, in the
same run as what they are held against.
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

__all__ = ["Rates", "Work", "Yardstick", "best_of", "chunk_work", "in_turns"]

# Sides of the matrices that bandwidth and throughput are measured with, and
# how often bandwidth's are read in a turn.
SIDE = 512
SQUARE = 1536
PASSES = 8


@dataclasses.dataclass(frozen=True)
class Work:
  """What one chunk asks of the machine.

  Attributes:
    encoder_flops: Of the encoder.
    memory_flops: Of the projection of its output to keys and values.
    stage_bytes: Bytes of weights and caches that each stage reads for one
      frame: temporal, depth, head.
    frames: Frames decoded.
  """

  encoder_flops: float
  memory_flops: float
  stage_bytes: dict[str, float]
  frames: int

  @property
  def frame_bytes(self) -> float:
    """Bytes one frame reads."""
    return sum(self.stage_bytes.values())


@dataclasses.dataclass(frozen=True)
class Rates:
  """What the machine gives.

  Attributes:
    bytes_per_s: Of weights, read once each by matrix-vector products.
    flops_per_s: Of float32 matrix products.
  """

  bytes_per_s: float
  flops_per_s: float

  def frame_ms(self, work: Work) -> float:
    """The least time of one frame."""
    return work.frame_bytes / self.bytes_per_s * 1000

  def stages_ms(self, work: Work) -> dict[str, float]:
    """The least time of each stage of a chunk; drawing codes counts none."""
    return dict(
      encoder=work.encoder_flops / self.flops_per_s * 1000,
      memory=work.memory_flops / self.flops_per_s * 1000,
      **{
        name: size * work.frames / self.bytes_per_s * 1000
        for name, size in work.stage_bytes.items()
      },
    )

  def chunk_ms(self, work: Work) -> float:
    """The least time of a chunk."""
    return sum(self.stages_ms(work).values())


def chunk_work(
  config: DepthformerConfig,
  *,
  context: int,
  frames: int,
  rows: int = 1,
  encoder_rows: int | None = None,
) -> Work:
  """The work of a chunk.

  Args:
    config: The model's shape.
    context: Encoder positions, style slots left out.
    frames: Frames decoded.
    rows: Rows decoded together: 2 with guidance.
    encoder_rows: Rows that the encoder runs for; None: as many.
  """
  encoder_rows = rows if encoder_rows is None else encoder_rows
  item = jnp.dtype(config.dtype).itemsize
  width, hidden = config.embed_dim, config.mlp_dim
  joined = config.num_heads * config.head_dim
  positions = encoder_rows * context
  encoder_layer = 4 * width * joined + 3 * width * hidden
  encoder = config.encoder_layers * (
    2 * encoder_layer * positions
    # Logits and weighted sums of the attention.
    + 4 * context * joined * positions
  )
  slots = context + config.style_slots
  projected = 2 * width * joined * 2 * rows * slots
  # Keys and values of the memory are projected once a chunk.
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
      # The head computes in float32 whatever the activations are.
      head=float(config.depth_width * columns * 4),
    ),
    frames=frames,
  )


def best_of(call: Callable[[], Any], repeats: int) -> float:
  """The shortest of several runs, s."""
  best = float("inf")
  jax.block_until_ready(call())
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(call())
    best = min(best, time.perf_counter() - started)
  return best


def in_turns(
  calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, Float[np.ndarray, " n"]]:
  """Wall times of several calls that take turns, ms.

  What else the machine does so slows all of them alike, and their ratios
  keep their meaning.

  Args:
    calls: By name; each is called once before, to compile and to warm up.
    repeats: Turns.
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
  """Work whose speed is what this machine gives; to take turns with others.

  Args:
    footprint_bytes: What a frame reads: bandwidth is measured over as much,
      so that caches help the yardstick as much as they help decoding.
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

    # One after the other, as frames are: the first pass finds the caches
    # full of other things, the rest do not.
    self.calls: dict[str, Callable[[], Any]] = {
      "read": lambda: [chain(matrices, vector) for _ in range(PASSES)],
      "multiply": lambda: product(square),
    }
    if jax.default_backend() == "cpu":
      self.calls["read by NumPy"] = numpy_chain

  def rates(self, times: Mapping[str, Float[np.ndarray, " n"]]) -> Rates:
    """What the machine gave; the better of XLA's and NumPy's reading counts.

    Args:
      times: Of `in_turns`, ms.
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
