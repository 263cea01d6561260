"""`magenta-midi adapters`: the installed adapters."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import checkpoint_option
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  remark,
)

if TYPE_CHECKING:
  from magenta_midi.model.lora.adapter_file import Adapter, PlayerStyle

__all__ = ["command", "style_line"]


@click.group("adapters")
def command() -> None:
  """List, show, merge, remove, export and import adapters.

  Adapters are kept in your data folder; the variable MAGENTA_MIDI_ADAPTERS
  names another folder. Each command has --json.
  """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
  """List the installed adapters."""
  from magenta_midi.model.lora.adapter_file import AdapterError, read_adapter
  from magenta_midi.model.lora.adapter_library import (
    adapters_folder,
    installed_adapters,
  )

  rows = []
  for path in installed_adapters():
    try:
      adapter = read_adapter(path)
    except AdapterError as error:
      remark(f"left out: {error}")
      continue
    rows.append(dict(_facts(adapter, path), name=path.stem))
  if not rows:
    remark(f"no adapters in {adapters_folder()} yet")
  for row in rows:
    print_line(
      f"{row['name']}: {_gain(row['figures'])}, rank {row['rank']}, of"
      f" {row['base']}, {row['bytes'] / 1e6:.1f} MB, {row['date'][:10]}"
    )
  if as_json:
    print_json(dict(adapters=rows))


@command.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
  """Show the settings and figures of an adapter: NAME or a file."""
  adapter, path = _found(name)
  facts = _facts(adapter, path)
  print_line(f"{adapter.name} ({path}, {facts['bytes']:,} bytes)")
  print_line(f"  {_gain(adapter.figures)}")
  print_line(
    f"  rank {adapter.config.rank}, alpha {adapter.config.alpha:g}, on"
    f" {', '.join(adapter.config.targets)}: {facts['parameters']:,} numbers in"
    f" {facts['arrays']} arrays"
  )
  print_line(
    f"  base: {adapter.base}, weights {adapter.base_sha256[:12]}, codec"
    f" {adapter.codec.get('name')}"
  )
  print_line(f"  {style_line(adapter)}")
  print_line(f"  made {adapter.date}")
  print_line(f"  licence: {adapter.licence}")
  if as_json:
    print_json(facts)


@command.command("merge")
@click.argument("names", metavar="NAME[:SCALE]...", nargs=-1, required=True)
@click.option(
  "--out",
  type=FilePath(file_okay=False),
  required=True,
  help="Folder of the checkpoint to write.",
)
@click.option(
  "--storage",
  type=click.Choice(["float32", "bfloat16", "int8"]),
  default="float32",
  show_default=True,
  help="Number format of the weights; only float32 stores them exactly.",
)
@checkpoint_option
@json_option
def merge(
  names: tuple[str, ...],
  out: Path,
  storage: Any,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Write a plain checkpoint with adapters merged into it."""
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f"{out}: is not empty. Give --out a new folder.")
  from magenta_midi.cli.terminal.options import load_model
  from magenta_midi.model.checkpoint import save_checkpoint

  mm = load_model(checkpoint, names)
  merged = [dict(name=name, scale=scale) for name, scale in mm.adapters]
  save_checkpoint(
    out,
    mm.generator.model,
    codec=mm.config["codec"],
    storage=storage,
    style=mm.config.get("style"),
    notes=dict(
      base=mm.checkpoint,
      base_sha256=mm.config.get("sha256", ""),
      adapters=merged,
    ),
  )
  print_line(f"wrote {out}: {mm.name}; play it with --checkpoint {out}")
  if as_json:
    print_json(dict(checkpoint=str(out), base=mm.checkpoint, adapters=merged))


@command.command("remove")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
  """Remove an installed adapter."""
  from magenta_midi.model.lora.adapter_library import remove_adapter

  path = remove_adapter(name)
  print_line(f"removed {path}")
  if as_json:
    print_json(dict(removed=str(path)))


@command.command("export")
@click.argument("name")
@click.argument("file", type=FilePath(dir_okay=False))
@json_option
def export(name: str, file: Path, as_json: bool) -> None:
  """Write an installed adapter to FILE, to share it."""
  from magenta_midi.model.lora.adapter_file import SUFFIX, write_adapter

  if file.suffix != SUFFIX:
    raise UserError(f"{file}: give a file that ends in {SUFFIX}.")
  if file.exists():
    raise UserError(f"{file}: is there already. Give another file.")
  adapter, _ = _found(name)
  size = write_adapter(file, adapter)
  print_line(f"wrote {file} ({size:,} bytes); licence: {adapter.licence}")
  if as_json:
    print_json(dict(file=str(file), bytes=size, name=adapter.name))


