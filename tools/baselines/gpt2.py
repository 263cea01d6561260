"""Baseline: a decoder-only transformer of GPT-2's shape.

  python -m tools.baselines.gpt2 train --data DIR:SHARE [--data DIR:SHARE ...]
    --tokens remi --minutes 40 --out runs/gpt2_remi
  python -m tools.baselines.gpt2 evaluate runs/gpt2_remi --data DIR --split test
    --context window --context full --against embedded --out figures.json

It is trained on MidiTok's REMI, MIDI-Like or TSD tokens of the music as the
`note` codec describes it, with our optimizer, schedule, crops, shares and
augmentation, and as many parameters as the embedded checkpoint. Both are
scored on the same 2 s windows, in nats a second of music and a note. Needs
the extra `baseline`.
"""

import json
from pathlib import Path
from typing import Any

import click
import rich.table

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.cli.terminal.interrupts import stop_signals
from magenta_midi.cli.terminal.output import console, print_json, progress_bar
from magenta_midi.data.corpus import Corpus, join_corpora, read_corpus
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.limits import AMOUNT, COUNT_FROM_0, SEED, STEPS
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.train.machine import keep_memory

# Of the embedded checkpoint, preset small.
PARAMETERS = 9_121_996


def read(
  folders: list[Path], splits: tuple[str, ...]
) -> list[dict[str, Corpus]]:
  """The corpora of folders, by split; bad files are listed and left out."""
  found = []
  log = console()
  for folder in folders:
    with progress_bar() as bar:
      task = bar.add_task(f"reading {folder.name}", note="")

      def show(done: int, total: int, bar: Any = bar, task: Any = task) -> None:
        bar.update(task, completed=done, total=total)

      corpora, bad = read_corpus(folder, splits, on_file=show)
    for _, reason in bad:
      log.print(f"left out: {reason}", soft_wrap=True)
    found.append(corpora)
  return found


@click.group()
def main() -> None:
  """A baseline of GPT-2's shape on MidiTok's tokens."""
  keep_memory()
  enable_compilation_cache()


