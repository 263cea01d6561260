r"""Memory of a fine-tuning step, computed from shapes.

    python -m tools.adapters.memory magenta_rt_large --quantize nf4
    python -m tools.adapters.memory magenta_rt_large --quantize nf4 --original \
      --examples 1

Nothing is drawn or allocated. The first table counts what is held between
steps exactly, and an upper limit of what a step needs beside it. Then the step
that `finetune` runs is compiled for these shapes, and XLA counts what it takes
on this machine's backend: for a GPU, run it on one. The last line is JSON.
"""

import dataclasses
import functools
import json
import time
from typing import Any

import click
import jax
import jax.numpy as jnp
from flax import nnx

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.examples.examples import Batch
from magenta_midi.finetune.layer_schedule import GROUPS
from magenta_midi.finetune.trainer import Learned, update
from magenta_midi.limits import COUNT_FROM_0, RANK
from magenta_midi.model.config import (
  MAGENTA_RT,
  PRESETS,
  DepthformerConfig,
  magenta_rt_config,
  preset,
)
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.lora import LoraConfig, init_factors
from magenta_midi.model.lora.quantized import quantize_base, stored_bytes
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.optimizers import make_optimizer
from magenta_midi.train.run_settings import TrainConfig
from tools.help_text import help_of

# Memory that must be enough, bytes.
LIMIT = 6e9
# Frames of context and of targets: the largest batches of a run, and the
# original's 10 s and 2 s.
FRAMES, ORIGINAL_FRAMES = (256, 192), (250, 50)


