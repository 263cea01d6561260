"""`magenta-midi prepare`: a corpus packed into shards."""

import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.errors import UserError, interrupt_on_sigterm
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

__all__ = ["command"]

# Bad files that are listed; the manifest lists all.
_MAX_LISTED = 5


def _cores() -> int:
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@click.command("prepare")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  required=True,
  help="Folder for the shards: a new folder, or one that this command began.",
)
@click.option(
  "--jobs",
  type=click.IntRange(min=1),
  default=_cores,
  show_default="number of cores",
  help="Number of processes that read files.",
)
@click.option(
  "--beam",
  metavar="OPTIONS",
  help="Run as an Apache Beam pipeline with these options, for example"
  " '--runner=FlinkRunner --flink_master=HOST:8081'. Its workers must see DIR"
  " and OUT under the same paths [default: processes on this machine].",
)
@json_option
def command(
  folder: Path,
  out: Path,
  jobs: int,
  beam: str | None,
  as_json: bool,
) -> None:
  """Pack a folder of MIDI files into shards for train and evaluate.

  Give OUT in place of DIR to train --data and evaluate: the examples are the
  same, and are read from disk when they are needed. Files with the same music
  become one piece, in one split. DIR.csv beside DIR (columns path, split,
  title, composer, tags) gives splits and facts. Without it, a hash of the
  music holds out 1 piece in 20. If it is stopped, the same command continues.
  """
  from magenta_midi.data.prepared import UNFINISHED

  begun_s = time.perf_counter()
  log = console()
  try:
    with progress_bar() as bar, interrupt_on_sigterm():
      tasks: dict[str, Any] = {}

      def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
          tasks[what] = bar.add_task(what, total=total, note="")
        unit = "files" if what == "reading" else "shards"
        bar.update(tasks[what], completed=done, note=f"{done}/{total} {unit}")

      manifest = _prepare(folder, out, jobs, beam, show)
  except KeyboardInterrupt:
    log.print(f"what is finished is kept; the same command continues {out}")
    raise click.Abort from None
  except OSError as error:
    where = error.filename or out
    reason = (error.strerror or str(error)).lower()
    advice = (
      "What is finished is kept: make room, and the same command continues."
      if (out / UNFINISHED).is_dir()
      else "Give --out a folder that you may write to."
    )
    raise UserError(f"{where}: {reason}. {advice}") from None
  _report(log, folder, out, manifest)
  if as_json:
    print_json(_figures(out, manifest, time.perf_counter() - begun_s))


def _prepare(
  folder: Path, out: Path, jobs: int, beam: str | None, show: Any
) -> dict[str, Any]:
  if beam is None:
    from magenta_midi.data.prepare import prepare

    return prepare(folder, out, jobs=jobs, on_progress=show)
  # A failure is reported once, in one line.
  logging.disable(logging.ERROR)
  from magenta_midi.data.prepare_beam import prepare_with_beam

  try:
    options = shlex.split(beam)
  except ValueError as error:
    raise UserError(f"--beam {beam!r}: {error}.") from None
  return prepare_with_beam(folder, out, options=options)


def _report(
  log: Any, folder: Path, out: Path, manifest: dict[str, Any]
) -> None:
  for one in manifest["bad"][:_MAX_LISTED]:
    line = f"left out: {one['path']}: {one['reason']}"
    # Names of files may be no text.
    line = line.encode("utf-8", "backslashreplace").decode()
    log.print(" ".join(line.split()), soft_wrap=True, markup=False)
  if len(manifest["bad"]) > _MAX_LISTED:
    log.print(
      f"left out: {len(manifest['bad']) - _MAX_LISTED} more, listed in"
      f" {out / 'manifest.json'}",
      soft_wrap=True,
      markup=False,
    )
  splits = ", ".join(
    f"{split['pieces']} {name}" for name, split in manifest["splits"].items()
  )
  copies = len(manifest["duplicates"])
  click.echo(
    f"{out}: {manifest['pieces']} pieces ({splits}), {manifest['notes']:,}"
    f" notes, from {manifest['plan']['files']} files of {folder}; {copies}"
    f" {'copy' if copies == 1 else 'copies'} of a piece left out"
  )


def _figures(
  out: Path, manifest: dict[str, Any], seconds: float
) -> dict[str, Any]:
  return dict(
    out=str(out),
    files=manifest["plan"]["files"],
    pieces=manifest["pieces"],
    notes=manifest["notes"],
    events=manifest["events"],
    splits=manifest["splits"],
    duplicates=len(manifest["duplicates"]),
    bad=len(manifest["bad"]),
    shards=len(manifest["shards"]),
    bytes=sum(path.stat().st_size for path in out.iterdir()),
    seconds=round(seconds, 3),
  )