@main.command("train")
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="DIR:SHARE",
  help="Folder of MIDI files and its share of the crops; repeatable.",
)
@click.option(
  "--tokens",
  type=click.Choice(["remi", "midilike", "tsd"]),
  default="remi",
  show_default=True,
)
@click.option(
  "--duration-bins",
  type=bounded(COUNT_FROM_0),
  default=63,
  show_default=True,
  help="Grid of durations, 10 ms to 10 s; 63 are our codec's, 990 are nearly"
  " every 10 ms.",
)
@click.option(
  "--minutes", type=bounded(AMOUNT), help="Length of the run, minutes."
)
@click.option("--steps", type=bounded(STEPS), help="Length of the run, steps.")
@click.option(
  "--width", type=bounded(COUNT_FROM_0), default=256, show_default=True
)
@click.option(
  "--layers",
  type=bounded(COUNT_FROM_0),
  help="[default: what --parameters leave room for]",
)
@click.option(
  "--parameters",
  type=bounded(COUNT_FROM_0),
  default=PARAMETERS,
  show_default=True,
)
@click.option(
  "--context",
  type=bounded(COUNT_FROM_0),
  default=1024,
  show_default=True,
  help="Positions.",
)
@click.option(
  "--rows",
  type=bounded(COUNT_FROM_0),
  default=2,
  show_default=True,
  help="Of a batch, each of --context.",
)
@click.option("--optimizer", default="adam_relative", show_default=True)
@click.option(
  "--learning-rate",
  type=bounded(AMOUNT),
  default=0.0,
  help="Peak [default: as `magenta-midi train` has it for the optimizer].",
)
@click.option(
  "--warmup-steps", type=bounded(COUNT_FROM_0), default=200, show_default=True
)
@click.option("--seed", type=bounded(SEED), default=0, show_default=True)
@click.option(
  "--held-out-windows",
  type=bounded(COUNT_FROM_0),
  default=384,
  show_default=True,
  help="Of 2 s, scored every 10 minutes and at the end.",
)
@click.option(
  "--out", type=click.Path(path_type=Path, file_okay=False), required=True
)
def train_command(
  data: tuple[str, ...],
  tokens: str,
  duration_bins: int,
  minutes: float | None,
  steps: int | None,
  width: int,
  layers: int | None,
  parameters: int,
  context: int,
  rows: int,
  optimizer: Any,
  learning_rate: float,
  warmup_steps: int,
  seed: int,
  held_out_windows: int,
  out: Path,
) -> None:
  """Train; a run found in OUT is continued."""
  with one_line_errors():
    import dataclasses

    import jax

    from magenta_midi.train.run_settings import TrainConfig
    from tools.baselines.gpt2_baseline.music_tokens import MusicTokens
    from tools.baselines.gpt2_baseline.network import (
      Gpt2Config,
      layers_for,
      parameter_count,
    )
    from tools.baselines.gpt2_baseline.training import (
      BaselineConfig,
      train_baseline,
    )

    folders, shares = [], []
    for entry in data:
      name, _, share = entry.rpartition(":")
      try:
        shares.append(float(share))
      except ValueError:
        raise UserError(f"--data {entry}: expected DIR:SHARE.") from None
      folders.append(Path(name))
    music = MusicTokens(tokens, duration_bins)
    network = Gpt2Config(
      vocab_size=music.size,
      width=width,
      context=context,
      dtype="float32" if jax.default_backend() == "cpu" else "bfloat16",
    )
    network = dataclasses.replace(
      network, layers=layers or layers_for(parameters, network)
    )
    config = BaselineConfig(
      tokens=tokens,
      duration_bins=duration_bins,
      network=network,
      rows=rows,
      data=data,
      run=TrainConfig(
        minutes=minutes,
        steps=steps,
        optimizer=optimizer,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        seed=seed,
        held_out_windows=held_out_windows,
      ),
    )
    corpora = read(folders, ("train", "valid"))
    held_out = join_corpora([c["valid"] for c in corpora if len(c["valid"])])
    for folder, corpus in zip(folders, corpora, strict=True):
      if not len(corpus["train"]):
        raise UserError(f"{folder}: no piece to train on.")
    log = console()
    log.print(
      f"{tokens}: {music.size} ids; {network.layers} layers of"
      f" {network.width}, {parameter_count(network):,} parameters"
    )
    with progress_bar() as bar, stop_signals() as stopped:
      task = bar.add_task("training", total=1.0, note="compiling")

      def show(progress: Any) -> None:
        held = (
          f", held out {progress.held_out:.2f} a note"
          if progress.held_out is not None
          else ""
        )
        bar.update(
          task,
          completed=progress.fraction,
          note=f"step {progress.step}, {progress.nats:.2f} nats a token{held},"
          f" {progress.tokens_per_s:,.0f} tokens/s",
        )

      evaluation = train_baseline(
        config,
        music,
        [corpus["train"] for corpus in corpora],
        shares,
        held_out,
        out,
        on_progress=show,
        should_stop=lambda: bool(stopped),
      )
    if stopped:
      log.print(f"stopped and saved; the same command continues {out}")
      raise click.Abort
    print_json(
      dict(
        out=str(out),
        parameters=parameter_count(network),
        held_out=evaluation.figures() if evaluation else {},
      )
    )


@main.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="DIR",
  type=click.Path(path_type=Path),
  help="Folder of MIDI files; repeatable.",
)
@click.option("--split", default="test", show_default=True)
@click.option(
  "--windows",
  type=bounded(COUNT_FROM_0),
  help="Score so many 2 s windows of each folder [default: all].",
)
@click.option(
  "--context",
  "contexts",
  type=click.Choice(["window", "full"]),
  multiple=True,
  default=("window",),
  show_default=True,
  help="The true 10 s before each window, or all that the network holds;"
  " repeatable.",
)
@click.option(
  "--against",
  multiple=True,
  metavar="CHECKPOINT",
  help="One of ours, scored on the same windows; `embedded` is the package's;"
  " repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also as JSON.")
