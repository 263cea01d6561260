"""`magenta-midi export-t5x`: a checkpoint in the layout of T5X."""

import time
from pathlib import Path

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, interrupt_on_sigterm
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
)
from magenta_midi.limits import STEP_NUMBER

__all__ = ["command"]


@click.command("export-t5x")
@click.argument("checkpoint", type=FilePath())
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  required=True,
  help="Folder in which checkpoint_<step> is written.",
)
@click.option(
  "--step",
  type=bounded(STEP_NUMBER),
  help="Training step in the folder's name [default: that of the checkpoint].",
)
@json_option
def command(
  checkpoint: Path, out: Path, step: int | None, as_json: bool
) -> None:
  """Write the parameters of a checkpoint in the layout of T5X.

  `import-magenta-rt` reads it back, bit by bit; int8 weights become float32.
  Settings and notes are written beside it, to magenta_midi.json, which T5X
  does not read.
  """
  from magenta_midi.magenta_rt.t5x_transfer import export_t5x
  from magenta_midi.model.checkpoint import StoredCheckpoint

  if out.exists() and not out.is_dir():
    raise UserError(f"--out {out}: is a file. Give a folder.")
  stored = StoredCheckpoint(checkpoint)
  if step is None:
    noted = stored.facts["notes"].get("step", 0)
    step = noted if isinstance(noted, int) and 0 <= noted < 2**31 else 0
  started = time.perf_counter()
  with interrupt_on_sigterm(), progress_bar() as bar:
    task = bar.add_task("exporting", note="")
    facts = export_t5x(
      stored,
      out,
      step,
      on_array=lambda name, done, total: bar.update(
        task, completed=done, total=total, note=name
      ),
    )
  print_line(
    f"wrote {facts['checkpoint']}: {facts['parameters']:,} parameters in"
    f" {facts['arrays']} arrays, {facts['dtype']}"
  )
  if facts["added"]:
    print_line(f"unknown to the original: {', '.join(facts['added'])}")
  if as_json:
    seconds = round(time.perf_counter() - started, 3)
    print_json(facts | dict(seconds=seconds))
