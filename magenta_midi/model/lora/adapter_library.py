"""Installed adapters: a folder of files, found by name."""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

from flax import nnx

from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.adapter_file import (
  SUFFIX,
  Adapter,
  AdapterError,
  check_base,
  check_name,
  read_adapter,
  write_adapter,
)
from magenta_midi.model.lora.lora import merge_on_host

__all__ = [
  "adapted_model",
  "check_free",
  "adapters_folder",
  "find_adapter",
  "install_adapter",
  "installed_adapters",
  "installed_names",
  "installed_path",
  "is_adapter",
  "load_adapters",
  "parse_scaled",
  "remove_adapter",
]


def adapters_folder() -> Path:
  """Where adapters lie; MAGENTA_MIDI_ADAPTERS moves it.

  By default under XDG_DATA_HOME, or ~/.local/share.
  """
  if folder := os.environ.get("MAGENTA_MIDI_ADAPTERS"):
    return Path(folder)
  named = os.environ.get("XDG_DATA_HOME", "")
  # The specification has relative paths ignored.
  base = Path(named) if os.path.isabs(named) else Path.home() / ".local/share"
  return base / "magenta_midi" / "adapters"


def installed_path(name: str, folder: Path | None = None) -> Path:
  """Where an adapter of that name lies, or would.

  Raises:
    AdapterError: It cannot be a name.
  """
  folder = adapters_folder() if folder is None else folder
  return folder / (check_name(name) + SUFFIX)


def installed_adapters(folder: Path | None = None) -> list[Path]:
  """The files of all installed adapters, by name."""
  folder = adapters_folder() if folder is None else folder
  if not folder.is_dir():
    return []
  return sorted(
    path
    for path in folder.iterdir()
    if path.suffix == SUFFIX and not path.name.startswith(".")
  )


def installed_names(folder: Path | None = None) -> list[str]:
  """The names of all installed adapters, sorted."""
  return [path.stem for path in installed_adapters(folder)]


def is_adapter(text: str, folder: Path | None = None) -> bool:
  """Whether a text that names no folder names an adapter, `NAME[:SCALE]`."""
  if Path(text).is_dir():
    return False
  try:
    name, _ = parse_scaled(text)
    if name.endswith(SUFFIX):
      return Path(name).is_file()
    return installed_path(name, folder).is_file()
  except AdapterError:
    return False


def find_adapter(name: str, folder: Path | None = None) -> Adapter:
  """Reads an installed adapter, or the file of one.

  Args:
    name: Of an installed adapter, or a path that ends in `.safetensors`.
    folder: Of the installed ones; None: `adapters_folder()`.

  Raises:
    AdapterError: There is none, or it is damaged.
  """
  if name.endswith(SUFFIX):
    return read_adapter(Path(name))
  path = installed_path(name, folder)
  if not path.is_file():
    known = ", ".join(installed_names(folder))
    raise AdapterError(
      f"no adapter {name!r} is installed"
      + (f" (there are: {known})" if known else "")
      + ". Make one with `magenta-midi finetune`, or import one with"
      " `magenta-midi adapters import`."
    )
  # A file that was renamed is found by its new name.
  return dataclasses.replace(read_adapter(path), name=name)


def install_adapter(
  adapter: Adapter, *, replace: bool = False, folder: Path | None = None
) -> Path:
  """Installs an adapter under its name.

  Args:
    adapter: The adapter.
    replace: Whether one of that name may be overwritten.
    folder: Of the installed ones; None: `adapters_folder()`.

  Raises:
    AdapterError: One of that name is there.
    OSError: It cannot be written.
  """
  if not replace:
    check_free(adapter.name, folder)
  path = installed_path(adapter.name, folder)
  write_adapter(path, adapter)
  return path


def check_free(name: str, folder: Path | None = None) -> None:
  """Refuses a name that an installed adapter has.

  Raises:
    AdapterError: It has; or it cannot be a name.
  """
  path = installed_path(name, folder)
  if path.exists():
    raise AdapterError(
      f"an adapter {name!r} is installed already ({path}). Give another name,"
      " or --replace."
    )


def remove_adapter(name: str, folder: Path | None = None) -> Path:
  """Removes an installed adapter, damaged or not.

  Raises:
    AdapterError: There is none.
  """
  path = installed_path(name, folder)
  try:
    path.unlink()
  except FileNotFoundError:
    raise AdapterError(f"no adapter {name!r} is installed.") from None
  return path


def parse_scaled(text: str) -> tuple[str, float]:
  """Splits `NAME[:SCALE]`.

  Raises:
    AdapterError: The scale is no finite number.
  """
  name, colon, scale = text.rpartition(":")
  if not colon:
    return text, 1.0
  try:
    value = float(scale)
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise AdapterError(
      f"expected NAME or NAME:SCALE with a finite SCALE, got {text[:80]!r}."
    )
  return name, value


def load_adapters(
  wanted: Sequence[str | tuple[str, float]], folder: Path | None = None
) -> list[tuple[Adapter, float]]:
  """Reads installed adapters, each with its weight in the blend.

  Args:
    wanted: `NAME[:SCALE]`, or name and scale; 1 is full strength.
    folder: Of the installed ones; None: `adapters_folder()`.

  Raises:
    AdapterError: One is absent or damaged, or is named twice.
  """
  found = []
  for item in wanted:
    name, scale = parse_scaled(item) if isinstance(item, str) else item
    found.append((find_adapter(name, folder), float(scale)))
  names = [adapter.name for adapter, _ in found]
  for name in names:
    if names.count(name) > 1:
      raise AdapterError(f"adapter {name!r} is given twice. Add the scales up.")
  return found


def adapted_model(
  model: Depthformer,
  adapters: Sequence[tuple[Adapter, float]],
  *,
  sha256: str,
  base: str,
) -> Depthformer:
  """A model with adapters merged into it; the base is left as it is.

  Args:
    model: The base.
    adapters: What to add, and how much of each; 1 is full strength.
    sha256: Of the base's weights, as its config.json has it.
    base: How the user knows it.

  Raises:
    AdapterError: One was trained on another base.
  """
  for adapter, _ in adapters:
    check_base(adapter, sha256, base)
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  try:
    merged = merge_on_host(
      params, [(a.factors, weight * a.scale) for a, weight in adapters]
    )
  except ValueError as error:
    raise AdapterError(str(error)) from None
  return nnx.merge(graph, merged, rest)