def evaluate_command(
  run: Path,
  data: tuple[Path, ...],
  split: str,
  windows: int | None,
  contexts: tuple[str, ...],
  against: tuple[str, ...],
  out: Path | None,
) -> None:
  """Score a run, and checkpoints of ours, on the same music."""
  with one_line_errors():
    figures = compared(run, data, split, windows, contexts, against)
    show_table(figures)
    if out is not None:
      write_atomically(out, (json.dumps(figures, indent=2) + "\n").encode())
    print_json(figures)


def compared(
  run: Path,
  data: tuple[Path, ...],
  split: str,
  windows: int | None,
  contexts: tuple[str, ...],
  against: tuple[str, ...],
) -> dict[str, Any]:
  """Figures by folder, and of all of them together."""
  from magenta_midi.api import MagentaMidi
  from magenta_midi.evaluation.evaluate import Evaluation, evaluate
  from tools.baselines.gpt2_baseline.comparison import compare
  from tools.baselines.gpt2_baseline.network import parameter_count
  from tools.baselines.gpt2_baseline.scoring import score
  from tools.baselines.gpt2_baseline.training import load_run

  model, tokens, settings = load_run(run)
  checkpoints = {
    name: MagentaMidi.load(None if name == "embedded" else Path(name))
    for name in dict.fromkeys(against)
  }
  corpora = [found[split] for found in read(list(data), (split,))]
  found: dict[str, dict[str, Evaluation]] = {}
  for folder, corpus in zip(data, corpora, strict=True):
    if not len(corpus):
      console().print(f"{folder}: no piece in split {split!r}")
      continue
    rows = found.setdefault(folder.name, {})
    with progress_bar() as bar:
      for name, mm in checkpoints.items():
        task = bar.add_task(f"{folder.name}: {name}", note="")

        def show(
          done: int, total: int, bar: Any = bar, task: Any = task
        ) -> None:
          bar.update(task, completed=done, total=total)

        rows[name] = evaluate(
          mm.generator.model, mm.codec, corpus, windows=windows, on_window=show
        )
      for context in contexts:
        name = f"gpt2 {context}"
        task = bar.add_task(f"{folder.name}: {name}", total=None, note="")

        def tell(done: int, bar: Any = bar, task: Any = task) -> None:
          bar.update(task, note=f"{done:,} tokens")

        rows[name] = score(
          model,
          tokens,
          corpus,
          windows=windows,
          context=context,  # type: ignore[arg-type]
          on_part=tell,
        )
  if not found:
    raise UserError(f"no music in split {split!r}.")
  if len(found) > 1:
    parts = list(found.values())
    joined = dict(parts[0])
    for part in parts[1:]:
      joined = {name: joined[name].joined(part[name]) for name in joined}
    found["all"] = joined
  reference = next(iter(checkpoints), f"gpt2 {contexts[0]}")
  return dict(
    run=str(run),
    tokens=settings["tokens"],
    duration_bins=settings["duration_bins"],
    parameters=parameter_count(model.config),
    minutes=settings["minutes"],
    steps=settings["step"],
    split=split,
    windows=windows,
    token_losses=tokens.losses.shares(),
    reference=reference,
    figures={
      name: compare(evaluations, reference)
      for name, evaluations in found.items()
    },
  )


def show_table(figures: dict[str, Any]) -> None:
  """Prints one row a model and folder."""
  table = rich.table.Table()
  columns = ("data", "model", "nats a second", "more", "nats a note", "more")
  for column in (*columns, "notes", "s"):
    table.add_column(column)

  def cell(value: dict[str, Any], sign: str = "") -> str:
    low, high = value["ci95"]
    return f"{value['value']:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"

  for folder, models in figures["figures"].items():
    for name, row in models.items():
      cells = []
      for unit in ("nats_per_second", "nats_per_note"):
        more = row.get("difference", {}).get(unit)
        cells += [cell(row[unit]), cell(more, "+") if more else ""]
      facts = (str(row["notes"]), f"{row['seconds']:.0f}")
      table.add_row(folder, name, *cells, *facts)
  log = console()
  if not log.is_terminal:
    log.width = 140
  log.print(table)


if __name__ == "__main__":
  main()
