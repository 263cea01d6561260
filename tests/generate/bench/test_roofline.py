"""Minimum work of a chunk, counted from shapes, against real arrays."""

import jax
import numpy as np
import pytest
from flax import nnx

from magenta_midi.generate.bench.roofline import (
  Rates,
  Yardstick,
  chunk_work,
  time_in_turns,
)
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.testing.original import ORIGINAL_CONFIGS


def stage_parameters(config, stage):
  """Parameters of the dense layers that a decode step of a stage reads."""
  model = nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))
  total = 0
  for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
    name = ".".join(map(str, path))
    projected = (
      "encoder_decoder_attention.key",
      "encoder_decoder_attention.value",
    )
    if "kernel" not in name or any(part in name for part in projected):
      continue
    if name.startswith(stage):
      total += variable.size
  return total


OURS = preset(
  "tiny",
  level_sizes=(40, 20, 8, 12),
  reserved=8,
  depth_dim=16,
  depth_heads=1,
  depth_mlp_dim=24,
)


@pytest.mark.parametrize("config", [ORIGINAL_CONFIGS["A"], OURS])
def test_bytes_are_those_of_the_weights(config):
  # No context and no frames: no caches.
  slots = config.style_slots * config.num_heads * config.head_dim * 2
  work = chunk_work(config, context=0, frames=0)
  temporal = stage_parameters(config, ("temporal_layers", "time_projection"))
  temporal += config.temporal_layers * slots
  assert work.stage_bytes["temporal"] == 4 * temporal
  depth = stage_parameters(config, ("depth_layers", "depth_projection"))
  assert work.stage_bytes["depth"] == 4 * depth * config.levels
  columns = sum(stop - start for start, stop in config.columns)
  assert work.stage_bytes["head"] == 4 * config.depth_width * columns


def test_encoder_operations_are_those_xla_counts():
  config = ORIGINAL_CONFIGS["A"]
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  from magenta_midi.model.depthformer import Frames

  tokens = np.ones((2, 64, 1), np.int32)
  context = Frames(tokens, tokens[..., 0], tokens[..., 0])
  graph, state = nnx.split(model)
  compiled = (
    jax.jit(lambda state, context: nnx.merge(graph, state).encode(context))
    .lower(state, context)
    .compile()
  )
  counted = compiled.cost_analysis()["flops"]
  counted_here = chunk_work(config, context=64, frames=1, rows=2).encoder_flops
  # XLA counts norms, softmax and gates too.
  assert counted_here <= counted <= 1.3 * counted_here


def test_guidance_reads_weights_once_and_caches_twice():
  one = chunk_work(OURS, context=100, frames=20)
  two = chunk_work(OURS, context=100, frames=20, rows=2, encoder_rows=1)
  assert two.encoder_flops == one.encoder_flops
  assert two.stage_bytes["depth"] == one.stage_bytes["depth"]
  blank = chunk_work(OURS, context=0, frames=0)
  slots = OURS.style_slots * OURS.num_heads * OURS.head_dim * 2 * 4
  weights = blank.stage_bytes["temporal"] - OURS.temporal_layers * slots
  cached = one.stage_bytes["temporal"] - weights
  assert two.stage_bytes["temporal"] == weights + 2 * cached


def test_rates_give_times():
  work = chunk_work(OURS, context=100, frames=20)
  rates = Rates(bytes_per_s=1e9, flops_per_s=1e9)
  assert rates.frame_ms(work) == pytest.approx(work.frame_bytes / 1e6)
  stages = rates.stages_ms(work)
  assert set(stages) == {"encoder", "memory", "temporal", "depth", "head"}
  assert rates.chunk_ms(work) == pytest.approx(sum(stages.values()))


def test_a_yardstick_takes_turns():
  yardstick = Yardstick(1e6)
  order = []
  calls = {
    "mine": lambda: order.append("mine"),
    "other": lambda: order.append("other"),
    **yardstick.calls,
  }
  times = time_in_turns(calls, 4)
  assert order == ["mine", "other"] * 5  # once to warm up
  assert all(len(array) == 4 and (array > 0).all() for array in times.values())
  rates = yardstick.rates(times)
  assert rates.bytes_per_s > 1e8
  assert rates.flops_per_s > 1e8
  # Twice the time is half the rate.
  slower = {name: 2 * array for name, array in times.items()}
  halved = yardstick.rates(slower)
  assert halved.bytes_per_s == pytest.approx(rates.bytes_per_s / 2)
  assert halved.flops_per_s == pytest.approx(rates.flops_per_s / 2)
