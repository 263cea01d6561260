"""`magenta-midi import-encodec`: EnCodec's published weights, converted."""

import os
import time
from pathlib import Path

import click
import rich.progress

from magenta_midi.cli.terminal.errors import UserError, interrupt_on_sigterm
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
)

__all__ = ["command"]


@click.command("import-encodec")
@click.argument("path", required=False, type=FilePath())
@click.option(
  "--download",
  is_flag=True,
  help="Download the model from Hugging Face to the cache first, 0.1 GB.",
)
@click.option(
  "--model",
  type=click.Choice(["24khz", "48khz"]),
  default="24khz",
  help="Which one --download fetches: 24 kHz mono, which streams, or 48 kHz"
  " stereo, which codes windows of a second.  [default: 24khz]",
)
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  required=True,
  help="Folder to write: config.json and weights.safetensors.",
)
@json_option
def command(
  path: Path | None, download: bool, model: str, out: Path, as_json: bool
) -> None:
  """Convert the weights of EnCodec, an audio codec, for use here.

  PATH is the folder of a published model, with config.json and
  model.safetensors or pytorch_model.bin, or one of these files. PyTorch is not
  needed.
  """
  if (path is None) != download:
    raise UserError(
      "give either PATH, the folder of a published EnCodec, or --download."
    )
  if path is not None and not path.exists():
    raise UserError(f"{path}: no such file or folder.")
  out = Path(os.path.abspath(out))
  _check_out(out)
  from magenta_midi.audio.codec.encodec.published import read_published
  from magenta_midi.audio.codec.encodec.weights import save_encodec

  started = time.perf_counter()
  with interrupt_on_sigterm(), progress_bar() as bar:
    if path is None:
      path = _fetched(model, bar)
    task = bar.add_task("importing", note="")
    config, arrays = read_published(path)
    facts = save_encodec(out, config, arrays)
    bar.remove_task(task)
  seconds = time.perf_counter() - started
  print_line(
    f"wrote {out}: EnCodec of {config.sample_rate / 1000:g} kHz,"
    f" {config.channels} channel{'s' * (config.channels > 1)}, {config.levels}"
    f" levels; {facts['parameters']:,} parameters,"
    f" {facts['bytes'] / 1e6:.1f} MB"
  )
  if as_json:
    print_json(
      dict(
        codec=str(out),
        sample_rate=config.sample_rate,
        channels=config.channels,
        levels=config.levels,
        streams=config.causal,
        **facts,
        seconds=round(seconds, 3),
      )
    )


def _check_out(out: Path) -> None:
  """Refuses a folder with anything in it, before any work."""
  if out.is_dir():
    others = [p.name for p in out.iterdir() if not p.name.startswith(".")]
    if others:
      raise UserError(f"--out {out}: holds {others[0]}. Give a new folder.")
  elif out.exists():
    raise UserError(f"--out {out}: is a file. Give a folder.")
  parent = next(p for p in (out, *out.parents) if p.exists())
  if not os.access(parent, os.W_OK):
    raise UserError(f"--out {out}: {parent} cannot be written to.")


def _fetched(model: str, bar: rich.progress.Progress) -> Path:
  """The folder of a published model, downloaded or already there."""
  from magenta_midi.audio.codec.encodec.published import (
    CONFIG,
    REPOSITORIES,
    WEIGHTS,
  )
  from magenta_midi.cli.terminal.download import fetch_file, hugging_face_url
  from magenta_midi.user_folders import cache_home

  folder = cache_home() / "magenta_midi" / "encodec" / model
  for name in (CONFIG, WEIGHTS[0]):
    fetch_file(
      hugging_face_url(REPOSITORIES[model], name),
      folder / name,
      bar,
      name=f"{model} {name}",
      by_hand="magenta-midi import-encodec FOLDER --out DIR, where FOLDER has"
      f" {CONFIG} and {WEIGHTS[0]}",
    )
  return folder
