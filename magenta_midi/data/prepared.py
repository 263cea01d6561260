"""Prepared folders: a corpus packed once, read from disk as it is used.

A folder that `magenta-midi prepare` made holds

- `shard-00000.npy` and so on: pieces end to end, arrays of `EVENT_DTYPE`;
- `outlines.npz`, where beats or chords lie beside files (`prepared_outlines`);
- `pieces.csv`: a row for each piece, in the order of the files: the place of
  its events, its split, and its facts from the corpus's list;
- `manifest.json`: the source, counts, the shards with their SHA-256,
  duplicates, and bad files with their reasons. It is written last.

While it is being made it holds `.unfinished/` and no manifest.
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.bounded_files import (
  TABLE_BYTES,
  open_regular,
  read_json,
  read_table,
)
from magenta_midi.data.pieces import EVENT_DTYPE, Corpus
from magenta_midi.data.prepared_outlines import read_outlines
from magenta_midi.midi.outline import Outline
from magenta_midi.plain_text import line
from magenta_midi.typing import Shaped

__all__ = [
  "FACTS",
  "FORMAT",
  "MANIFEST",
  "PIECES",
  "PIECE_COLUMNS",
  "UNFINISHED",
  "VERSION",
  "PreparedCorpus",
  "check_format",
  "is_prepared",
  "prepared_splits",
  "read_manifest",
  "read_prepared",
  "shard_name",
]

FORMAT = "magenta-midi corpus"
# Another one whenever `pack_piece` makes other events of the same file.
VERSION = 1

MANIFEST = "manifest.json"
# style/text/facts.py looks for it too.
PIECES = "pieces.csv"
UNFINISHED = ".unfinished"

# Columns of the corpus's list that are kept.
FACTS = ("title", "composer", "performer", "tags")
PIECE_COLUMNS = (
  "path",  # below the corpus's folder, with /
  "split",
  *FACTS,
  "shard",  # number of the shard that holds its events
  "start",  # place of its first event there
  "events",  # number of events, pedal included
  "notes",
  "last_ms",  # its last onset
  "melody",  # 1 if it has a track named melody beside another
  "music",  # its `music_hash`
)


def shard_name(shard: int) -> str:
  """The file of a shard."""
  return f"shard-{shard:05d}.npy"


def is_prepared(folder: Path) -> bool:
  """Whether `prepare` made this folder, or is at it."""
  return (folder / UNFINISHED).is_dir() or (
    # A folder of MIDI files may hold a manifest.json of somebody else's.
    (folder / MANIFEST).is_file() and (folder / PIECES).is_file()
  )


def check_format(said: Any, where: Path) -> None:
  """Checks that a manifest or plan is of this version.

  Raises:
    ValueError: It is not.
  """
  if not isinstance(said, dict) or said.get("format") != FORMAT:
    raise ValueError(f"{where}: not written by magenta-midi prepare.")
  if said.get("version") != VERSION:
    shown = line(said.get("version"), longest=20)
    raise ValueError(
      f"{where}: a preparation of version {shown}, this is"
      f" version {VERSION}. Prepare the corpus again, into another folder."
    )


def read_manifest(folder: Path) -> dict[str, Any]:
  """The manifest of a prepared folder.

  Raises:
    ValueError: The preparation is unfinished, damaged or another version's.
  """
  path = folder / MANIFEST
  try:
    manifest = read_json(path, TABLE_BYTES)
  except FileNotFoundError:
    raise ValueError(
      f"{folder}: its preparation is unfinished. Repeat the magenta-midi"
      " prepare that began it: it continues."
    ) from None
  except ValueError:
    raise ValueError(f"{path}: damaged (not JSON). {_AGAIN}") from None
  check_format(manifest, path)
  if not _is_whole(manifest):
    raise ValueError(f"{path}: damaged or changed. {_AGAIN}")
  return manifest


def _is_whole(manifest: dict[str, Any]) -> bool:
  """Whether a manifest has what its readers use, of the right types."""
  match manifest:
    case {
      "plan": dict(),
      "splits": dict(),
      "shards": list(shards),
      "list": {"sha256": str()},
    }:
      match manifest.get("outlines"):
        case None | {"sha256": str(), "pieces": int(), "bad": list()}:
          pass
        case _:
          return False
      return all(
        isinstance(shard, dict)
        and isinstance(shard.get("file"), str)
        and _SHARD.fullmatch(shard["file"]) is not None
        and type(shard.get("events")) is int
        for shard in shards
      )
  return False


# A manifest names nothing outside of its folder.
_SHARD = re.compile(r"shard-\d{5,9}\.npy")


_AGAIN = "Prepare the corpus again, into another folder."


# Place of a piece, and the facts that are needed before its events.
_INDEX_DTYPE = np.dtype(
  [
    ("shard", "i4"),
    ("start", "i8"),
    ("events", "i8"),
    ("notes", "i8"),
    ("last_ms", "i8"),
    ("melody", "?"),
  ]
)


def _pieces(
  folder: Path, sha256: str
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
  """Name, split and a row of the index for each piece."""
  path = folder / PIECES
  with open_regular(path) as file:
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
      raise ValueError(f"{path}: damaged or changed. {_AGAIN}")
  _, rows = read_table(path)
  for row in rows:
    try:
      numbers = tuple(int(row[name]) for name in _INDEX_DTYPE.names or ())
      shard, *counts, melody = numbers
      if not 0 <= shard < 10**9 or melody not in (0, 1):
        raise ValueError
      if not all(0 <= count < 2**62 for count in counts):
        raise ValueError
      yield row["path"], row["split"], numbers
    except (KeyError, ValueError):
      raise ValueError(f"{path}: damaged or changed. {_AGAIN}") from None


def prepared_splits(folder: Path) -> tuple[str, ...]:
  """Names of the splits of a prepared folder.

  Raises:
    ValueError: As for `read_manifest`.
  """
  return tuple(read_manifest(folder)["splits"])


def read_prepared(
  folder: Path, splits: Sequence[str], *, with_outlines: bool = False
) -> dict[str, Corpus]:
  """The corpora of a prepared folder, by split.

  Args:
    folder: The prepared folder.
    splits: Which splits to read.
    with_outlines: Whether to read beats and chords too.

  Raises:
    ValueError: The preparation is unfinished, damaged or another version's.
  """
  manifest = read_manifest(folder)
  lengths = {}
  for shard in manifest["shards"]:
    _open_shard(folder / shard["file"], shard["events"])
    lengths[shard["file"]] = shard["events"]
  found: dict[str, list] = {name: [] for name in splits}
  rows: dict[str, list[int]] = {name: [] for name in splits}
  listed = _pieces(folder, manifest["list"]["sha256"])
  count = 0
  for row, (name, split, numbers) in enumerate(listed):
    count = row + 1
    shard, start, events, *_ = numbers
    if start + events > lengths.get(shard_name(shard), -1):
      raise ValueError(f"{folder / PIECES}: damaged or changed. {_AGAIN}")
    if split in found:
      found[split].append((name, numbers))
      rows[split].append(row)
  outlines: list[Outline | None] = []
  if with_outlines and (said := manifest.get("outlines")):
    outlines = read_outlines(folder, count, said["sha256"])
  return {
    split: PreparedCorpus(
      folder.absolute(),
      tuple(name for name, _ in pieces),
      np.array([numbers for _, numbers in pieces], _INDEX_DTYPE),
      tuple(outlines[row] for row in rows[split]) if outlines else (),
    )
    for split, pieces in found.items()
  }


def _open_shard(path: Path, events: int | None = None) -> np.ndarray:
  """A shard's events, on disk."""
  try:
    with open_regular(path):  # NumPy would wait for a pipe
      pass
    array = np.load(path, mmap_mode="r", allow_pickle=False)
  except FileNotFoundError:
    raise ValueError(f"{path}: missing. {_AGAIN}") from None
  except OSError:
    raise
  # On foreign bytes NumPy raises errors of several unrelated types.
  except Exception:
    raise ValueError(f"{path}: damaged or cut short. {_AGAIN}") from None
  if (
    not isinstance(array, np.ndarray)
    or array.dtype != EVENT_DTYPE
    or array.ndim != 1
    or events not in (None, len(array))
  ):
    raise ValueError(f"{path}: does not hold what the manifest says. {_AGAIN}")
  return array


