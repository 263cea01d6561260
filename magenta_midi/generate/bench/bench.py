"""Benchmark of decoding against the limits of the hardware."""

import resource
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from magenta_midi.generate.bench.roofline import (
  Work,
  Yardstick,
  chunk_work,
  time_in_turns,
)
from magenta_midi.generate.bench.stages import stage_ms
from magenta_midi.generate.generator import GenerationState, Generator
from magenta_midi.generate.sampling import Sampling, draw, level_sampling
from magenta_midi.model.depthformer import Frames
from magenta_midi.typing import Float

__all__ = ["bench", "figures", "machine"]


def _spread(times: np.ndarray) -> dict[str, float]:
  return dict(
    p50=float(np.percentile(times, 50)),
    p99=float(np.percentile(times, 99)),
  )


def figures(
  times: Mapping[str, Float[np.ndarray, " n"]],
  work: Work,
  yardstick: Yardstick,
  *,
  chunk_s: float,
  levels: int,
) -> dict[str, Any]:
  """The figures of `magenta-midi bench --json` for one kind of decoding.

  Args:
    times: From `time_in_turns`, in ms: "chunk", "first" (a chunk of one frame),
      "encoder", and those of the yardstick.
    work: Work of a chunk.
    yardstick: The yardstick that was timed in the same turns.
    chunk_s: Length of a chunk in seconds.
    levels: Number of tokens in a frame.
  """
  rates = yardstick.rates(times)
  chunk_ms = float(np.median(times["chunk"]))
  first_ms = float(np.median(times["first"]))
  frame_ms = (times["chunk"] - first_ms) / max(1, work.frames - 1)
  return dict(
    rtf=chunk_s * 1000 / chunk_ms,
    chunk_ms=_spread(times["chunk"]),
    first_note_ms=_spread(times["first"]),
    event_ms=_spread(frame_ms),
    encoder_ms=float(np.median(times["encoder"])),
    tokens_per_s=work.frames * levels / (chunk_ms / 1000),
    roofline_fraction=rates.chunk_ms(work) / chunk_ms,
    event_roofline_fraction=rates.frame_ms(work) / float(np.median(frame_ms)),
    floor_ms=rates.chunk_ms(work),
    stages_floor_ms=rates.stages_ms(work),
    event_bytes=work.frame_bytes,
    encoder_flops=work.encoder_flops,
    bandwidth_gb_per_s=rates.bytes_per_s / 1e9,
    throughput_gflop_per_s=rates.flops_per_s / 1e9,
  )


def machine() -> dict[str, Any]:
  """Facts about the machine and versions, to print with figures."""
  return dict(
    peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    device=jax.devices()[0].device_kind,
  )


def bench(
  generator: Generator,
  state: GenerationState,
  *,
  events: int = 25,
  guidance: float = 0.0,
  repeats: int = 120,
  stages: bool = False,
) -> dict[str, Any]:
  """Times a chunk with a fixed number of events.

  Args:
    generator: Model and codec.
    state: A state with a real context.
    events: Number of events in each chunk.
    guidance: If not 0, a second row is decoded.
    repeats: Number of timed chunks.
    stages: Whether each stage is also timed separately.

  Returns:
    The figures of `magenta-midi bench --json`. `guided_event_ms` is the time of
    an event with the second row that guidance needs.
  """
  codec, config = generator.codec, generator.config
  one = generator.request(state, limit=1)
  context = Frames(one.context_ids, one.context_time, one.context_part)
  positions = context.ids.shape[1]
  encode = _compiled_encoder(generator)

  def chunk(count: int, guided: bool) -> Callable[[], Any]:
    # The time includes making the request.
    return lambda: generator.decode(
      generator.request(
        state, guidance=guidance or 1.0, limit=count, forced=count
      ),
      guided=guided,
    )

  guided = guidance != 0.0
  # The style is in memory slots, so the context is encoded once.
  work = chunk_work(
    config,
    context=positions,
    frames=events,
    rows=2 if guided else 1,
    encoder_rows=1,
  )
  yardstick = Yardstick(work.frame_bytes)
  calls = {
    "chunk": chunk(events, guided),
    "first": chunk(1, guided),
    "other": chunk(events, not guided),
    "other first": chunk(1, not guided),
    "encoder": lambda: encode(context),
    **yardstick.calls,
  }
  times = time_in_turns(calls, repeats)
  levels = codec.vocabulary.levels
  facts = figures(
    times, work, yardstick, chunk_s=codec.config.chunk_s, levels=levels
  )
  other_ms = (times["other"] - np.median(times["other first"])) / (events - 1)
  event_ms = {guided: facts["event_ms"]["p50"]}
  event_ms[not guided] = float(np.median(other_ms))
  facts |= dict(
    guided_event_ms=event_ms[True],
    guidance_cost=event_ms[True] / event_ms[False],
    events=events,
    guidance=guidance,
    context_positions=positions,
    **machine(),
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
  return facts


def _compiled_encoder(generator: Generator) -> Callable[[Frames], Any]:
  graph, params, rest = nnx.split(generator.model, nnx.Param, ...)

  @jax.jit
  def run(params: Any, context: Frames) -> Any:
    return nnx.merge(graph, params, rest).encode(context)

  return lambda context: run(params, context)