def batch_of(
  config: DepthformerConfig, examples: int, context: int, target: int
) -> Batch:
  """Shapes of a batch."""
  # The original's context has fewer levels than its targets.
  levels = 4 if config.encoder_input == "flat" else config.levels

  def ints(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((examples, *shape), jnp.int32)

  return Batch(
    context_ids=ints(context, levels),
    context_time=ints(context),
    context_part=ints(context),
    input_ids=ints(target, config.levels),
    input_time=ints(target),
    input_part=ints(target),
    targets=ints(target, config.levels),
    weights=jax.ShapeDtypeStruct((examples, target, config.levels), jnp.bool_),
    style=ints(config.style_slots) if config.style_slots else None,
  )


def widest_layer(model: Depthformer) -> int:
  """Bytes of the largest layer, float32."""
  stacks = (model.encoder_layers, model.temporal_layers, model.depth_layers)
  return max(stored_bytes(nnx.state(stack[0], nnx.Param)) for stack in stacks)


def step_bytes(
  config: DepthformerConfig, model: Depthformer, batch: Batch
) -> dict[str, int]:
  """Highest memory of a step beside the held arrays, bytes by purpose."""
  examples, frames = batch.context_ids.shape[:2]
  flat = config.encoder_input == "flat"
  context = frames * (batch.context_ids.shape[2] if flat else 1)
  target = batch.targets.shape[1]
  wide = jnp.dtype(config.dtype).itemsize
  rows = {
    "encoder": (context, config.embed_dim, config.mlp_dim, wide),
    "temporal": (target, config.embed_dim, config.mlp_dim, 4),
    "depth": (
      target * config.levels,
      config.depth_width,
      config.depth_mlp_width,
      4,
    ),
  }
  layers = (config.encoder_layers, config.temporal_layers, config.depth_layers)
  kept = sum(
    count * examples * positions * width * size
    for count, (positions, width, _, size) in zip(
      layers, rows.values(), strict=True
    )
  )
  # Pairs of positions: the largest attention. Logits, weights, and the
  # gradient of each.
  pairs = max(
    context**2, target * (target + context), target * config.levels**2
  )
  attention = 4 * examples * config.num_heads * pairs * wide
  # Of the MLP three, the stream and its norms, queries, keys and values, and
  # the gradient of each.
  inside = max(
    2 * examples * positions * (3 * hidden * wide + 8 * width * 4)
    for positions, width, hidden, _ in rows.values()
  )
  columns = sum(stop - start for start, stop in config.columns)
  return {
    "layers' inputs, kept": kept,
    # As it is read, with factors added, and in the dtype it is multiplied in.
    # Its gradient is never formed.
    "one layer's weights": 3 * widest_layer(model),
    "one layer's activations": attention + inside,
    # Logits, their exponentials, and the gradient of both.
    "head": 4 * examples * target * columns * 4,
  }


def compiled_bytes(
  model: Depthformer, lora: LoraConfig, held: Any, learned: Any, batch: Batch
) -> dict[str, Any]:
  """XLA's account of the step, for the present backend."""
  graph, _, rest = nnx.split(model, nnx.Param, ...)
  # Dropout's counts and keys are in the structure: they are drawn.
  rest = jax.tree.map(
    lambda x: (
      jax.random.key(0)
      if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
      else jnp.zeros(x.shape, x.dtype)
    ),
    rest,
  )
  step = functools.partial(
    update,
    graph,
    rest,
    optimizer(),
    scale=lora.scale,
    thinned=lora.dropout,
    has_dropout=model.config.dropout_rate > 0,
    remat=True,
    loop=bool(held.stacks),
  )
  begun = time.monotonic()
  key = jax.eval_shape(lambda: jax.random.key(0))
  rates = jax.ShapeDtypeStruct((len(GROUPS),), jnp.float32)
  compiled = (
    jax.jit(step, donate_argnums=0)
    .lower(learned, held, batch, key, rates)
    .compile()
  )
  found = compiled.memory_analysis()
  assert found is not None
  return dict(
    device=jax.devices()[0].device_kind,
    arguments=int(found.argument_size_in_bytes),
    temporary=int(found.temp_size_in_bytes),
    # Results that do not reuse the arguments' memory.
    results=int(found.output_size_in_bytes - found.alias_size_in_bytes),
    compiled_s=round(time.monotonic() - begun, 1),
  )


def optimizer() -> Any:
  """That of `finetune`."""
  return make_optimizer(
    TrainConfig(steps=1, optimizer="adamw", weight_decay=0.0)
  )


def config_of(name: str, original: bool, dtype: str | None) -> Any:
  """A preset with the note codec, or as Magenta RealTime published it."""
  changes = {} if dtype is None else dict(dtype=dtype)
  if original:
    tags = {preset: tag for tag, preset in MAGENTA_RT.items()}
    if name not in tags:
      raise click.UsageError(f"--original: expected {' or '.join(tags)}.")
    return dataclasses.replace(magenta_rt_config(tags[name]), **changes)

  return preset(
    name,
    level_sizes=tuple(NoteCodec().vocabulary.level_sizes),
    reserved=RESERVED,
    **changes,
  )


@click.command(help=help_of(__doc__))
@click.argument("name", type=click.Choice(list(PRESETS)))
@click.option(
  "--quantize",
  type=click.Choice(["none", "int8", "nf4"]),
  default="nf4",
  show_default=True,
  help="How the base is held.",
)
@click.option(
  "--rank", type=bounded(RANK), default=LoraConfig().rank, show_default=True
)
@click.option(
  "--examples",
  type=bounded(COUNT_FROM_0),
  default=4,
  show_default=True,
  help="Examples in a batch; finetune takes the longest ones 4 at a time.",
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]))
@click.option(
  "--original",
  is_flag=True,
  help="Count Magenta RealTime's own shapes, with its audio tokens.",
)
@click.option(
  "--compile/--count",
  "compiled",
  default=True,
  show_default=True,
  help="Also compile the step, or count only.",
)
def main(
  name: str,
  quantize: Any,
  rank: int,
  examples: int,
  dtype: str | None,
  original: bool,
  compiled: bool,
) -> None:
  """Prints both accounts."""
  config = config_of(name, original, dtype)
  model = nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))
  model.train()
  params = nnx.state(model, nnx.Param)
  lora = LoraConfig(rank=rank, alpha=2.0 * rank)
  factors = jax.eval_shape(
    lambda params: init_factors(params, lora, jax.random.key(0)), params
  )
  held = jax.eval_shape(lambda params: quantize_base(params, quantize), params)
  learned = Learned(factors, jax.eval_shape(optimizer().init, factors), factors)
  frames = ORIGINAL_FRAMES if original else FRAMES
  batch = batch_of(config, examples, *frames)
  kept = {
    f"base ({quantize})": stored_bytes(held),
    "factors, and the best of them": 2 * stored_bytes(factors),
    "optimizer's moments": stored_bytes(learned.optimizer),
    "batch": stored_bytes(batch),
  }
  needed = step_bytes(config, model, batch)
  count = sum(x.size for x in jax.tree.leaves(params))
  click.echo(
    f"{name}: {count:,} numbers, {stored_bytes(params) / 1e9:.2f} GB in "
    f"float32; {config.dtype}, {examples} examples of "
    f"{frames[0]} + {frames[1]} frames"
  )
  total = sum((kept | needed).values())
  for what, size in (kept | needed | {"in all, at most": total}).items():
    click.echo(f"  {what:32} {size / 1e6:10,.1f} MB")
  click.echo(f"  of 6 GB: {total / LIMIT:.0%}")
  facts = dict(
    preset=name,
    quantize=quantize,
    parameters=count,
    held=kept,
    step=needed,
    total=total,
  )
  if compiled:
    found = compiled_bytes(model, lora, held, learned, batch)
    whole = found["arguments"] + found["temporary"] + found["results"]
    click.echo(
      f"compiled for {found['device']}: {found['arguments'] / 1e6:,.1f} MB"
      f" held, {found['temporary'] / 1e6:,.1f} MB beside it,"
      f" {whole / 1e6:,.1f} MB in all ({whole / LIMIT:.0%} of 6 GB)"
    )
    facts["compiled"] = found | dict(total=whole)
  click.echo(json.dumps(facts))


if __name__ == "__main__":
  main()
