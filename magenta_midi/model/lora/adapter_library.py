"""Library of installed adapters: a folder of files, found by name."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from flax import nnx

from magenta_midi.limits import ADAPTER_SCALE
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
from magenta_midi.plain_text import existing_path, nfc
from magenta_midi.user_folders import data_home

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
  """Folder of installed adapters; set by MAGENTA_MIDI_ADAPTERS.

  By default under `data_home()`.
  """
  if folder := os.environ.get("MAGENTA_MIDI_ADAPTERS"):
    return Path(folder)
  return data_home() / "magenta_midi" / "adapters"


def installed_path(name: str, folder: Path | None = None) -> Path:
  """Path of the file of an adapter, which may not exist.

  The name on the disk may be in another Unicode form, as macOS writes it.

  Raises:
    AdapterError: The name is invalid.
  """
  folder = adapters_folder() if folder is None else folder
  return existing_path(folder / (check_name(name) + SUFFIX))


def installed_adapters(folder: Path | None = None) -> list[Path]:
  """Files of all installed adapters, sorted by name.

  Of two names that differ only by their Unicode form, the one in NFC is the
  adapter; so every file here is found by its name.
  """
  folder = adapters_folder() if folder is None else folder
  if not folder.is_dir():
    return []
  files = {
    nfc(path.name): path
    for path in sorted(
      folder.iterdir(), key=lambda path: path.name == nfc(path.name)
    )
    if path.suffix == SUFFIX and not path.name.startswith(".")
  }
  return [files[name] for name in sorted(files)]


def installed_names(folder: Path | None = None) -> list[str]:
  """Names of all installed adapters in NFC, sorted."""
  return [nfc(path.stem) for path in installed_adapters(folder)]


def is_adapter(text: str, folder: Path | None = None) -> bool:
  """Whether a text is an adapter `NAME[:SCALE]` and not a folder."""
  if Path(text).is_dir():
    return False
  try:
    name, _ = parse_scaled(text)
    if name.endswith(SUFFIX):
      return existing_path(name).is_file()
    return installed_path(name, folder).is_file()
  except AdapterError:
    return False


def find_adapter(name: str, folder: Path | None = None) -> Adapter:
  """Reads an installed adapter or an adapter file.

  Args:
    name: Name of an installed adapter, or a path that ends in `.safetensors`.
    folder: Folder of installed adapters; None: `adapters_folder()`.

  Raises:
    AdapterError: It does not exist or is damaged.
  """
  if name.endswith(SUFFIX):
    return read_adapter(existing_path(name))
  path = installed_path(name, folder)
  # Of a folder, a pipe or a broken link the reader says that it is one.
  if not os.path.lexists(path):
    known = ", ".join(installed_names(folder))
    raise AdapterError(
      f"no adapter {name!r} is installed"
      + (f" (there are: {known})" if known else "")
      + ". Make one with `magenta-midi finetune`, or import one with"
      " `magenta-midi adapters import`."
    )
  # A renamed file has its new name.
  return dataclasses.replace(read_adapter(path), name=nfc(name))


def install_adapter(
  adapter: Adapter, *, replace: bool = False, folder: Path | None = None
) -> Path:
  """Installs an adapter under its name.

  Args:
    adapter: The adapter.
    replace: Whether an adapter of the same name may be overwritten.
    folder: Folder of installed adapters; None: `adapters_folder()`.

  Raises:
    AdapterError: An adapter of this name exists.
    OSError: The file cannot be written.
  """
  if not replace:
    check_free(adapter.name, folder)
  path = installed_path(adapter.name, folder)
  write_adapter(path, adapter)
  return path


def check_free(name: str, folder: Path | None = None) -> None:
  """Checks that no installed adapter has a name.

  Raises:
    AdapterError: The name is in use or invalid.
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
    AdapterError: It does not exist.
  """
  path = installed_path(name, folder)
  try:
    path.unlink()
  except FileNotFoundError:
    raise AdapterError(f"no adapter {name!r} is installed.") from None
  return path


def parse_scaled(text: str) -> tuple[str, float]:
  """Splits `NAME[:SCALE]`; the name is in NFC.

  Raises:
    AdapterError: The scale is no number, or out of range.
  """
  name, colon, scale = text.rpartition(":")
  if not colon:
    return _spelled(text), 1.0
  try:
    return _spelled(name), ADAPTER_SCALE.read("SCALE", scale)
  except ValueError as error:
    raise AdapterError(
      f"expected NAME or NAME:SCALE, got {text[:80]!r}: {error}"
    ) from None


def _spelled(name: str) -> str:
  """A file's name as on the disk, an adapter's in NFC."""
  return str(existing_path(name)) if name.endswith(SUFFIX) else nfc(name)


def load_adapters(
  wanted: Sequence[str | tuple[str, float]], folder: Path | None = None
) -> list[tuple[Adapter, float]]:
  """Reads adapters, each with its weight in the blend.

  Args:
    wanted: `NAME[:SCALE]` or (name, scale) of each; 1 is full strength.
    folder: Folder of installed adapters; None: `adapters_folder()`.

  Raises:
    AdapterError: One is missing, damaged or named twice, or a scale is out of
      range.
  """
  found = []
  for item in wanted:
    name, scale = parse_scaled(item) if isinstance(item, str) else item
    found.append((name, _checked_scale(name, scale)))
  found = [(find_adapter(name, folder), scale) for name, scale in found]
  names = [adapter.name for adapter, _ in found]
  for name in names:
    if names.count(name) > 1:
      raise AdapterError(f"adapter {name!r} is given twice. Add the scales up.")
  return found


def _checked_scale(name: str, scale: float) -> float:
  try:
    return ADAPTER_SCALE.check(f"adapter {name!r}: the scale", scale)
  except ValueError as error:
    raise AdapterError(str(error)) from None


def adapted_model(
  model: Depthformer,
  adapters: Sequence[tuple[Adapter, float]],
  *,
  sha256: str,
  base: str,
) -> Depthformer:
  """A copy of a model with merged adapters.

  Args:
    model: The base, not modified.
    adapters: Adapters and their scales; 1 is full strength.
    sha256: SHA-256 of the base's weights, from its config.json.
    base: Name of the base in messages.

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
