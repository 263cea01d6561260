"""How fast a model decodes here, against what the hardware allows."""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from magenta_midi.generate.streaming import (
  CONTEXT_FRAMES,
  GenerationState,
  Generator,
)
from magenta_midi.model.depthformer import Frames

__all__ = ["bench", "memory_bandwidth", "weight_bytes_per_event"]


def weight_bytes_per_event(generator: Generator) -> int:
  """Bytes of weights and attended keys and values one event must read."""
  config = generator.config
  flat = nnx.to_flat_state(nnx.state(generator.model, nnx.Param))
  total = 0
  for path, variable in flat:
    name = ".".join(map(str, path))
    size = variable.size * 4
    if name.startswith("temporal_layers"):
      # Keys and values of the memory are projected once a chunk.
      once = "encoder_decoder_attention.key", "encoder_decoder_attention.value"
      total += 0 if any(part in name for part in once) else size
    elif name.startswith("depth_layers") or name.startswith("depth_projection"):
      total += size * config.levels
    elif name.startswith("time_projection"):
      total += size
    elif name.startswith("logits_dense"):
      columns = sum(stop - start for start, stop in config.columns)
      total += config.depth_width * columns * 4
  attended = CONTEXT_FRAMES + config.style_slots
  heads = config.num_heads * config.head_dim
  return total + config.temporal_layers * attended * heads * 2 * 4


def memory_bandwidth() -> float:
  """Bytes a second that matrix-vector products read here (NumPy, float32)."""
  matrices = [np.ones((512, 512), np.float32) for _ in range(64)]
  vector = np.ones(512, np.float32)
  best = float("inf")
  for _ in range(20):
    started = time.perf_counter()
    for matrix in matrices:
      np.dot(matrix, vector)
    best = min(best, time.perf_counter() - started)
  return 64 * 512 * 512 * 4 / best


def _timed(call: Callable[[], Any], repeats: int) -> np.ndarray:
  times = np.zeros(repeats)
  for index in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(call())
    times[index] = time.perf_counter() - started
  return times * 1000


def bench(
  generator: Generator,
  state: GenerationState,
  *,
  events: int = 25,
  guidance: float = 0.0,
  repeats: int = 30,
) -> dict[str, Any]:
  """Times a chunk of a forced number of events.

  Args:
    generator: Model and codec.
    state: With a real context.
    events: Events forced in each 2 s.
    guidance: Not 0 decodes a second row along.
    repeats: Chunks timed.

  Returns:
    What `magenta-midi bench --json` prints.
  """
  guided = guidance != 0.0

  def request(count: int) -> Any:
    return generator.request(
      state, guidance=guidance, limit=count, forced=count
    )

  many, one = request(events), request(1)
  for warm in (many, one):
    jax.block_until_ready(generator.decode(warm, guided=guided))
  chunk_ms = _timed(lambda: generator.decode(many, guided=guided), repeats)
  first_ms = _timed(
    lambda: generator.decode(request(1), guided=guided), repeats
  )
  event_ms = (chunk_ms - np.median(first_ms)) / max(1, events - 1)
  encode = _encoder(generator)
  encode(one)
  encoder_ms = _timed(lambda: encode(one), repeats)
  chunk_s = generator.codec.config.chunk_s
  floor_ms = weight_bytes_per_event(generator) / memory_bandwidth() * 1000
  median = float(np.median(event_ms))
  levels = generator.codec.vocabulary.levels

  def spread(times: np.ndarray) -> dict[str, float]:
    return dict(
      p50=float(np.percentile(times, 50)), p99=float(np.percentile(times, 99))
    )

  return dict(
    rtf=chunk_s * 1000 / float(np.median(chunk_ms)),
    first_note_ms=spread(first_ms),
    event_ms=spread(event_ms),
    encoder_ms=float(np.median(encoder_ms)),
    tokens_per_s=events * levels / (float(np.median(chunk_ms)) / 1000),
    peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    roofline_fraction=floor_ms / max(1e-9, median),
    event_bytes=weight_bytes_per_event(generator),
    events=events,
    guidance=guidance,
    device=jax.devices()[0].device_kind,
  )


def _encoder(generator: Generator) -> Callable[[Any], Any]:
  """The encoder alone, compiled."""
  graph, params, rest = nnx.split(generator.model, nnx.Param, ...)

  @jax.jit
  def run(params: Any, context: Frames) -> Any:
    return nnx.merge(graph, params, rest).encode(context)

  return lambda request: run(
    params,
    Frames(request.context_ids, request.context_time, request.context_part),
  )
