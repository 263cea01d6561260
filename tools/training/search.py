r"""Search of training settings, at equal work or after as many steps.

  python -m tools.training.search --data DIR:0.6 --data OTHER:0.4 --minutes 6 \
    --out runs/search
  python -m tools.training.search --data DIR:0.6 --data OTHER:0.4 --steps 150 \
    --choice duet --choice "duet, releases" --out runs/search

Each choice is one change to the first, the default; all train from random
weights and are scored on the same held-out windows. Finished choices are not
trained again: an interrupted search continues, and a longer list only adds to
it.

Minutes are of processor time; a few steps beforehand compile all shapes, which
are then read from disk, so no choice's minutes include compilation. Run it on
a quiet machine: beside other work, on other cores, the same step took twice as
much. On a busy machine compare after as many `--steps`.

Choices named "duet ..." are changes to the first of them. They are scored a
second time as one hand that reads the other 50 ms late (of pieces with a
melody track, as the accompaniment that reads the melody).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.options import weighted_folder
from magenta_midi.limits import AMOUNT, COUNT, COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from tools.help_text import help_of

_DUET = ("--partners", "solo:0.3,tracks:0.25,hands:0.25,turns:0.2")
# How many held-out windows are scored: 33 minutes of music.
_WINDOWS = 1000
# Steps after which every shape has come up.
_PRIMING_STEPS = 60
# The default's would be half of so short a run.
_WARMUP_STEPS = 40
# Name -> options of `magenta-midi train`, beside the default's.
CHOICES: dict[str, tuple[str, ...]] = {
  "default": (),
  "targets 2 s": ("--target-seconds", "2"),
  "targets 8 s": (
    *("--target-seconds", "8"),
    *("--set", "codec.horizon_s=8"),
  ),
  "contexts 5 s": ("--set", "context_s=5"),
  "onsets weigh 2": ("--set", 'level_weights={"onset": 2}'),
  "velocities weigh 0.5": ("--set", 'level_weights={"velocity": 0.5}'),
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
  "duet": _DUET,
  "duet, releases": (*_DUET, "--set", "codec.releases=true"),
}


def _train(
  folder: Path,
  steps: int | None,
  minutes: float,
  seed: int,
  data: tuple[str, ...],
  choice: str,
) -> dict[str, Any]:
  """The held-out figures of one choice, trained if it is not yet."""
  folders = [argument for item in data for argument in ("--data", item)]
  options = [
    *folders,
    *("--set", "sample_s=0", "--set", f"warmup_steps={_WARMUP_STEPS}"),
    *("--set", f"held_out_windows={_WINDOWS}"),
    *CHOICES[choice],
  ]
  config = folder / "checkpoint" / "config.json"
  if not _facts(config).get("finished"):
    if steps is not None:
      length = ("--steps", str(steps), "--set", f"evaluate_every_steps={steps}")
    else:
      with tempfile.TemporaryDirectory() as scratch:
        _run_training(
          *("--steps", str(_PRIMING_STEPS), "--out", scratch),
          *("--set", f"evaluate_every_steps={_PRIMING_STEPS}"),
          *options,
        )
      length = (
        *("--minutes", str(minutes), "--set", f"evaluate_every_min={minutes}"),
        *("--set", "clock=processor"),
      )
    _run_training(
      *length, *("--seed", str(seed), "--out", str(folder)), *options
    )
  facts = _facts(config)
  figures = dict(facts["held_out"], steps=facts["step"])
  if "--partners" in CHOICES[choice]:
    figures["duet"] = _duet_nats(folder, data)
  return figures


def _facts(config: Path) -> dict[str, Any]:
  """Of a run's checkpoint; none, if it has none yet."""
  if not config.exists():
    return {}
  return json.loads(config.read_text(encoding="utf-8"))["notes"]


def _run_training(*options: str) -> None:
  command = (sys.executable, "-m", "magenta_midi.cli.main", "train")
  subprocess.run([*command, *options], check=True)


def _duet_nats(folder: Path, data: tuple[str, ...]) -> float:
  """Own nats a note of a checkpoint that hears a partner 50 ms late."""
  from magenta_midi.api import MagentaMidi
  from magenta_midi.data.corpus import join_corpora, read_corpus
  from magenta_midi.evaluation.evaluate import Players, evaluate

  path = folder / "duet.json"
  if not path.exists():
    mm = MagentaMidi.load(folder / "checkpoint")
    parts = []
    for item in data:
      source, _ = weighted_folder(item)
      parts.append(read_corpus(source, ("valid",))[0]["valid"])
    corpus = join_corpora([part for part in parts if len(part)])
    assert corpus is not None
    ways = [
      Players(mode="hands", swapped=swapped, delay_ms=50)
      for swapped in (False, True)
    ]
    if corpus.has_melody.any():
      ways.append(Players(mode="tracks", swapped=True, delay_ms=50))
    found = [
      evaluate(
        mm.generator.model, mm.codec, corpus, windows=_WINDOWS, players=players
      )
      for players in ways
    ]
    nats = sum(float(one.nats.sum()) for one in found)
    notes = sum(int(one.notes.sum()) for one in found)
    figures = dict(nats_per_note=nats / max(1, notes), notes=notes)
    write_atomically(path, json.dumps(figures) + "\n")
  return json.loads(path.read_text(encoding="utf-8"))["nats_per_note"]


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="DIR[:WEIGHT]",
  help="As for `magenta-midi train`; repeatable.",
)
@click.option(
  "--minutes",
  type=bounded(AMOUNT),
  default=6.0,
  show_default=True,
  help="Training minutes of each choice.",
)
@click.option(
  "--steps",
  type=bounded(COUNT),
  help="Optimizer steps of each choice, in place of minutes.",
)
@click.option(
  "--seeds",
  type=bounded(COUNT_FROM_0),
  default=1,
  show_default=True,
  help="Runs of each choice.",
)
@click.option(
  "--choice",
  "names",
  multiple=True,
  type=click.Choice(list(CHOICES)),
  help="Choice to train; repeatable [default: all].",
)
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  default=Path("runs/search"),
  show_default=True,
  help="Folder of the results.",
)
def main(
  data: tuple[str, ...],
  minutes: float,
  steps: int | None,
  seeds: int,
  names: tuple[str, ...],
  out: Path,
) -> None:
  """Trains every choice, and prints a table of nats a note."""
  found: dict[str, list[dict[str, Any]]] = {}
  # A seed of all first: what drifts on the machine falls on all alike.
  for seed in range(seeds):
    for name in names or CHOICES:
      length = f"{minutes:g}min" if steps is None else f"{steps}steps"
      folder = out / f"{name.replace(' ', '_')}-{length}-{seed}"
      figures = _train(folder, steps, minutes, seed, data, name)
      found.setdefault(name, []).append(figures)
  click.echo("| choice | nats a note | in a duet | steps |\n|---|---|---|---|")
  for name, runs in found.items():
    nats = sum(run["nats_per_note"] for run in runs) / len(runs)
    done = sum(run["steps"] for run in runs) / len(runs)
    duets = [run["duet"] for run in runs if "duet" in run]
    duet = f"{sum(duets) / len(duets):.3f}" if duets else ""
    click.echo(f"| {name} | {nats:.3f} | {duet} | {done:.0f} |")


if __name__ == "__main__":
  main()
