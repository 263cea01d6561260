"""Adapter file: one `.safetensors` file that describes itself.

It has arrays `NAME.a` and `NAME.b` for each adapted array NAME and, if known,
`style`, the player's style vector. The metadata of the header have the rest,
each entry as JSON, with the style model of the style.
"""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save

from magenta_midi.bounded_files import ADAPTER_BYTES, parse_json
from magenta_midi.midi.analysis.played_groove import PlayedGroove
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.checkpoint import check_text
from magenta_midi.model.lora.lora import Factors, LoraConfig, LowRank
from magenta_midi.model.weights_file import CheckpointError, WeightsFile
from magenta_midi.plain_text import line, nfc

__all__ = [
  "LICENCE",
  "SUFFIX",
  "Adapter",
  "AdapterError",
  "PlayerStyle",
  "check_base",
  "check_name",
  "read_adapter",
  "read_groove",
  "write_adapter",
]

FORMAT = 1
SUFFIX = ".safetensors"
# Default license text.
LICENCE = "Made from its player's own recordings: theirs to pass on."
MAX_NAME = 64
# Of alpha, which is about twice the rank.
MAX_NUMBER = 1e6
STYLE = "style"
GROOVE = "groove"
# Keys of the metadata entry `style`.
_STYLE_ENTRIES = ("model", "digest", "figures")
STYLE_DIM = 768
# Entries of the metadata, and their JSON types.
_ENTRIES: dict[str, tuple[type, ...]] = {
  "format": (int,),
  "kind": (str,),
  "name": (str,),
  "base": (str,),
  "base_sha256": (str,),
  "codec": (dict,),
  "rank": (int,),
  "alpha": (int, float),
  "targets": (list,),
  "dropout": (int, float),
  "licence": (str,),
  "figures": (dict,),
  "date": (str,),
  "digest": (str,),
}


class AdapterError(ValueError):
  """An adapter is missing, damaged or of another base; a one-line message."""


class PlayerStyle(NamedTuple):
  """The style of a player, as an embedding of one style model."""

  # [768], float32.
  vector: np.ndarray
  # Name of the style model, and digest of its weights; empty: no weights.
  model: str
  digest: str
  # Figures of its quality, as JSON.
  figures: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
  """The changes learned from a player's recordings, and their base."""

  # Name for `--adapter`.
  name: str
  # float32, by dotted names of the base's arrays.
  factors: Factors
  config: LoraConfig
  # Name of the base, and SHA-256 of its weights.
  base: str
  base_sha256: str
  # Name and settings of the base's codec.
  codec: dict[str, Any]
  # The player's style; None: unknown.
  style: PlayerStyle | None = None
  # Where in the beat the player strikes; None: unknown, or free.
  groove: PlayedGroove | None = None
  # License text.
  licence: str = LICENCE
  # Held-out nats before and after training, and other figures, as JSON.
  figures: dict[str, Any] = dataclasses.field(default_factory=dict)
  # Time of creation, ISO 8601.
  date: str = dataclasses.field(
    default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(
      timespec="seconds"
    )
  )

  @property
  def scale(self) -> float:
    """The factor of its products at full strength."""
    return self.config.scale


def check_name(name: str) -> str:
  """Checks that a name is a valid file name and fits in `NAME:SCALE`.

  Returns:
    The name in NFC.

  Raises:
    AdapterError: The name is invalid; the message states valid names.
  """
  name = nfc(name)
  fine = (
    0 < len(name) <= MAX_NAME
    and len(name.encode("utf-8", "replace")) <= 4 * MAX_NAME - 16
    and name[0].isalnum()
    and all(c.isalnum() or c in "-_. " for c in name)
    and name == name.rstrip(". ")
  )
  if not fine:
    raise AdapterError(
      f"an adapter's name must be 1 to {MAX_NAME} letters, digits, '-',"
      " '_', '.' or spaces, a letter or digit first, got"
      f" {name[:MAX_NAME]!r}. Give --name another."
    )
  return name


