"""Corpora from folders: of MIDI files, or prepared from such."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from magenta_midi.data.outline_files import (
  OutlineFileError,
  read_packed_outline,
)
from magenta_midi.data.pieces import (
  EVENT_DTYPE,
  Corpus,
  join_corpora,
  join_pieces,
  pack_piece,
  pack_scores,
)
from magenta_midi.data.prepared import is_prepared, read_prepared
from magenta_midi.data.splits import (
  listed_splits,
  music_hash,
  split_by_music,
)
from magenta_midi.midi.score_files import MidiFileError, read_score
from magenta_midi.plain_text import nfc

__all__ = [
  "EVENT_DTYPE",
  "Corpus",
  "join_corpora",
  "midi_files",
  "pack_piece",
  "pack_scores",
  "read_corpus",
]


def midi_files(folder: Path) -> list[Path]:
  """MIDI files below a folder, sorted; a file stands for itself."""
  if folder.is_file():
    return [folder]
  endings = (".mid", ".midi", ".kar", ".rmi", ".smf")
  return sorted(
    path
    for path in folder.rglob("*")
    if path.suffix.lower() in endings and path.is_file()
  )


def read_corpus(
  folder: Path,
  splits: Sequence[str],
  *,
  with_outlines: bool = False,
  on_file: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Corpus], list[tuple[Path, str]]]:
  """Reads and packs a folder's files.

  A list `FOLDER.csv` beside the folder (columns `path` and `split`) gives the
  splits; without one, the music itself sends 1 piece in 20 to `valid`.

  Args:
    folder: MIDI files, at any depth, or a folder made by `prepare`, whose
      events stay on disk until they are used.
    splits: Which splits to read.
    with_outlines: Whether to read beats and chords beside the files too
      (`outline_files`).
    on_file: Called with (files done, files in all).

  Returns:
    A corpus for each split, and the files that could not be read, each with
    its reason (none of a prepared folder, whose manifest lists them).

  Raises:
    ValueError: The folder is missing, holds no MIDI file, or its preparation
      is unfinished, damaged or another version's.
  """
  if not folder.exists():
    raise ValueError(f"{folder}: no such folder. Give one with MIDI files.")
  if is_prepared(folder):
    return read_prepared(folder, splits, with_outlines=with_outlines), []
  files = midi_files(folder)
  if not files:
    raise ValueError(f"{folder}: holds no MIDI file (.mid, .midi, .kar, .rmi).")
  listed = listed_splits(folder)
  found: dict[str, list] = {name: [] for name in splits}
  outlines: dict[str, list] = {name: [] for name in splits}
  bad: list[tuple[Path, str]] = []
  for done, path in enumerate(files, 1):
    name = os.path.relpath(path, folder)
    split = None
    if listed is not None:
      split = listed.get(nfc(path.relative_to(folder).as_posix()), "none")
    if split is None or split in found:
      try:
        score = read_score(path)
        outline = read_packed_outline(path, score) if with_outlines else None
      except (MidiFileError, OutlineFileError) as error:
        bad.append((path, str(error)))
      else:
        if len(score):
          events = pack_piece(score)
          split = split or split_by_music(music_hash(events))
          if split in found:
            found[split].append((name, events))
            outlines[split].append(outline)
    on_file(done, len(files))
  return {
    name: join_pieces(pieces, outlines[name]) for name, pieces in found.items()
  }, bad
