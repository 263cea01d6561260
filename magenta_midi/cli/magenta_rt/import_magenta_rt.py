"""`magenta-midi import-magenta-rt`: Magenta RealTime's weights, converted."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import rich.progress

from magenta_midi.bounded_files import JSON_BYTES, read_text
from magenta_midi.cli.terminal.errors import UserError, interrupt_on_sigterm
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
  remark,
)

if TYPE_CHECKING:
  from magenta_midi.magenta_rt.config import Settings
  from magenta_midi.magenta_rt.t5x_checkpoint import T5xCheckpoint
  from magenta_midi.model.config import DepthformerConfig

__all__ = ["command"]


@click.command("import-magenta-rt")
@click.argument("path", required=False, type=FilePath())
@click.option(
  "--tag",
  type=click.Choice(["base", "large"]),
  help="Which published model it is [default: found from the arrays].",
)
@click.option(
  "--config",
  "settings",
  type=FilePath(),
  help="Settings of another shape: config.json of a checkpoint, JSON of its"
  " fields, or the original's macros (EMBED_DIM = 768 ...). The rest is found"
  " from the arrays.",
)
@click.option(
  "--download",
  is_flag=True,
  help="Download the model of --tag from Hugging Face to PATH first, 1.4 GB"
  " (base) or 3.0 GB (large) [default: the cache of magenta_rt].",
)
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  required=True,
  help="Folder to write: config.json and weights.safetensors.",
)
@json_option
def command(
  path: Path | None,
  tag: str | None,
  settings: Path | None,
  download: bool,
  out: Path,
  as_json: bool,
) -> None:
  """Convert a checkpoint of Magenta RealTime for use here.

  PATH is the folder of a T5X checkpoint (checkpoint_<step>), a folder that
  holds one, or a tar archive of it. Arrays are copied bit by bit. For a
  checkpoint that export-t5x wrote, settings and notes are restored too.
  """
  if path is None and not download:
    raise UserError(
      "PATH is missing. Give a checkpoint's folder or .tar, or --download."
    )
  if path is not None and not download and not path.exists():
    raise UserError(f"{path}: no such file or folder.")
  out = Path(os.path.abspath(out))
  _check_out(out)
  given = (
    _read_settings(settings, f"--config {settings}")
    if settings is not None
    else None
  )
  from magenta_midi.magenta_rt.t5x_checkpoint import NOTES
  from magenta_midi.magenta_rt.t5x_transfer import import_t5x

  started = time.perf_counter()
  with interrupt_on_sigterm(), progress_bar() as bar:
    if download:
      from magenta_midi.cli.magenta_rt.download import fetch_checkpoint

      if tag is None:
        raise UserError("--download needs --tag base or --tag large.")
      path = fetch_checkpoint(tag, path, bar)
    assert path is not None
    with _opened(path, out, bar) as checkpoint:
      # The notes of export-t5x; --config has priority over them.
      exported = None
      if (beside := checkpoint.folder / NOTES).is_file():
        exported = _read_settings(beside, NOTES)
      if given is not None:
        model = _given_model(checkpoint, tag, given, "--config")
      elif exported is not None:
        model = _given_model(checkpoint, tag, exported, NOTES)
      else:
        model = _published_model(checkpoint, tag)
      if tag is not None and model.tag is None:
        remark(f"note: not the published {tag} model; written without the tag.")
      tag = model.tag
      notes = dict(source="Magenta RealTime" if tag else "T5X", tag=tag)
      task = bar.add_task("importing", note="")
      facts = import_t5x(
        checkpoint,
        model.config,
        out,
        codec=model.codec,
        notes=notes | (exported.notes if exported is not None else {}),
        on_array=lambda name, done, total: bar.update(
          task, completed=done, total=total, note=name
        ),
      )
  seconds = time.perf_counter() - started
  print_line(
    f"wrote {out}: {facts['parameters']:,} parameters in {facts['arrays']}"
    f" arrays, {facts['dtype']}, {facts['bytes'] / 1e6:.1f} MB"
  )
  if as_json:
    print_json(
      dict(checkpoint=str(out), tag=tag, **facts, seconds=round(seconds, 3))
    )


def _check_out(out: Path) -> None:
  """Refuses a folder with anything in it, before any work."""
  if (out / "config.json").exists():
    raise UserError(f"--out {out}: holds a checkpoint. Give a new folder.")
  if out.is_dir():
    others = [p.name for p in out.iterdir() if not p.name.startswith(".")]
    if others:
      raise UserError(
        f"--out {out}: holds {others[0]} and is no checkpoint. Give a new"
        " folder."
      )
  elif out.exists() and not out.is_dir():
    raise UserError(f"--out {out}: is a file. Give a folder.")
  parent = next(p for p in (out, *out.parents) if p.exists())
  if not os.access(parent, os.W_OK):
    raise UserError(f"--out {out}: {parent} cannot be written to.")


def _read_settings(path: Path, name: str) -> "Settings":
  """Settings of a file, which messages call by a name."""
  from magenta_midi.magenta_rt.config import parse_settings

  if path.is_dir():
    raise UserError(f"{name}: is a folder. Give a file, as its config.json.")
  if not path.exists():
    raise UserError(f"{name}: no such file.")
  try:
    return parse_settings(read_text(path, JSON_BYTES))
  except ValueError as error:
    raise UserError(f"{name}: {error}") from None


@contextlib.contextmanager
def _opened(
  path: Path, out: Path, bar: rich.progress.Progress
) -> "Iterator[T5xCheckpoint]":
  """The checkpoint; of an archive, unpacked beside `out` for the while."""
  from magenta_midi.magenta_rt.t5x_checkpoint import (
    INDEX,
    T5xCheckpoint,
    find_t5x,
  )

  if path.is_dir() or path.name == INDEX:
    yield T5xCheckpoint(find_t5x(path))
    return
  from magenta_midi.magenta_rt.t5x_archive import unpack_t5x
  from magenta_midi.midi.folder_lock import folder_lock

  temporary = out.with_name(f".{out.name}.unpacked")
  with folder_lock(out):
    try:
      # It may be what a killed process has left.
      shutil.rmtree(temporary, ignore_errors=True)
      temporary.mkdir()
      task = bar.add_task("unpacking", note=path.name)
      folder = unpack_t5x(
        path,
        temporary,
        on_bytes=lambda done, total: bar.update(
          task, completed=done, total=total
        ),
      )
      bar.remove_task(task)
      yield T5xCheckpoint(folder)
    finally:
      shutil.rmtree(temporary, ignore_errors=True)


class _Model(NamedTuple):
  """Description of an imported checkpoint."""

  tag: str | None
  config: "DepthformerConfig"
  codec: dict[str, Any]


def _shapes(checkpoint: "T5xCheckpoint") -> dict[str, tuple[int, ...]]:
  return {name: info.shape for name, info in checkpoint.infos.items()}


def _given_model(
  checkpoint: "T5xCheckpoint", tag: str | None, given: "Settings", name: str
) -> _Model:
  """The model of settings; of a published one only with that one's tag."""
  from magenta_midi.magenta_rt.config import (
    complete_config,
    misfits,
    published_codec,
    published_tag,
  )

  shapes = _shapes(checkpoint)
  try:
    config = complete_config(given.fields, shapes)
  except ValueError as error:
    raise UserError(f"{name}: {error}") from None
  if wrong := misfits(config, shapes):
    raise UserError(
      f"{checkpoint.folder.name} is not of the shape of {name}: {wrong}."
    )
  published = published_tag(config)
  if tag is not None and published not in (None, tag):
    raise UserError(
      f"--tag {tag}: {name} is the {published} model. Give --tag {published}."
    )
  return _Model(published, config, given.codec or published_codec(config))


def _published_model(checkpoint: "T5xCheckpoint", tag: str | None) -> _Model:
  """The published model; refuses one other than the requested model."""
  from magenta_midi.magenta_rt.config import (
    misfits,
    published_codec,
    recognized_tag,
  )
  from magenta_midi.model.config import MAGENTA_RT, magenta_rt_config

  shapes = _shapes(checkpoint)
  seems = recognized_tag(shapes)
  if tag is None and seems is None:
    raise UserError(
      f"{checkpoint.folder.name} is none of the published shapes"
      f" ({', '.join(MAGENTA_RT)}). Give its settings with --config FILE, or"
      " --tag to see what differs."
    )
  tag = tag or seems
  assert tag is not None
  config = magenta_rt_config(tag)
  wrong = misfits(config, shapes)
  if seems is not None and seems != tag:
    raise UserError(
      f"--tag {tag}: this is a {seems} checkpoint ({wrong}). Give --tag"
      f" {seems}."
    )
  if wrong:
    raise UserError(
      f"--tag {tag}: this is no {tag} checkpoint of Magenta RealTime, but one"
      f" of {wrong}. Give its settings with --config FILE."
    )
  return _Model(tag, config, published_codec(config))