def write_adapter(path: Path, adapter: Adapter) -> int:
  """Writes an adapter atomically.

  Args:
    path: The file; an older one stays until the new one is complete.
    adapter: The adapter.

  Returns:
    Size of the file in bytes.

  Raises:
    AdapterError: A number is not finite.
    OSError: The file cannot be written; the message names `path`.
  """
  arrays: dict[str, np.ndarray] = {}
  for name, pair in sorted(adapter.factors.items()):
    arrays[f"{name}.a"] = np.ascontiguousarray(pair.a, np.float32)
    arrays[f"{name}.b"] = np.ascontiguousarray(pair.b, np.float32)
  if adapter.style is not None:
    arrays[STYLE] = np.ascontiguousarray(adapter.style.vector, np.float32)
  _check_finite(adapter.name, arrays)
  entries = dict(
    format=FORMAT,
    kind="lora",
    name=check_name(adapter.name),
    base=adapter.base,
    base_sha256=adapter.base_sha256,
    codec=adapter.codec,
    rank=adapter.config.rank,
    alpha=adapter.config.alpha,
    targets=list(adapter.config.targets),
    dropout=adapter.config.dropout,
    licence=adapter.licence,
    figures=adapter.figures,
    date=adapter.date,
    digest=_digest(arrays),
  )
  if adapter.style is not None:
    _, *said = adapter.style
    entries[STYLE] = dict(zip(_STYLE_ENTRIES, said, strict=True))
  if adapter.groove is not None:
    entries[GROOVE] = adapter.groove.to_json()
  metadata = {name: json.dumps(value) for name, value in entries.items()}
  data = save(arrays, metadata)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, data)
  return len(data)


def read_adapter(path: Path) -> Adapter:
  """Reads an adapter and checks every number in it.

  Raises:
    AdapterError: The file is missing, damaged, not an adapter, or of another
      version.
  """
  try:
    return _read(path)
  except AdapterError:
    raise
  except CheckpointError as error:
    raise AdapterError(str(error)) from None
  except OSError as error:
    raise AdapterError(f"{path}: cannot be read: {error.strerror}.") from None
  except ValueError as error:  # also of names that are no Unicode
    raise AdapterError(f"{path}: {line(error, longest=300)}") from None


def _read(path: Path) -> Adapter:
  """As `read_adapter`; may raise any ValueError or OSError."""
  file = WeightsFile(path, limit=ADAPTER_BYTES)
  entries = _entries(path, file.metadata)
  arrays = {name: file.read(name) for name in file.infos}
  if _digest(arrays) != entries["digest"]:
    raise AdapterError(
      f"{path}: damaged: its numbers are not those it was written with. Copy"
      " it again."
    )
  _check_finite(str(path), arrays)
  style = _style(path, arrays.pop(STYLE, None), file.metadata)
  check_text("codec.name", entries["codec"].get("name", ""))
  config = LoraConfig(
    rank=entries["rank"],
    alpha=_number("alpha", entries["alpha"]),
    targets=tuple(map(str, entries["targets"])),
    dropout=_number("dropout", entries["dropout"]),
  )
  return Adapter(
    name=_name(path, entries["name"]),
    factors=_factors(arrays, config.rank),
    config=config,
    style=style,
    groove=read_groove(path, file.metadata),
    **{
      field: entries[field]
      for field in (
        "base",
        "base_sha256",
        "codec",
        "licence",
        "figures",
        "date",
      )
    },
  )


def _name(path: Path, name: str) -> str:
  try:
    return check_name(name)
  except AdapterError as error:
    raise AdapterError(f"{path}: {error}") from None


def _number(name: str, value: int | float) -> float:
  """A number of JSON, where an integer may be beyond all floats."""
  if not abs(value) <= MAX_NUMBER:
    raise ValueError(f"{name} must be a number up to {MAX_NUMBER:g}.")
  return float(value)


