"""Cost of a training step by part, as a share of the machine's product rate.

  python -m tools.speed.training_step [--preset small] [--examples 24]

The batch is random frames of one shape. Encoder, temporal stack and depth stack
(with head and loss) are each run alone, forward and backward; the whole
gradient holds embeddings too. The rate is the best of several products of large
matrices, measured first. Times are the best of several runs: of the clock, and
of all cores together, which says more on a machine that is busy.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.limits import COUNT
from magenta_midi.model.config import PRESETS
from magenta_midi.model.depthformer import Depthformer, Frames, Memory
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.optimizers import make_optimizer
from magenta_midi.train.run_settings import TrainConfig, model_config
from tools.help_text import help_of

# Rows, inner and outer width of the products that give the rate.
PRODUCTS = ((2304, 256, 683), (2304, 683, 256), (1024, 1024, 1024))


class Cost(NamedTuple):
  """Best time of a part."""

  wall_s: float
  cores_s: float
  gflop: float  # as the compiler counts them; 0: it does not say


def cost_of(call: Callable, *inputs: Any, repeat: int) -> Cost:
  """Compiles a function and measures it."""
  compiled = jax.jit(call).lower(*inputs).compile()
  analysis = compiled.cost_analysis()
  if isinstance(analysis, list):
    analysis = analysis[0]
  gflop = float((analysis or {}).get("flops", 0.0)) / 1e9
  wall, cores = [], []
  for _ in range(repeat + 1):
    began = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(*inputs))
    wall.append(time.perf_counter() - began[0])
    cores.append(time.process_time() - began[1])
  # The first may touch memory for the first time.
  return Cost(min(wall[1:]), min(cores[1:]), gflop)


def product_rate(dtype: Any, repeat: int) -> tuple[float, float]:
  """GFLOP a second by the clock, and for each second of a core."""
  rates = []
  for rows, inner, outer in PRODUCTS:
    found = cost_of(
      jnp.dot,
      jnp.ones((rows, inner), dtype),
      jnp.ones((inner, outer), dtype),
      repeat=5 * repeat,
    )
    gflop = 2e-9 * rows * inner * outer
    rates.append((gflop / found.wall_s, gflop / found.cores_s))
  by_clock, by_core = zip(*rates, strict=True)
  return max(by_clock), max(by_core)


def random_batch(
  model: Depthformer, examples: int, context: int, targets: int
) -> Batch:
  """Frames without sense: every level is predicted in all of them."""
  rng = np.random.default_rng(0)

  def ids(frames: int) -> np.ndarray:
    levels = [
      rng.integers(start, stop, (examples, frames))
      for start, stop in model.config.columns
    ]
    return np.stack(levels, axis=-1).astype(np.int32)

  def times(frames: int) -> np.ndarray:
    drawn = rng.integers(0, 1000, (examples, frames))
    return np.sort(drawn, axis=1).astype(np.int32)

  def parts(frames: int) -> np.ndarray:
    return rng.integers(0, 2, (examples, frames)).astype(np.int32)

  found = ids(targets)
  return Batch(
    context_ids=ids(context),
    context_time=times(context),
    input_ids=ids(targets),
    input_time=times(targets),
    targets=found,
    weights=np.ones(found.shape, bool),
    context_part=parts(context),
    input_part=parts(targets),
    style=None,
  )


def parts_of(
  config: TrainConfig, examples: int, context: int, targets: int
) -> dict[str, tuple[Callable, tuple]]:
  """The functions that are measured, with their inputs."""
  shape = model_config(config, NoteCodec())
  model = Depthformer(shape, rngs=nnx.Rngs(0))
  model.train()
  batch = jax.tree.map(
    jnp.asarray, random_batch(model, examples, context, targets)
  )
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  optimizer = make_optimizer(config, shape.head_dim)
  frames = Frames(batch.context_ids, batch.context_time, batch.context_part)
  inputs = Frames(batch.input_ids, batch.input_time, batch.input_part)
  memory = model.encode(frames)
  embedded = model.embed_frames(inputs)
  causal = jnp.tril(jnp.ones((1, targets, targets), bool))

  def loss(params: Any, batch: Batch) -> jax.Array:
    total, nats = training_loss(
      nnx.merge(graph, params, rest), batch, z_loss=config.z_loss
    )
    return total / nats.frames

  def encoder(params: Any) -> jax.Array:
    return jnp.sum(jnp.square(nnx.merge(graph, params, rest).encode(frames)[0]))

  def temporal(params: Any, states: jax.Array, x: jax.Array) -> jax.Array:
    model = nnx.merge(graph, params, rest)
    out = model.temporal(
      x,
      Memory(states, *memory[1:]),
      causal,
      memory.mask[:, None, :],
      angles=model.angles(inputs),
    )
    return jnp.sum(jnp.square(out))

  def depth(params: Any, out: jax.Array) -> jax.Array:
    model = nnx.merge(graph, params, rest)
    levels = shape.levels
    mask = jnp.tril(jnp.ones((1, levels, levels), bool))
    x = model.depth(model.depth_inputs(out, batch.targets), mask)
    x = x.reshape(examples, targets, levels, -1)
    log_z = [
      jax.nn.logsumexp(model.level_logits(x[:, :, level], level), axis=-1)
      for level in range(levels)
    ]
    return jnp.sum(jnp.stack(log_z))

  grads = jax.tree.map(lambda p: 0.01 * p, params)
  state = optimizer.init(params)
  return {
    "forward": (loss, (params, batch)),
    "gradient": (jax.grad(loss), (params, batch)),
    "encoder": (jax.grad(encoder), (params,)),
    "temporal stack": (
      jax.grad(temporal, argnums=(0, 1, 2)),
      (params, memory.states, embedded),
    ),
    "depth stack, head": (
      jax.grad(depth, argnums=(0, 1)),
      (params, embedded),
    ),
    "optimizer": (optimizer.update, (grads, state, params)),
  }


@click.command(help=help_of(__doc__))
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="small")
@click.option("--examples", type=bounded(COUNT), default=24, show_default=True)
@click.option("--context", type=bounded(COUNT), default=96, show_default=True)
@click.option("--targets", type=bounded(COUNT), default=48, show_default=True)
@click.option("--optimizer", default="muon_drawn", show_default=True)
@click.option(
  "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32"
)
@click.option("--repeat", type=bounded(COUNT), default=5, show_default=True)
def main(
  preset: str,
  examples: int,
  context: int,
  targets: int,
  optimizer: Any,
  dtype: Any,
  repeat: int,
) -> None:
  """Prints a table of parts."""
  rates = {}
  for name in ("float32", "bfloat16"):
    rates[name] = product_rate(jnp.dtype(name), repeat)
    by_clock, by_core = rates[name]
    click.echo(
      f"products in {name}: {by_clock:.0f} GFLOP/s, {by_core:.0f} a core"
    )
  config = TrainConfig(
    steps=1,
    preset=preset,
    optimizer=optimizer,
    dtype=dtype,
    model=dict(rotary_time=14, rotary_key=10),
  )
  click.echo("| part | s | s of cores | GFLOP | share of the rate |")
  click.echo("|---|---:|---:|---:|---:|")
  for name, (call, inputs) in parts_of(
    config, examples, context, targets
  ).items():
    found = cost_of(call, *inputs, repeat=repeat)
    share = found.gflop / found.cores_s / rates[dtype][1]
    click.echo(
      f"| {name} | {found.wall_s:.3f} | {found.cores_s:.3f}"
      f" | {found.gflop:.1f} | {share:.2f} |"
    )


if __name__ == "__main__":
  main()
