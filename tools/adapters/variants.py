r"""Comparison of kinds of adapters: LoRA, DoRA, slots, full fine-tuning.

    python -m tools.adapters.variants PLAYER_DIR --kind lora --kind dora \
      --kind slots --kind full --steps 300 --out runs/variants
    python -m tools.adapters.variants PLAYER_DIR --kind lora --kind slots \
      --rank 2,4,8,16,32 --pieces 1,3,10,20 --steps 300 --out runs/variants

Trains variants on `PLAYER_DIR/train` and scores each on `PLAYER_DIR/held` (see
`tools/adapters/player_folders.py`). All get the same batches, from
`finetune`'s own source by one seed, the same optimizer (AdamW) and
schedule, and as many steps.

- `lora`: low-rank changes of every projection, `--rank` each.
- `dora`: the same, plus the length of each column (Liu et al. 2024).
- `slots`: `--slots` learned positions in the encoder's output.
- `prefix`: `--slots` learned keys and values for every attention.
- `light`: the norms' scales, the embeddings and the head, without factors.
- `full`: every number of the base.

`--pieces` takes the first pieces of one drawn order, the same for all. Rates
differ by kind: `--learning-rate 0.001` is for all, `full:0.0003` for one. Of
several rates the best is shown first; it is chosen on the held-out music it is
shown for, which makes it slightly too good. Held-out nats a note have the 95 %
interval of the difference from the base, paired over pieces.

Each variant is a process of its own, so that its peak memory (resident, with
the compiler's, before it is scored) is its own; seconds are of the processor.
Finished variants are not trained again: one JSON file each in `--out`.
`--keep` writes plain checkpoints too, for the kinds that fit into one.
"""

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import (
  UserError,
  one_line_errors,
  writable,
)
from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.finetune.config import FinetuneConfig
from magenta_midi.limits import ALPHA, COUNT_FROM_0, FRACTION, SEED, STEPS
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.lora.lora import LoraConfig
from tools.adapters.kinds.measuring import BASE, Job, measure
from tools.adapters.kinds.variants import KINDS, LOW_RANK, POSITIONS
from tools.help_text import help_of

# Of AdamW, where none is given: two to begin a sweep with.
RATES = {
  "lora": (0.001, 0.003),
  "dora": (0.001, 0.003),
  "slots": (0.01, 0.03),
  "prefix": (0.01, 0.03),
  "light": (0.001, 0.003),
  "full": (0.0001, 0.0003),
}


def jobs_of(
  common: dict[str, Any],
  kinds: Sequence[str],
  ranks: Sequence[int],
  slots: Sequence[int],
  pieces: Sequence[int | None],
  rates: dict[str, tuple[float, ...]],
  low_rank: dict[str, Any],
) -> list[Job]:
  """Every variant of every size, on so many pieces, at every rate."""
  found = []
  for kind in kinds:
    sizes: list[dict[str, Any]] = [{}]
    if kind in LOW_RANK:
      sizes = [dict(low_rank, rank=rank) for rank in ranks]
    elif kind in POSITIONS:
      sizes = [dict(slots=count) for count in slots]
    found += [
      Job(kind=kind, **size, pieces=count, learning_rate=rate, **common)
      for size in sizes
      for count in pieces
      for rate in rates[kind]
    ]
  return found


def read_rates(options: Sequence[str]) -> dict[str, tuple[float, ...]]:
  """Rates by kind, from `RATE` and `KIND:RATE`.

  Raises:
    UserError: One is not written so.
  """
  for_all: list[float] = []
  own: dict[str, list[float]] = {}
  for text in options:
    kind, colon, number = text.rpartition(":")
    try:
      rate = float(number)
    except ValueError:
      rate = 0.0
    if not rate > 0 or (colon and kind not in KINDS):
      raise UserError(
        f"--learning-rate {text}: expected RATE or KIND:RATE, above 0; kinds"
        f" are {', '.join(KINDS)}."
      )
    (own.setdefault(kind, []) if colon else for_all).append(rate)
  return {kind: tuple(own.get(kind, for_all)) or RATES[kind] for kind in KINDS}