def _style(
  path: Path, vector: np.ndarray | None, metadata: Mapping[str, str]
) -> PlayerStyle | None:
  """Reads and checks the style of an adapter; None if it has none."""
  if vector is None:
    return None
  if vector.shape != (STYLE_DIM,):
    raise AdapterError(
      f"{path}: its style must be of shape ({STYLE_DIM},), got {vector.shape}."
    )
  try:
    said = parse_json(metadata[STYLE])
    found = [said[name] for name in _STYLE_ENTRIES]
  except (KeyError, TypeError, ValueError):
    found = []
  if list(map(type, found)) != [str, str, dict]:
    raise AdapterError(
      f"{path}: damaged: its metadata do not say of which style model its"
      " style is."
    )
  return PlayerStyle(vector.astype(np.float32), *found)


def read_groove(path: Path, metadata: Mapping[str, str]) -> PlayedGroove | None:
  """The groove in an adapter's metadata; None: it has none.

  Raises:
    AdapterError: It is damaged.
  """
  if GROOVE not in metadata:
    return None
  try:
    return PlayedGroove.from_json(parse_json(metadata[GROOVE]))
  except ValueError as error:
    raise AdapterError(f"{path}: damaged: {line(error)}") from None


def check_base(adapter: Adapter, sha256: str, base: str) -> None:
  """Checks that an adapter was trained on a base.

  Args:
    adapter: The adapter.
    sha256: SHA-256 of the base's weights, from its config.json.
    base: Name of the base in messages.

  Raises:
    AdapterError: It was trained on another base; the message names both.
  """
  if adapter.base_sha256 != sha256:
    raise AdapterError(
      f"adapter {adapter.name} was trained on {adapter.base}"
      f" ({_short(adapter.base_sha256)}), but this checkpoint is {base}"
      f" ({_short(sha256)}). Give --checkpoint the one it was trained on, or"
      " finetune again."
    )


def _short(sha256: str) -> str:
  return f"weights {sha256[:12]}" if sha256 else "weights of unknown digest"


def _entries(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
  """Reads the metadata and checks their types."""
  if "format" not in metadata or "base_sha256" not in metadata:
    raise AdapterError(
      f"{path}: not an adapter: a safetensors file that names no base. Give"
      " one that `magenta-midi finetune` wrote."
    )
  found: dict[str, Any] = {}
  for name, types in _ENTRIES.items():
    try:
      value = parse_json(metadata[name])
    except (KeyError, ValueError):
      value = None
    if name == "format" and isinstance(value, int) and value != FORMAT:
      raise AdapterError(
        f"{path}: an adapter of format {line(value, longest=20)}, this version"
        f" reads {FORMAT}."
      )
    if not isinstance(value, types) or isinstance(value, bool):
      raise AdapterError(f"{path}: damaged: its metadata say no {name}.")
    found[name] = value
  if found["kind"] != "lora":
    raise AdapterError(
      f"{path}: an adapter of the kind {found['kind'][:40]!r}, this version"
      " knows lora."
    )
  return found


def _factors(arrays: Mapping[str, np.ndarray], rank: int) -> Factors:
  """Pairs of arrays by the name of the adapted array."""
  factors: Factors = {}
  names = {name.rpartition(".")[0] for name in arrays}
  for name in sorted(names):
    a, b = arrays.get(f"{name}.a"), arrays.get(f"{name}.b")
    if a is None or b is None or a.ndim != 2 or b.ndim != 2:
      raise ValueError(f"{name} is no pair of matrices a and b.")
    if (a.shape[1], b.shape[0]) != (rank, rank):
      raise ValueError(
        f"{name} has factors of {a.shape} and {b.shape}, expected rank {rank}."
      )
    factors[name] = LowRank(a.astype(np.float32), b.astype(np.float32))
  if not factors or len(arrays) != 2 * len(factors):
    raise ValueError("it holds no factors, or other arrays too.")
  return factors


def _check_finite(what: str, arrays: Mapping[str, np.ndarray]) -> None:
  for name, array in arrays.items():
    if not np.isfinite(np.asarray(array, np.float32)).all():
      raise AdapterError(
        f"{what}: {name} holds NaN or infinity. Finetune again, with a lower"
        " learning rate."
      )


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of all names, shapes and numbers."""
  digest = hashlib.sha256()
  for name, array in sorted(arrays.items()):
    digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
