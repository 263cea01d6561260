"""Preparation of a corpus by processes on one machine.

Files are read in parts of some tens, each into one file of events; then each
shard is gathered from the parts. A part or shard that is there is finished,
so what was killed goes on where it was. One piece at a time is in memory, and
a few hundred bytes of each file.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.data.pieces import EVENT_DTYPE
from magenta_midi.data.prepare_files import (
  FileRecord,
  SourceFile,
  read_file,
  shard_facts_path,
  shard_of,
  write_shard,
)
from magenta_midi.data.prepare_folder import (
  SHARD_MIDI_BYTES,
  finish,
  list_source,
  opened,
)
from magenta_midi.data.prepared import UNFINISHED
from magenta_midi.midi.atomic import open_atomically, write_atomically

__all__ = ["PART_FILES", "prepare"]

# Files between two saves: a killed job loses about 3 s of work.
PART_FILES = 64


def prepare(
  folder: Path,
  out: Path,
  *,
  jobs: int = 1,
  part_files: int = PART_FILES,
  shard_midi_bytes: int = SHARD_MIDI_BYTES,
  on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
  """Reads a folder of MIDI files into shards, each piece once.

  Args:
    folder: MIDI files at any depth; a list `FOLDER.csv` beside it (columns
      path, split, title, composer, performer, tags, all but the first
      optional) gives splits and facts.
    out: The prepared folder; one that was begun is continued.
    jobs: Processes that read.
    part_files: Files that are read, or lost, at once.
    shard_midi_bytes: Size of the MIDI files for one shard.
    on_progress: Called with what is done ("reading" files or "writing"
      shards), how many are done and how many there are.

  Returns:
    The manifest.

  Raises:
    ValueError: Nothing usable in `folder`, or `out` holds something else.
    OSError: `out` cannot be written; what is finished is kept.
  """
  source = list_source(folder, shard_midi_bytes=shard_midi_bytes)
  with opened(out, source.plan) as manifest:
    if manifest is not None:
      return manifest
    # Parts of another size are other files: none is taken for the other.
    parts = out / UNFINISHED / f"parts-{part_files}"
    parts.mkdir(exist_ok=True)
    files = source.files
    tasks = [
      (_read_part, folder, parts, number, files[start : start + part_files])
      for number, start in enumerate(range(0, len(files), part_files))
    ]
    done = 0
    for task in _run(
      tasks, jobs, finished=lambda task: _index_path(*task[2:4]).exists()
    ):
      done += len(task[4])
      on_progress("reading", done, len(files))
    by_shard = _records_by_shard(parts, len(tasks), source.shards)
    writing = [
      (_gather_shard, out, parts, shard, by_shard[shard])
      for shard in range(source.shards)
    ]
    for done, _ in enumerate(
      _run(
        writing,
        jobs,
        finished=lambda task: shard_facts_path(out, task[3]).exists(),
      ),
      1,
    ):
      on_progress("writing", done, len(writing))
    return finish(out, source)


def _index_path(parts: Path, number: int) -> Path:
  return parts / f"{number:06d}.json"


def _events_path(parts: Path, number: int) -> Path:
  return parts / f"{number:06d}.events"


def _read_part(
  folder: Path, parts: Path, number: int, files: Sequence[SourceFile]
) -> None:
  """Reads some files; their records are written last and mark them as done."""
  records, start = [], 0
  with open_atomically(_events_path(parts, number)) as file:
    for one in files:
      record, events = read_file(folder, one)
      file.write(events.tobytes())
      records.append([start, dataclasses.asdict(record)])
      start += len(events)
  data = json.dumps(records).encode()
  write_atomically(_index_path(parts, number), data)


def _records_by_shard(
  parts: Path, count: int, shards: int
) -> dict[int, list[tuple[int, int, FileRecord]]]:
  """(part, first event, record) of all files of each shard."""
  found: dict[int, list[tuple[int, int, FileRecord]]] = defaultdict(list)
  for number in range(count):
    for start, values in json.loads(_index_path(parts, number).read_bytes()):
      record = FileRecord(**values)
      found[shard_of(record, shards)].append((number, start, record))
  return found


def _gather_shard(
  out: Path,
  parts: Path,
  shard: int,
  placed: Sequence[tuple[int, int, FileRecord]],
) -> None:
  """Writes one shard from the parts."""
  places = {record.index: (part, start) for part, start, record in placed}

  def events_of(record: FileRecord) -> np.ndarray:
    part, start = places[record.index]
    return np.fromfile(
      _events_path(parts, part),
      EVENT_DTYPE,
      count=record.events,
      offset=start * EVENT_DTYPE.itemsize,
    )

  write_shard(out, shard, [record for _, _, record in placed], events_of)


def _run(
  tasks: Iterable[tuple], jobs: int, *, finished: Callable[[tuple], bool]
) -> Iterator[tuple]:
  """Yields tasks (a function and its arguments) as they are done."""
  waiting = []
  for task in tasks:
    if finished(task):
      yield task
    else:
      waiting.append(task)
  if jobs == 1 or len(waiting) < 2:
    for task in waiting:
      task[0](*task[1:])
      yield task
    return
  pool = concurrent.futures.ProcessPoolExecutor(
    min(jobs, len(waiting)),
    # Forking a process that has threads can hang it.
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_begin_worker,
  )
  try:
    running = {pool.submit(task[0], *task[1:]): task for task in waiting}
    for future in concurrent.futures.as_completed(running):
      future.result()
      yield running[future]
  except concurrent.futures.process.BrokenProcessPool:
    raise ValueError(
      "a process of prepare died, as when memory runs out. What is finished is"
      " kept; the same command with fewer --jobs continues."
    ) from None
  finally:
    pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
  """Leaves Ctrl-C to the parent, and ends when that is killed."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  if parent is not None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
