"""Embedding of a checkpoint in the package, in a small format.

python -m tools.assets.embed_checkpoint runs/base/checkpoint --storage int8
"""

from pathlib import Path

import click
import jax
from flax import nnx

from magenta_midi.model.checkpoint import (
  embedded_path,
  load_checkpoint,
  save_checkpoint,
)
from tools.help_text import help_of

LARGEST_MB = 25.0


@click.command(help=help_of(__doc__))
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.option(
  "--storage",
  type=click.Choice(["int8", "bfloat16"]),
  default="int8",
  show_default=True,
)
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  default=embedded_path(),
  help="[default: the package]",
)
def main(checkpoint: Path, storage: str, out: Path) -> None:
  """Stores a checkpoint in the package."""
  model, config = load_checkpoint(checkpoint)
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  notes = config["notes"] | dict(parameters=sum(leaf.size for leaf in leaves))
  if "warm_start" in notes:
    # The path on this machine is left out.
    started = dict(notes["warm_start"])
    started["checkpoint"] = Path(started["checkpoint"]).parent.name
    notes["warm_start"] = started
  save_checkpoint(
    out,
    model,
    codec=config["codec"],
    storage="int8" if storage == "int8" else "bfloat16",
    style=config.get("style"),
    notes=notes,
  )
  megabytes = (out / "weights.safetensors").stat().st_size / 1e6
  click.echo(f"{out}: {megabytes:.1f} MB ({storage})")
  if megabytes > LARGEST_MB:
    raise SystemExit(f"larger than {LARGEST_MB} MB: not for the package")


if __name__ == "__main__":
  main()
