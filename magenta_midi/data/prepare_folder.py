"""Folder of a preparation: begun, continued, finished.

The plan, which lists the input, is written first and the manifest last. An
interrupted run is continued from the plan if its files are the same.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.bounded_files import read_json
from magenta_midi.data.corpus import midi_files
from magenta_midi.data.outline_files import outline_paths
from magenta_midi.data.pieces import EVENT_DTYPE
from magenta_midi.data.prepare_files import SourceFile, shard_facts_path
from magenta_midi.data.prepared import (
  FACTS,
  FORMAT,
  MANIFEST,
  PIECE_COLUMNS,
  PIECES,
  UNFINISHED,
  VERSION,
  check_format,
  is_prepared,
  read_manifest,
  shard_name,
)
from magenta_midi.data.prepared_outlines import write_outlines
from magenta_midi.data.splits import listed_rows, listed_splits
from magenta_midi.midi.atomic import (
  TEMPORARY,
  open_atomically,
  write_atomically,
)
from magenta_midi.midi.folder_lock import LOCK, FolderInUseError, folder_lock
from magenta_midi.plain_text import nfc

__all__ = ["SHARD_MIDI_BYTES", "Source", "finish", "list_source", "opened"]

# Bytes of MIDI files for one shard; their events need about 1.7 times as many.
SHARD_MIDI_BYTES = 32 * 2**20

_PLAN = "plan.json"


class NothingUsableError(ValueError):
  """No file has music; nothing is left behind."""


@dataclasses.dataclass(frozen=True)
class Source:
  """Source of a preparation.

  Attributes:
    folder: Of MIDI files.
    files: In the order in which they are listed in the end.
    rows: Their rows in the list beside the folder, by path.
    plan: Identifies the folder when it is prepared again.
  """

  folder: Path
  files: tuple[SourceFile, ...]
  rows: dict[str, dict[str, str]]
  plan: dict[str, Any]

  @property
  def shards(self) -> int:
    """Number of shards."""
    return self.plan["shards"]


def list_source(
  folder: Path, *, shard_midi_bytes: int = SHARD_MIDI_BYTES
) -> Source:
  """Lists a folder of MIDI files; none is opened.

  Args:
    folder: MIDI files at any depth; a list `FOLDER.csv` beside it may give
      splits and facts.
    shard_midi_bytes: Size of the MIDI files for one shard.

  Raises:
    ValueError: There is no such folder, no MIDI file, or it is prepared.
  """
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder. Give one with MIDI files.")
  if is_prepared(folder):
    raise ValueError(
      f"{folder}: is prepared already. Give the folder of MIDI files."
    )
  paths = midi_files(folder)
  if not paths:
    raise ValueError(f"{folder}: holds no MIDI file (.mid, .midi, .kar, .rmi).")
  rows = listed_rows(folder)
  splits = listed_splits(folder)
  digest = hashlib.sha256()
  files, size = [], 0
  for index, path in enumerate(paths):
    name = path.relative_to(folder).as_posix()
    split = None if splits is None else splits.get(nfc(name), "none")
    found = path.stat()
    size += found.st_size
    row = rows.get(nfc(name), {})
    said = [name, found.st_size, found.st_mtime_ns, split]
    said += [row.get(fact) or "" for fact in FACTS]
    for beside in filter(Path.is_file, outline_paths(path)):
      facts = beside.stat()
      said += [beside.suffix, facts.st_size, facts.st_mtime_ns]
    digest.update(json.dumps(said).encode())
    files.append(SourceFile(index, name, split))
  plan = dict(
    format=FORMAT,
    version=VERSION,
    files=len(files),
    corpus=digest.hexdigest(),
    shards=1 + size // shard_midi_bytes,
  )
  return Source(folder, tuple(files), rows, plan)


@contextlib.contextmanager
def opened(out: Path, plan: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
  """Opens the folder of a preparation; makes it if it is not there.

  Args:
    out: Made if it is not there.
    plan: Of the preparation; an unfinished one is continued only if it has
      the same.

  Yields:
    The manifest of a finished preparation of the same files; None if there
    is work to do.

  Raises:
    ValueError: It holds something else, or another process is at it.
    OSError: It cannot be made or written to.
  """
  if out.exists() and not out.is_dir():
    raise ValueError(f"{out}: is a file. Give a folder for the shards.")
  if (out / MANIFEST).exists():
    manifest = read_manifest(out)
    _check_same(out, manifest["plan"], plan)
    if (out / UNFINISHED).exists() or (out / LOCK).exists():
      # Killed after the manifest, before this; or still at it.
      with contextlib.suppress(OSError, FolderInUseError), folder_lock(out):
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    yield manifest
    return
  work = out / UNFINISHED
  if (work / _PLAN).exists():
    try:
      begun = read_json(work / _PLAN)
    except ValueError:
      begun = None
    check_format(begun, work / _PLAN)
    _check_same(out, begun, plan)
  elif out.exists() and any(
    path not in (work, out / LOCK) for path in out.iterdir()
  ):
    raise ValueError(
      f"{out}: holds other files. Give an empty folder, or a new one."
    )
  with folder_lock(out):
    work.mkdir(exist_ok=True)
    for folder in (out, work):
      for path in folder.glob(TEMPORARY):
        path.unlink()
    if not (work / _PLAN).exists():
      write_atomically(work / _PLAN, json.dumps(plan).encode())
    try:
      yield None
    except NothingUsableError:
      shutil.rmtree(work, ignore_errors=True)
      raise


def _check_same(out: Path, begun: Any, plan: dict[str, Any]) -> None:
  if begun != plan:
    raise ValueError(
      f"{out}: holds the preparation of another corpus ({begun.get('files')}"
      f" files, here {plan['files']}), or its files or their list have changed"
      " since. Give another folder."
    )


def finish(out: Path, source: Source) -> dict[str, Any]:
  """Writes list and manifest, once every shard is there.

  Returns:
    The manifest.

  Raises:
    ValueError: No file had music.
    OSError: They cannot be written.
  """
  facts = [
    json.loads(shard_facts_path(out, shard).read_bytes())
    for shard in range(source.shards)
  ]

  def gathered(kind: str) -> list[dict[str, Any]]:
    found = [one for shard in facts for one in shard[kind]]
    return sorted(found, key=lambda one: one["index"])

  pieces = gathered("pieces")
  bad = [_without_index(one) for one in gathered("bad")]
  if not pieces:
    raise NothingUsableError(
      f"{source.folder}: nothing usable among {len(source.files)} files; the"
      f" first: {bad[0]['path']}: {bad[0]['reason']}."
    )
  splits: dict[str, dict[str, Any]] = {}
  for piece in pieces:
    split = splits.setdefault(
      piece["split"], dict(pieces=0, notes=0, last_ms=0)
    )
    split["pieces"] += 1
    split["notes"] += piece["notes"]
    split["last_ms"] += piece["last_ms"]
  listing = _piece_list(pieces, source.rows)
  with open_atomically(out / PIECES, sync=True) as file:
    file.write(listing)
  outlines = write_outlines(
    out, source.folder, [piece["path"] for piece in pieces]
  )
  manifest = dict(
    format=FORMAT,
    version=VERSION,
    plan=source.plan,
    dtype=np.lib.format.dtype_to_descr(EVENT_DTYPE),
    pieces=len(pieces),
    notes=sum(piece["notes"] for piece in pieces),
    events=sum(piece["events"] for piece in pieces),
    splits={
      name: dict(
        pieces=split["pieces"],
        notes=split["notes"],
        seconds=round(split["last_ms"] / 1000),
      )
      for name, split in sorted(splits.items())
    },
    shards=[
      dict(
        file=shard_name(number),
        events=shard["events"],
        pieces=len(shard["pieces"]),
        sha256=shard["sha256"],
      )
      for number, shard in enumerate(facts)
      if shard["pieces"]
    ],
    list=dict(file=PIECES, sha256=hashlib.sha256(listing).hexdigest()),
    duplicates=[_without_index(one) for one in gathered("duplicates")],
    bad=bad,
  )
  if outlines is not None:
    manifest["outlines"] = outlines
  written = json.dumps(manifest, indent=1)
  with open_atomically(out / MANIFEST, sync=True) as file:
    file.write(written.encode() + b"\n")
  shutil.rmtree(out / UNFINISHED, ignore_errors=True)
  return json.loads(written)


def _without_index(one: dict[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in one.items() if name != "index"}


def _piece_list(
  pieces: list[dict[str, Any]], rows: dict[str, dict[str, str]]
) -> bytes:
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(PIECE_COLUMNS)
  for piece in pieces:
    row = rows.get(nfc(piece["path"]), {})
    said = {fact: row.get(fact) or "" for fact in FACTS}
    said |= piece | dict(melody=int(piece["melody"]))
    writer.writerow([said[column] for column in PIECE_COLUMNS])
  return text.getvalue().encode("utf-8", "surrogateescape")