class PreparedCorpus(Corpus):
  """Pieces of one split, on disk.

  Single pieces are read when they are used; `events` and `offsets` load the
  whole split into memory at their first use. A copy in another process opens
  the shards itself.
  """

  _folder: Path
  _index: Shaped[np.ndarray, " pieces"]
  _shards: dict[int, np.ndarray]

  def __init__(
    self,
    folder: Path,
    names: tuple[str, ...],
    index: Shaped[np.ndarray, " pieces"],
    outlines: tuple[Outline | None, ...] = (),
  ):
    # The dataclass is frozen, and its arrays are made at their first use.
    self.__dict__.update(
      names=names, outlines=outlines, _folder=folder, _index=index, _shards={}
    )

  def __reduce__(self) -> tuple:
    """Without the open shards."""
    return type(self), (self._folder, self.names, self._index, self.outlines)

  def piece(self, index: int) -> np.ndarray:
    """The events of one piece, read-only."""
    row = self._index[index]
    shard = int(row["shard"])
    if shard not in self._shards:
      # A plain array: slices of a memmap are slow to make.
      opened = _open_shard(self._folder / shard_name(shard))
      self._shards[shard] = opened.view(np.ndarray)
    return self._shards[shard][row["start"] : row["start"] + row["events"]]

  @functools.cached_property
  def events(self) -> np.ndarray:  # pyright: ignore
    """All events of the split, in memory."""
    pieces = [self.piece(index) for index in range(len(self))]
    return np.concatenate(pieces) if pieces else np.zeros(0, EVENT_DTYPE)

  @functools.cached_property
  def offsets(self) -> np.ndarray:  # pyright: ignore
    """Begin of each piece in `events`, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(self._index["events"])])

  @property
  def lengths_ms(self) -> np.ndarray:
    """Time of each piece's last onset, ms."""
    return self._index["last_ms"]

  @property
  def has_melody(self) -> np.ndarray:  # pyright: ignore
    """Mask of the pieces with a track named melody and another track."""
    return self._index["melody"]

  @property
  def notes(self) -> int:
    """Number of notes, pedal events not counted."""
    return int(self._index["notes"].sum())
