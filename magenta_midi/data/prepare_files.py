"""Work of `prepare` on single files and single shards.

A file becomes a record and its events. The hash of its music selects the shard,
so that all copies of a piece are in one shard, whichever process read them; one
of the copies is kept. Processes on one machine and pipelines on many work in
the same way.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.bounded_files import MIDI_BYTES, read_bytes
from magenta_midi.data.pieces import EVENT_DTYPE, pack_piece
from magenta_midi.data.prepared import UNFINISHED, shard_name
from magenta_midi.data.splits import music_hash, split_by_music
from magenta_midi.midi.atomic import open_atomically, write_atomically
from magenta_midi.midi.score_files import MidiFileError, read_score
from magenta_midi.tokens.note.codec import PEDAL_DOWN

__all__ = [
  "FileRecord",
  "SourceFile",
  "read_file",
  "shard_facts_path",
  "shard_of",
  "write_shard",
]

# Splits that keep a piece that several splits list: scores on held-out music
# stay comparable, and training loses the piece.
_FIRST_SPLITS = ("test", "valid")
_LAST_SPLITS = ("train", "none")


class SourceFile(NamedTuple):
  """A file of the corpus."""

  index: int  # place among the corpus's files
  path: str  # below the corpus's folder, with /
  split: str | None  # as listed; None: its music decides


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord:
  """Facts about a file that was read; its events are kept separately."""

  index: int  # place among the corpus's files
  path: str  # below the corpus's folder, with /
  content: str = ""  # SHA-256 of its bytes
  reason: str = ""  # why it is left out; "" if it is not
  music: str = ""  # `music_hash` of its events
  split: str = "none"
  events: int = 0
  notes: int = 0
  last_ms: int = 0  # last onset
  melody: bool = False  # has a track named melody beside another


def read_file(folder: Path, file: SourceFile) -> tuple[FileRecord, np.ndarray]:
  """Reads and packs a file; a bad one is a record with a reason."""
  path = folder / file.path
  record = FileRecord(index=file.index, path=file.path)
  reason, events = "", np.zeros(0, EVENT_DTYPE)
  try:
    record = dataclasses.replace(
      record, content=hashlib.sha256(read_bytes(path, MIDI_BYTES)).hexdigest()
    )
    score = read_score(path)
    if len(score):
      events = pack_piece(score)
    else:
      reason = "holds no note"
  except MidiFileError as error:
    reason = " ".join(str(error).removeprefix(f"{path}: ").split())
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
  except Exception as error:
    # One file in a hundred thousand must not end the work of hours.
    reason = f"could not be read ({type(error).__name__}: {error})"
  if reason:
    return dataclasses.replace(record, reason=reason), events
  music = music_hash(events)
  is_note = events["key"] < PEDAL_DOWN
  melody = events["melody"]
  record = dataclasses.replace(
    record,
    music=music,
    split=file.split if file.split is not None else split_by_music(music),
    events=len(events),
    notes=int(np.count_nonzero(is_note)),
    last_ms=int(events["time_ms"][-1]),
    melody=bool(melody.any() and (is_note & ~melody).any()),
  )
  return record, events


def shard_of(record: FileRecord, shards: int) -> int:
  """The shard that a file's piece, or what is wrong with it, goes to."""
  name = record.path.encode("utf-8", "surrogateescape")
  digest = record.music or hashlib.sha256(name).hexdigest()
  # Not the digits that held-out pieces are chosen by.
  return int(digest[8:16], 16) % shards


def shard_facts_path(out: Path, shard: int) -> Path:
  """File of a finished shard's facts, until all shards are finished."""
  return out / UNFINISHED / f"shard-{shard:05d}.json"


def write_shard(
  out: Path,
  shard: int,
  records: Sequence[FileRecord],
  events_of: Callable[[FileRecord], np.ndarray],
) -> None:
  """Writes a shard and what is known of it.

  Args:
    out: The prepared folder.
    shard: Number of the shard.
    records: Of all its files, in any order.
    events_of: Gives a record's events; called only for kept pieces.

  Raises:
    OSError: It cannot be written there.
  """
  records = sorted(records, key=lambda record: record.index)
  copies: dict[str, list[FileRecord]] = {}
  for record in records:
    if not record.reason:
      copies.setdefault(record.music, []).append(record)
  kept, duplicates = [], []
  for group in copies.values():
    best = min(group, key=_preference)
    kept.append(best)
    duplicates += [
      dict(
        index=record.index,
        path=record.path,
        of=best.path,
        identical="bytes" if record.content == best.content else "music",
        split=record.split,
      )
      for record in group
      if record is not best
    ]
  kept.sort(key=lambda record: record.index)
  facts: dict[str, Any] = dict(events=0, sha256=None, pieces=[])
  if kept:
    path = out / shard_name(shard)
    total = sum(record.events for record in kept)
    digest = hashlib.sha256()
    with open_atomically(path, sync=True) as file:
      header = _Hashed(file, digest)
      np.lib.format.write_array_header_1_0(
        header,
        dict(
          descr=np.lib.format.dtype_to_descr(EVENT_DTYPE),
          fortran_order=False,
          shape=(total,),
        ),
      )
      start = 0
      for record in kept:
        header.write(events_of(record).tobytes())
        piece = dataclasses.asdict(record)
        facts["pieces"].append(piece | dict(shard=shard, start=start))
        start += record.events
    facts.update(events=total, sha256=digest.hexdigest())
  facts["duplicates"] = duplicates
  facts["bad"] = [
    dict(index=record.index, path=record.path, reason=record.reason)
    for record in records
    if record.reason
  ]
  write_atomically(shard_facts_path(out, shard), json.dumps(facts).encode())


class _Hashed:
  """A file whose bytes are counted in a hash as they are written."""

  def __init__(self, file: Any, digest: Any):
    self._file, self._digest = file, digest

  def write(self, data: bytes) -> int:
    self._digest.update(data)
    return self._file.write(data)


def _preference(record: FileRecord) -> tuple:
  if record.split in _FIRST_SPLITS:
    rank = _FIRST_SPLITS.index(record.split)
  elif record.split in _LAST_SPLITS:
    rank = 3 + _LAST_SPLITS.index(record.split)
  else:
    rank = 2
  # A track named melody is worth more than a place in the list.
  return rank, not record.melody, record.index
