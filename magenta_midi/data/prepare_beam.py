"""Preparation of a corpus as an Apache Beam pipeline, on many machines.

The same steps as `prepare`, with the same folder in the end, byte for byte:
files are read anywhere, and the hash of their music brings copies together in
a shard. Workers need to see the corpus and the prepared folder under the same
paths. A shard, copies included, must fit into a worker's memory.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from magenta_midi.data.pieces import EVENT_DTYPE
from magenta_midi.data.prepare_files import (
  FileRecord,
  SourceFile,
  read_file,
  shard_of,
  write_shard,
)
from magenta_midi.data.prepare_folder import (
  SHARD_MIDI_BYTES,
  Source,
  finish,
  list_source,
  opened,
)

__all__ = ["prepare_with_beam"]


def prepare_with_beam(
  folder: Path,
  out: Path,
  *,
  options: Sequence[str] = (),
  shard_midi_bytes: int = SHARD_MIDI_BYTES,
) -> dict[str, Any]:
  """Reads a folder of MIDI files into shards, each piece once.

  Args:
    folder: As for `prepare`.
    out: The prepared folder. One that was begun in either way is finished,
      from the start.
    options: Of Beam's, such as `--runner=FlinkRunner`; without any its local
      runner runs.
    shard_midi_bytes: Size of the MIDI files for one shard.

  Returns:
    The manifest.

  Raises:
    ValueError: Nothing usable in `folder`, or `out` holds something else,
      or the pipeline failed.
    OSError: `out` cannot be made.
  """
  source = list_source(folder, shard_midi_bytes=shard_midi_bytes)
  with opened(out, source.plan) as manifest:
    if manifest is not None:
      return manifest
    try:
      _run(source, out.absolute(), PipelineOptions(list(options)))
    except Exception as error:
      # Runners wrap the original error in another error with a traceback.
      lines = str(error).strip().splitlines() or [type(error).__name__]
      reason = lines[-1].rstrip(".")
      raise ValueError(
        f"the pipeline failed: {reason}. Once that is mended, the same command"
        " starts it again."
      ) from error
    return finish(out, source)


def _run(source: Source, out: Path, options: PipelineOptions) -> None:
  # The with statement waits until the runner is done.
  with beam.Pipeline(options=options) as pipeline:
    # Workers may run elsewhere.
    folder = source.folder.absolute()
    files = (
      pipeline
      | "files" >> beam.Create(source.files)
      # Without it a runner may read them all in the process that lists.
      | "spread" >> beam.Reshuffle()
      | "read" >> beam.Map(functools.partial(_read, folder, source.shards))
    )
    # Shards without a piece are listed as empty.
    empty = (
      pipeline
      | "shards" >> beam.Create(range(source.shards))
      | "empty" >> beam.Map(_without_files)
    )
    _ = (
      (files, empty)
      | beam.Flatten()
      | "gather" >> beam.GroupByKey()
      | "write" >> beam.Map(functools.partial(_write, out))
    )


def _without_files(shard: int) -> tuple[int, None]:
  return shard, None


def _read(
  folder: Path, shards: int, file: SourceFile
) -> tuple[int, tuple[FileRecord, bytes]]:
  """A file by the number of its shard."""
  record, events = read_file(folder, file)
  return shard_of(record, shards), (record, events.tobytes())


def _write(
  out: Path,
  numbered: tuple[int, Iterable[tuple[FileRecord, bytes] | None]],
) -> None:
  """Writes a shard from all of its files."""
  shard, found = numbered
  read = [one for one in found if one is not None]
  events = {record.index: data for record, data in read}
  write_shard(
    out,
    shard,
    [record for record, _ in read],
    lambda record: np.frombuffer(events[record.index], EVENT_DTYPE),
  )
