"""`magenta-midi prepare`: a corpus packed into shards."""

import contextlib
import logging
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, interrupt_on_sigterm
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
  remark,
)
from magenta_midi.limits import JOBS

__all__ = ["command"]

# Bad files that are listed; the manifest lists all.
_MAX_LISTED = 5


def _cores() -> int:
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@click.command("prepare")
@click.argument("folder", metavar="DIR", type=FilePath())
@click.option(
  "--out",
  type=FilePath(),
  required=True,
  help="Folder for the shards: a new folder, or one that this command began.",
)
@click.option(
  "--jobs",
  type=bounded(JOBS),
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
    remark(f"what is finished is kept; the same command continues {out}")
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
  _report(folder, out, manifest)
  if as_json:
    print_json(_figures(out, manifest, time.perf_counter() - begun_s))


def _prepare(
  folder: Path, out: Path, jobs: int, beam: str | None, show: Any
) -> dict[str, Any]:
  if beam is None:
    from magenta_midi.data.prepare import prepare

    return prepare(folder, out, jobs=jobs, on_progress=show)
  try:
    options = shlex.split(beam)
  except ValueError as error:
    raise UserError(f"--beam {beam!r}: {error}.") from None
  with _logs_nothing():
    from magenta_midi.data.prepare_beam import prepare_with_beam

    return prepare_with_beam(folder, out, options=options)


@contextlib.contextmanager
def _logs_nothing() -> Iterator[None]:
  """Without Beam's own logs: a failure is reported once, in one line."""
  before = logging.root.manager.disable
  logging.disable(logging.ERROR)
  try:
    yield
  finally:
    logging.disable(before)


def _report(folder: Path, out: Path, manifest: dict[str, Any]) -> None:
  for one in manifest["bad"][:_MAX_LISTED]:
    remark(f"left out: {one['path']}: {one['reason']}")
  if len(manifest["bad"]) > _MAX_LISTED:
    remark(
      f"left out: {len(manifest['bad']) - _MAX_LISTED} more, listed in"
      f" {out / 'manifest.json'}"
    )
  outlines: dict[str, Any] = manifest.get("outlines") or dict(pieces=0, bad=[])
  for one in outlines["bad"][:_MAX_LISTED]:
    remark(f"without its beats and chords: {one['reason']}")
  splits = ", ".join(
    f"{split['pieces']} {name}" for name, split in manifest["splits"].items()
  )
  told = outlines["pieces"]
  beats = f", {told} with beats or chords" if told else ""
  copies = len(manifest["duplicates"])
  print_line(
    f"{out}: {manifest['pieces']} pieces ({splits}{beats}),"
    f" {manifest['notes']:,} notes, from {manifest['plan']['files']} files of"
    f" {folder}; {copies} {'copy' if copies == 1 else 'copies'} of a piece left"
    " out"
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