def read_counts(options: Sequence[str], flag: str) -> list[int]:
  """Whole numbers, given one by one or with commas between them.

  Raises:
    UserError: One is none, or below 1.
  """
  texts = [text for option in options for text in option.split(",")]
  if not all(text.strip().isdecimal() and int(text) for text in texts):
    raise UserError(
      f"{flag} {','.join(options)}: expected whole numbers, 1 or more, as"
      " 1,3,10."
    )
  return [int(text) for text in texts]


def result(job: Job, out: Path, keep: bool) -> dict[str, Any]:
  """Figures of a variant, measured now if they are missing."""
  path = out / f"{job.name}.json"
  if path.is_file():
    return json.loads(path.read_text(encoding="utf-8"))
  folder = out / job.name if keep else None
  # Of its own: peak memory is of a process. Its mistakes are raised here.
  spawn = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(1, mp_context=spawn) as process:
    found = process.submit(measure, job, folder).result()
  write_atomically(path, json.dumps(found, indent=1) + "\n")
  return found


def row(found: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
  """A line of the table: a variant against the base.

  Raises:
    UserError: They were not measured on the same.
  """

  def read(of: dict[str, Any]) -> Evaluation:
    return Evaluation(
      np.array(of["nats"]),
      np.array(of["notes"]),
      np.array(of["seconds"]),
      tuple(of["names"]),
      tuple(of["titles"]),
    )

  job = Job(**found["job"])
  if found["base_sha256"] != base["base_sha256"]:
    raise UserError(
      f"{job.name}.json: of another base. Give --out a new folder."
    )
  line: dict[str, Any] = dict(
    kind=job.kind,
    setting=job.setting,
    learning_rate=job.learning_rate,
    **{
      name: value
      for name, value in found.items()
      if name not in ("job", "held", "general", "base_sha256")
    },
  )
  for music in ("held", "general"):
    if music in found:
      difference = Comparison(read(found[music]), read(base[music]))
      before = difference.second.nats_per_note
      line[music] = dict(
        before=before,
        after=difference.first.nats_per_note,
        change_percent=100 * difference.nats_per_note / before,
        **{
          name: difference.figures()[name]
          for name in ("nats_per_note", "ci95", "beyond")
        },
      )
  return line


def best_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """The best rate of each kind, size and number of recordings."""
  best: dict[tuple, dict[str, Any]] = {}
  for line in rows:
    key = (line["kind"], line["setting"], line["takes"])
    # A diverged run counts as the worst.
    after = [
      np.nan_to_num(one["held"]["after"], nan=np.inf)
      for one in (line, best.get(key, line))
    ]
    if after[0] <= after[1]:
      best[key] = line
  return list(best.values())


def table(rows: Sequence[dict[str, Any]]) -> str:
  """Markdown."""
  general = any("general" in line for line in rows)
  lines = [
    "| kind | | recordings | rate | trained | float32, kB | bfloat16, kB"
    " | before | after | | difference (95 %) |"
    + (" other music |" if general else "")
    + " s a step | peak, MB | min |",
    "|---|---|" + "---:|" * (12 + general),
  ]
  for line in rows:
    held = line["held"]
    low, high = held["ci95"]
    cells = [
      line["kind"],
      line["setting"],
      line["takes"],
      f"{line['learning_rate']:g}",
      f"{line['parameters']:,}",
      f"{line['bytes_float32'] / 1000:,.0f}",
      f"{line['bytes_bfloat16'] / 1000:,.0f}",
      f"{held['before']:.3f}",
      f"{held['after']:.3f}",
      f"{held['change_percent']:+.2f} %",
      f"{held['nats_per_note']:+.3f} ({low:+.3f} to {high:+.3f})",
      *(
        [f"{line['general']['change_percent']:+.2f} %"]
        if "general" in line
        else [""] * general
      ),
      "" if line["step_s"] is None else f"{line['step_s']:.2f}",
      f"{line['peak_bytes'] / 1e6:,.0f}",
      f"{line['processor_min']:.1f}",
    ]
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return "\n".join(lines)


@click.command(help=help_of(__doc__))
@click.argument("player", type=click.Path(exists=True, path_type=Path))
@click.option(
  "--kind",
  "kinds",
  multiple=True,
  type=click.Choice(KINDS),
  default=("lora", "dora", "slots", "full"),
  show_default=True,
)
@click.option(
  "--rank",
  "ranks",
  multiple=True,
  default=(f"{LoraConfig().rank}",),
  show_default=True,
)
@click.option(
  "--alpha",
  type=bounded(ALPHA),
  help="Alpha of lora and dora [default: twice the rank].",
)
@click.option("--targets", help="Targets of lora and dora, as in finetune.")
@click.option(
  "--dropout",
  type=bounded(FRACTION),
  help="Dropout of the inputs of lora and dora.",
)
@click.option(
  "--slots",
  multiple=True,
  default=("16",),
  show_default=True,
  help="Learned positions of slots and prefix.",
)
@click.option(
  "--pieces",
  multiple=True,
  help="Number of recordings to train on [default: all].",
)
@click.option(
  "--steps",
  type=bounded(STEPS),
  default=300,
  show_default=True,
  help="Optimizer steps of each run.",
)
@click.option(
  "--learning-rate", "rates", multiple=True, metavar="RATE or KIND:RATE"
)
@click.option(
  "--general",
  type=click.Path(exists=True, path_type=Path),
  help="Other music, to measure forgetting.",
)
@click.option(
  "--windows",
  type=bounded(COUNT_FROM_0),
  default=384,
  show_default=True,
  help="Held-out windows to score, 2 s each.",
)
@click.option(
  "--evaluations",
  type=bounded(COUNT_FROM_0),
  default=1,
  show_default=True,
  help="How often a run is scored.",
)
@click.option(
  "--frames-per-batch",
  type=bounded(COUNT_FROM_0),
  default=FinetuneConfig.frames_per_batch,
  show_default=True,
)
@click.option("--seed", type=bounded(SEED), default=0, show_default=True)
@click.option("--checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--keep", is_flag=True, help="Keep the trained checkpoints too.")
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  required=True,
  help="Folder of the runs; finished ones are not trained again.",
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  player: Path,
  kinds: tuple[str, ...],
  ranks: tuple[str, ...],
  alpha: float | None,
  targets: str | None,
  dropout: float | None,
  slots: tuple[str, ...],
  pieces: tuple[str, ...],
  steps: int,
  rates: tuple[str, ...],
  general: Path | None,
  windows: int,
  evaluations: int,
  frames_per_batch: int,
  seed: int,
  checkpoint: Path | None,
  keep: bool,
  out: Path,
  file: Path | None,
) -> None:
  """Measures what is not measured yet, and prints a table of all."""
  with one_line_errors():
    out.mkdir(parents=True, exist_ok=True)
    if file is not None:
      writable(file)
    where: dict[str, Any] = dict(
      player=str(player.resolve()),
      general=None if general is None else str(general.resolve()),
      checkpoint=None if checkpoint is None else str(checkpoint.resolve()),
      windows=windows,
    )
    jobs = jobs_of(
      where
      | dict(
        steps=steps,
        frames_per_batch=frames_per_batch,
        evaluations=evaluations,
        seed=seed,
      ),
      kinds,
      read_counts(ranks, "--rank"),
      read_counts(slots, "--slots"),
      read_counts(pieces, "--pieces") if pieces else [None],
      read_rates(rates),
      dict(
        alpha=alpha,
        targets=None if targets is None else tuple(targets.split(",")),
        dropout=dropout,
      ),
    )
    base = result(Job(kind=BASE, **where), out, False)
    rows = []
    for job in jobs:
      rows.append(row(result(job, out, keep), base))
      held = rows[-1]["held"]
      click.echo(
        f"{job.name}: {held['after']:.3f} ({held['change_percent']:+.2f} %)",
        err=True,
      )
    best = best_of(rows)
    click.echo(table(best))
    if len(best) < len(rows):
      click.echo(f"\nAll rates:\n\n{table(rows)}")
    if file is not None:
      report = dict(windows=windows, best=best, rows=rows)
      write_atomically(file, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
  command()
