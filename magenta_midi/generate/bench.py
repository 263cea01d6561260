"""How fast a model decodes here, against what the hardware allows."""

import dataclasses
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from magenta_midi.generate.roofline import (
  Rates,
  Work,
  chunk_work,
  measure_rates,
)
from magenta_midi.generate.sampling import Sampling, draw, level_sampling
from magenta_midi.generate.stages import stage_ms
from magenta_midi.generate.streaming import GenerationState, Generator
from magenta_midi.model.depthformer import Frames

__all__ = ["Timings", "bench", "figures", "machine", "timed_ms"]


@dataclasses.dataclass(frozen=True)
class Timings:
  """Times of whole chunks and of their first frames, ms."""

  chunk_ms: np.ndarray
  first_ms: np.ndarray
  encoder_ms: np.ndarray
  frames: int

  @property
  def frame_ms(self) -> np.ndarray:
    """Mean time of the frames after the first, a value for each chunk."""
    later = max(1, self.frames - 1)
    return (self.chunk_ms - np.median(self.first_ms)) / later

  @property
  def best_frame_ms(self) -> float:
    """The same from the best chunk and the best first frame."""
    later = max(1, self.frames - 1)
    return float(self.chunk_ms.min() - self.first_ms.min()) / later


def timed_ms(call: Callable[[], Any], repeats: int) -> np.ndarray:
  """Wall times of repeated calls, ms; the call is compiled already."""
  times = np.zeros(repeats)
  for index in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(call())
    times[index] = time.perf_counter() - started
  return times * 1000


def _spread(times: np.ndarray) -> dict[str, float]:
  return dict(
    p50=float(np.percentile(times, 50)),
    p99=float(np.percentile(times, 99)),
    best=float(np.min(times)),
  )


def figures(
  timings: Timings, work: Work, rates: Rates, *, chunk_s: float, levels: int
) -> dict[str, Any]:
  """What `magenta-midi bench --json` prints for one way of decoding.

  Args:
    timings: Measured.
    work: What a chunk must do.
    rates: What the machine gives.
    chunk_s: Music in a chunk, s.
    levels: Tokens of a frame.
  """
  chunk_ms = float(np.median(timings.chunk_ms))
  return dict(
    rtf=chunk_s * 1000 / chunk_ms,
    chunk_ms=_spread(timings.chunk_ms),
    first_note_ms=_spread(timings.first_ms),
    event_ms=_spread(timings.frame_ms),
    encoder_ms=float(np.median(timings.encoder_ms)),
    tokens_per_s=timings.frames * levels / (chunk_ms / 1000),
    # The best against the best: what else the machine does slows both.
    roofline_fraction=rates.chunk_ms(work) / float(timings.chunk_ms.min()),
    event_roofline_fraction=rates.frame_ms(work) / timings.best_frame_ms,
    event_bytes=work.frame_bytes,
    encoder_flops=work.encoder_flops,
  )


def machine(rates: Rates) -> dict[str, Any]:
  """What a run's figures are held against."""
  return dict(
    bandwidth_gb_per_s=rates.bytes_per_s / 1e9,
    throughput_gflop_per_s=rates.flops_per_s / 1e9,
    peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    device=jax.devices()[0].device_kind,
  )


def bench(
  generator: Generator,
  state: GenerationState,
  *,
  events: int = 25,
  guidance: float = 0.0,
  repeats: int = 150,
  stages: bool = False,
) -> dict[str, Any]:
  """Times a chunk of a forced number of events.

  Args:
    generator: Model and codec.
    state: With a real context.
    events: Events forced in each chunk.
    guidance: Not 0 decodes a second row along.
    repeats: Chunks timed.
    stages: Whether each stage is timed on its own as well.

  Returns:
    What `magenta-midi bench --json` prints. `guided_event_ms` is an event's
    time with the second row that any guidance but 0 costs.
  """
  codec, config = generator.codec, generator.config
  one = generator.request(state, limit=1)
  context = Frames(one.context_ids, one.context_time, one.context_part)
  positions = context.ids.shape[1]
  encode = _compiled_encoder(generator)

  def timings(guided: bool, repeats: int) -> Timings:
    def run(count: int) -> Callable[[], Any]:
      # The request is part of the answer's time: the context is encoded anew.
      return lambda: generator.decode(
        generator.request(
          state, guidance=guidance or 1.0, limit=count, forced=count
        ),
        guided=guided,
      )

    jax.block_until_ready(run(events)())
    jax.block_until_ready(encode(context))
    return Timings(
      timed_ms(run(events), repeats),
      timed_ms(run(1), repeats),
      timed_ms(lambda: encode(context), repeats),
      events,
    )

  def work(guided: bool) -> Work:
    return chunk_work(
      config,
      context=positions,
      frames=events,
      rows=2 if guided else 1,
      # The style lies in memory slots: the context is encoded once.
      encoder_rows=1,
    )

  guided = guidance != 0.0
  rates = measure_rates(work(guided).frame_bytes)
  levels = codec.vocabulary.levels
  facts = figures(
    timings(guided, repeats),
    work(guided),
    rates,
    chunk_s=codec.config.chunk_s,
    levels=levels,
  )
  other = timings(not guided, max(2, repeats // 5))
  medians = {
    guided: facts["event_ms"]["p50"],
    not guided: float(np.median(other.frame_ms)),
  }
  facts |= dict(
    guided_event_ms=medians[True],
    guidance_cost=medians[True] / medians[False],
    events=events,
    guidance=guidance,
    **machine(rates),
  )
  if stages:
    sampling = level_sampling(Sampling(), levels)

    def draw_level(logits: jax.Array, level: int, key: jax.Array) -> jax.Array:
      settings = (field[level] for field in sampling)
      return draw(key, logits[0], logits[0] > -1.0, *settings)

    facts["stages_ms"] = stage_ms(
      generator.model,
      context,
      frames=events,
      slots=generator.chunk_frames,
      rows=2 if guided else 1,
      draw=draw_level,
    )
    facts["stages_floor_ms"] = rates.stages_ms(work(guided))
  return facts


def _compiled_encoder(generator: Generator) -> Callable[[Frames], Any]:
  graph, params, rest = nnx.split(generator.model, nnx.Param, ...)

  @jax.jit
  def run(params: Any, context: Frames) -> Any:
    return nnx.merge(graph, params, rest).encode(context)

  return lambda context: run(params, context)
