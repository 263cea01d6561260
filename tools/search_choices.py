"""Compares choices of training at equal wall time.

  python tools/search_choices.py --data DIR:0.6 --data OTHER:0.4 --minutes 6 \
    --out runs/search

Each choice is one change to the first, the default; all train from drawn
weights for the same minutes on the same machine, one after another, and are
scored on the same held-out windows. What is done is not done again: an
interrupted search goes on, and a longer list only adds to it. A machine that
is busy with something else makes the figures worthless.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

# Name -> options of `magenta-midi train`, beside the default's.
CHOICES: dict[str, tuple[str, ...]] = {
  "default": (),
  "targets 2 s": ("--target-seconds", "2"),
  "targets 8 s": ("--target-seconds", "8"),
  "learning rate 0.010": ("--learning-rate", "0.010"),
  "learning rate 0.022": ("--learning-rate", "0.022"),
  "encoder 2, temporal 6": (
    *("--set", "encoder_layers=2"),
    *("--set", "temporal_layers=6"),
  ),
  "encoder 6, temporal 2": (
    *("--set", "encoder_layers=6"),
    *("--set", "temporal_layers=2"),
  ),
  "wider, half as deep": (
    *("--set", "encoder_layers=2", "--set", "temporal_layers=2"),
    *("--set", "embed_dim=384", "--set", "mlp_dim=1152"),
  ),
  "positions as sinusoids": ("--set", "temporal_positions=sinusoid"),
  "distances to 32": ("--set", "temporal_buckets=32"),
  "depth stack of 1": ("--set", "depth_layers=1"),
  "batches half as large": ("--set", "frames_per_batch=2048"),
  "optimizer muon": ("--set", "optimizer=muon"),
  "optimizer adafactor": ("--set", "optimizer=adafactor"),
}


def _train(
  folder: Path, minutes: float, seed: int, data: tuple[str, ...], choice: str
) -> dict[str, Any]:
  """The held-out figures of one choice, trained if it is not yet."""
  folders = [argument for item in data for argument in ("--data", item)]
  command = [
    *(sys.executable, "-m", "magenta_midi.app.cli", "train", *folders),
    *("--minutes", str(minutes), "--seed", str(seed), "--out", str(folder)),
    *("--set", "sample_s=0", "--set", f"evaluate_every_min={minutes}"),
    *CHOICES[choice],
  ]
  config = folder / "checkpoint" / "config.json"
  notes = {}
  if config.exists():
    notes = json.loads(config.read_text(encoding="utf-8"))["notes"]
  if not notes.get("finished"):
    subprocess.run(command, check=True)
    notes = json.loads(config.read_text(encoding="utf-8"))["notes"]
  return dict(notes["held_out"], steps=notes["step"])


@click.command()
@click.option("--data", multiple=True, required=True, metavar="DIR[:WEIGHT]")
@click.option("--minutes", default=6.0, show_default=True, help="Of each.")
@click.option("--seeds", default=1, show_default=True, help="Runs of each.")
@click.option(
  "--choice",
  "names",
  multiple=True,
  type=click.Choice(list(CHOICES)),
  help="Only these [default: all].",
)
@click.option(
  "--out", type=click.Path(path_type=Path), default=Path("runs/search")
)
def main(
  data: tuple[str, ...],
  minutes: float,
  seeds: int,
  names: tuple[str, ...],
  out: Path,
) -> None:
  """Trains every choice, and prints a table of nats a note."""
  found: dict[str, list[dict[str, Any]]] = {}
  # A seed of all first: what drifts on the machine falls on all alike.
  for seed in range(seeds):
    for name in names or CHOICES:
      folder = out / f"{name.replace(' ', '_')}-{seed}"
      figures = _train(folder, minutes, seed, data, name)
      found.setdefault(name, []).append(figures)
  click.echo("| choice | nats a note | steps |\n|---|---|---|")
  for name, runs in found.items():
    nats = sum(run["nats_per_note"] for run in runs) / len(runs)
    steps = sum(run["steps"] for run in runs) / len(runs)
    click.echo(f"| {name} | {nats:.3f} | {steps:.0f} |")


if __name__ == "__main__":
  main()
