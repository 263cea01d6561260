"""Splits of a corpus: by a list beside its folder, or by the music."""

import hashlib
from pathlib import Path

import numpy as np

from magenta_midi.bounded_files import read_table
from magenta_midi.plain_text import line, nfc
from magenta_midi.typing import Shaped

__all__ = ["listed_rows", "listed_splits", "music_hash", "split_by_music"]

# More are not filled in.
_COLUMNS = 32
# Without a list, one piece in this many is held out.
_HELD_OUT = 20

# Fields of the music. All others follow from these, except `melody`, which is
# the name of a track.
_MUSIC = (
  ("time_ms", "<i4"),
  ("duration_ms", "<i4"),
  ("key", "<i2"),
  ("velocity", "<i2"),
)


def listed_rows(folder: Path) -> dict[str, dict[str, str]]:
  """The rows of the list `FOLDER.csv` beside a folder, by path in NFC.

  Raises:
    ValueError: It has no column `path`, or is no text.
  """
  listing = folder.with_name(folder.name + ".csv")
  if not listing.is_file():
    return {}
  try:
    columns, rows = read_table(listing)
  except ValueError as error:
    raise ValueError(f"{listing}: not a list of files ({error}).") from None
  if "path" not in columns:
    shown = line(", ".join(columns), longest=200)
    raise ValueError(
      f"{listing}: expected columns path and split, got"
      f" {shown or 'an empty file'}."
    )
  # A row that is cut short has the columns all the same.
  rows = [dict.fromkeys(columns[:_COLUMNS], "") | row for row in rows]
  return {nfc(row["path"]): row for row in rows}


def listed_splits(folder: Path) -> dict[str, str] | None:
  """Splits by path in NFC, as the list beside a folder has them.

  Returns:
    None without a list, or without a column `split` in it: then
    `split_by_music` decides.

  Raises:
    ValueError: The list cannot be understood.
  """
  rows = listed_rows(folder)
  if not any("split" in row for row in rows.values()):
    return None
  return {path: row.get("split") or "none" for path, row in rows.items()}


def music_hash(events: Shaped[np.ndarray, " n"]) -> str:
  """A name of what is played, in hexadecimal digits.

  Files that differ only in titles, track names or in how they are written down
  have the same.

  Args:
    events: A piece, as `pack_piece` gives it.
  """
  digest = hashlib.sha256()
  for field, kind in _MUSIC:
    digest.update(events[field].astype(kind).tobytes())
  return digest.hexdigest()


def split_by_music(digest: str) -> str:
  """`valid` for 1 piece in 20, else `train`; copies of a piece agree.

  Args:
    digest: The piece's `music_hash`.
  """
  return "valid" if int(digest[:8], 16) % _HELD_OUT == 0 else "train"
