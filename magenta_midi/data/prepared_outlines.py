"""Beats and chords in a prepared folder: `outlines.npz`.

One array for each field of `Outline`, those of all pieces end to end, and for
each piece with an outline its row in `pieces.csv` and its numbers of beats and
chords. Times are on the clock of the packed piece.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.bounded_files import read_bytes
from magenta_midi.data.outline_files import (
  OutlineFileError,
  has_outline,
  read_packed_outline,
)
from magenta_midi.midi.atomic import open_atomically
from magenta_midi.midi.outline import PLACES, Outline
from magenta_midi.midi.score_files import MidiFileError, read_score

__all__ = ["OUTLINES", "read_outlines", "write_outlines"]

OUTLINES = "outlines.npz"
_BYTES = 2**30
# Field -> type, and by which count its rows are counted.
_FIELDS = dict(
  beat_ms=("f8", "beats"),
  place=("i1", "beats"),
  meter=("i1", "beats"),
  chord_ms=("f8", "chords"),
  root=("i1", "chords"),
  bass=("i1", "chords"),
  classes=("i1", "chords"),
)
_COUNTS = ("row", "beats", "chords")


def write_outlines(
  out: Path, folder: Path, names: Sequence[str]
) -> dict[str, Any] | None:
  """Writes the outlines of pieces.

  Args:
    out: The prepared folder.
    folder: Of the MIDI files, with `NAME.beats` and `NAME.lab` beside them.
    names: Paths of the pieces below `folder`, in the order of `pieces.csv`.

  Returns:
    What the manifest says of them: file, SHA-256, number of pieces, and the
    files that cannot be read, each with its reason. None: there are none.

  Raises:
    OSError: The file cannot be written.
  """
  found, bad = [], []
  for row, name in enumerate(names):
    path = folder / name
    if not has_outline(path):
      continue
    try:
      outline = read_packed_outline(path, read_score(path))
    except (MidiFileError, OutlineFileError, OSError) as error:
      bad.append(dict(path=name, reason=" ".join(str(error).split())))
    else:
      if outline is not None:
        found.append((row, outline))
  if not found and not bad:
    return None
  arrays = {
    name: np.concatenate(
      [np.zeros((0, 12) if name == "classes" else 0, dtype)]
      + [getattr(outline, name) for _, outline in found]
    ).astype(dtype)
    for name, (dtype, _) in _FIELDS.items()
  }
  counts = [(row, len(o.beat_ms), len(o.chord_ms)) for row, o in found]
  columns = np.array(counts, "i8").reshape(-1, len(_COUNTS)).T
  file = io.BytesIO()
  # The same bytes each time: `numpy.savez` writes the time of day.
  with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
    for name, array in {
      **arrays,
      **dict(zip(_COUNTS, columns, strict=True)),
    }.items():
      content = io.BytesIO()
      np.lib.format.write_array(content, array, allow_pickle=False)
      packed.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
  data = file.getvalue()
  with open_atomically(out / OUTLINES, sync=True) as written:
    written.write(data)
  return dict(
    file=OUTLINES,
    sha256=hashlib.sha256(data).hexdigest(),
    pieces=len(found),
    bad=bad,
  )


def read_outlines(
  folder: Path, pieces: int, sha256: str
) -> list[Outline | None]:
  """The outline of each row of `pieces.csv`.

  Raises:
    ValueError: The file is missing, damaged or changed.
  """
  path = folder / OUTLINES
  wrong = ValueError(
    f"{path}: missing, damaged or changed. Prepare the corpus again, into"
    " another folder."
  )
  try:
    data = read_bytes(path, _BYTES)
    if hashlib.sha256(data).hexdigest() != sha256:
      raise wrong
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
      # What is packed well may be large.
      if sum(one.file_size for one in packed.infolist()) > _BYTES:
        raise wrong
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
      arrays = {name: file[name] for name in (*_FIELDS, *_COUNTS)}
  # On foreign bytes NumPy raises errors of several unrelated types.
  except Exception:
    raise wrong from None
  if not _is_whole(arrays, pieces):
    raise wrong
  ends = {
    name: np.cumsum(arrays[name]).tolist() for name in ("beats", "chords")
  }
  found: list[Outline | None] = [None] * pieces
  for index, row in enumerate(arrays["row"].tolist()):
    stretch = {
      name: slice(
        ends[name][index] - int(arrays[name][index]), ends[name][index]
      )
      for name in ends
    }
    found[row] = Outline(
      **{name: arrays[name][stretch[of]] for name, (_, of) in _FIELDS.items()}
    )
  return found


def _is_whole(arrays: dict[str, np.ndarray], pieces: int) -> bool:
  """Whether types, lengths and values are such as `Outline` has them."""
  a = arrays
  if any(a[name].ndim != 1 or a[name].dtype != "i8" for name in _COUNTS):
    return False
  if len({len(a[name]) for name in _COUNTS}) != 1:
    return False
  if any(((a[name] < 0) | (a[name] > 2**40)).any() for name in _COUNTS):
    return False
  for name, (dtype, of) in _FIELDS.items():
    shape = (int(a[of].sum()), *((12,) if name == "classes" else ()))
    if a[name].dtype != dtype or a[name].shape != shape:
      return False
  return bool(
    np.all(a["row"] < pieces)
    and np.all(np.isfinite(a["beat_ms"]))
    and np.all(np.isfinite(a["chord_ms"]))
    and np.all((a["meter"] >= 1) & (a["meter"] <= PLACES))
    and np.all((a["place"] >= 0) & (a["place"] < a["meter"]))
    and np.all((a["root"] >= -1) & (a["root"] < 12))
    and np.all((a["bass"] >= -1) & (a["bass"] < 12))
    and np.all((a["classes"] == 0) | (a["classes"] == 1))
  )