@command.command("import")
@click.argument("file", type=FilePath(dir_okay=False))
@click.option(
  "--name", help="Name to install it under [default: the name in the file]."
)
@click.option(
  "--replace",
  is_flag=True,
  help="Overwrite an installed adapter of the same name.",
)
@json_option
def import_(file: Path, name: str | None, replace: bool, as_json: bool) -> None:
  """Install the adapter in FILE."""
  import dataclasses

  from magenta_midi.model.lora.adapter_file import read_adapter
  from magenta_midi.model.lora.adapter_library import install_adapter

  adapter = read_adapter(file)
  if name is not None:
    adapter = dataclasses.replace(adapter, name=name)
  path = install_adapter(adapter, replace=replace)
  print_line(f"installed {adapter.name} ({path}); licence: {adapter.licence}")
  if as_json:
    print_json(_facts(adapter, path))


def _found(name: str) -> "tuple[Adapter, Path]":
  """An adapter by its name or file, and its path."""
  from magenta_midi.model.lora.adapter_file import SUFFIX
  from magenta_midi.model.lora.adapter_library import (
    find_adapter,
    installed_path,
  )
  from magenta_midi.plain_text import existing_path

  path = existing_path(name) if name.endswith(SUFFIX) else installed_path(name)
  return find_adapter(name), path


def _facts(adapter: "Adapter", path: Path) -> dict[str, Any]:
  """Facts of one adapter, as `--json` prints them."""
  from magenta_midi.model.lora.lora import parameter_count

  return dict(
    name=adapter.name,
    adapter=str(path),
    bytes=path.stat().st_size,
    base=adapter.base,
    base_sha256=adapter.base_sha256,
    codec=adapter.codec,
    rank=adapter.config.rank,
    alpha=adapter.config.alpha,
    targets=list(adapter.config.targets),
    arrays=len(adapter.factors),
    parameters=parameter_count(adapter.factors),
    style=None if adapter.style is None else _style_facts(adapter.style),
    groove=None if adapter.groove is None else adapter.groove.to_json(),
    licence=adapter.licence,
    figures=adapter.figures,
    date=adapter.date,
  )


def _style_facts(style: "PlayerStyle") -> dict[str, Any]:
  return dict(model=style.model, digest=style.digest, figures=style.figures)


def style_line(adapter: "Adapter") -> str:
  """The player's style in an adapter, and its figures."""
  style = adapter.style
  if style is None:
    return "no style vector: its base or its recordings have no style"
  found = [
    style.figures.get(name)
    for name in ("nats_per_note", "nats_per_note_without")
  ]
  worth = ""
  if all(isinstance(value, float) for value in found):
    worth = "; held-out windows: {:.3f} nats a note, {:.3f} without".format(
      *found
    )
  return f'style vector: --prompt "@{adapter.name}" ({style.model}{worth})'


def groove_line(adapter: "Adapter") -> str:
  """The player's groove in an adapter, in words."""
  groove = adapter.groove
  if groove is None:
    return "no groove: too little of the recordings has a clear beat"
  swing = "no halves" if groove.swing is None else f"swing {groove.swing:.2f}"
  late = ""
  beat, half = groove.late_ms[0], groove.late_ms[2]
  if beat is not None and half is not None:
    late = f", halves {abs(half - beat):.0f} ms"
    late += " late" if half >= beat else " early"
  return (
    f'groove: --groove "@{adapter.name}" ({groove.bpm:.0f} beats a minute,'
    f" {swing}{late})"
  )


def _gain(figures: dict[str, Any]) -> str:
  """Held-out nats before and after, if they are known."""
  found = [figures.get(f"nats_per_note_{when}") for when in ("before", "after")]
  # JSON of any file: booleans, and integers beyond all floats, are no figures.
  nats = [
    float(value)
    for value in found
    if isinstance(value, int | float)
    and not isinstance(value, bool)
    and abs(value) < 1e9
  ]
  if len(nats) < 2:
    return "no figures"
  before, after = nats
  return f"{before:.3f} nats a note before, {after:.3f} after"
