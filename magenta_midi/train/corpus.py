"""Corpora as flat integer arrays: what training crops its examples from.

A piece is a run of events sorted by time; a corpus is its pieces end to end.
Augmentation changes times and keys, so the arrays hold milliseconds and keys,
not tokens.
"""

import csv
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from magenta_midi.midi.files import MidiFileError, read_score
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note import PEDAL_DOWN, PEDAL_UP
from magenta_midi.typing import Int, Shaped

__all__ = [
  "EVENT_DTYPE",
  "Corpus",
  "join_corpora",
  "midi_files",
  "pack_piece",
  "pack_scores",
  "read_corpus",
  "split_of",
]

EVENT_DTYPE = np.dtype(
  [
    ("time_ms", "i4"),  # onset, from the start of the piece
    ("duration_ms", "i4"),  # 0 for pedal events
    ("key", "i2"),  # 0-127, PEDAL_DOWN or PEDAL_UP
    ("velocity", "i2"),  # 1-127, 0 for pedal events
    ("pedal_before", "?"),  # sustain pedal just before the event
    ("melody", "?"),  # a note of the track named melody
    ("upper", "?"),  # a note of the upper hand
  ]
)

# A listener waits no longer than this: longer silences teach only waiting.
LONGEST_SILENCE_MS = 3000

# Notes around each that the split between the hands follows.
_HANDS_NOTES = 25


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Pieces end to end.

  Attributes:
    events: All events, `EVENT_DTYPE`.
    offsets: Piece `i` is `events[offsets[i]:offsets[i + 1]]`.
    names: One name a piece, for lists and errors.
  """

  events: Shaped[np.ndarray, " n"]
  offsets: Int[np.ndarray, " pieces_plus_one"]
  names: tuple[str, ...]

  def __len__(self) -> int:
    """Number of pieces."""
    return len(self.names)

  def piece(self, index: int) -> np.ndarray:
    """The events of one piece."""
    return self.events[self.offsets[index] : self.offsets[index + 1]]

  @property
  def lengths_ms(self) -> np.ndarray:
    """Time of each piece's last onset, ms."""
    return self.events["time_ms"][self.offsets[1:] - 1].astype(np.int64)

  @functools.cached_property
  def has_melody(self) -> np.ndarray:
    """Which pieces have a track named melody and another."""
    starts = self.offsets[:-1]
    melody = self.events["melody"]
    others = ~melody & (self.events["key"] < PEDAL_DOWN)
    if not len(starts):
      return np.zeros(0, bool)
    return np.logical_or.reduceat(melody, starts) & np.logical_or.reduceat(
      others, starts
    )

  @property
  def notes(self) -> int:
    """Number of notes, pedal events not counted."""
    return int(np.count_nonzero(self.events["key"] < PEDAL_DOWN))


def pack_piece(score: Score) -> Shaped[np.ndarray, " n"]:
  """One piece as events, its parts merged, long silences shortened to 3 s."""
  melody = _melody_notes(score)
  score = score.merged()
  notes, pedals = score.notes, score.pedals
  events = np.zeros(len(notes) + len(pedals), EVENT_DTYPE)
  head, tail = events[: len(pedals)], events[len(pedals) :]
  head["time_ms"] = np.round(pedals["time_s"] * 1000)
  head["key"] = np.where(pedals["down"], PEDAL_DOWN, PEDAL_UP)
  tail["time_ms"] = np.round(notes["onset_s"] * 1000)
  tail["duration_ms"] = np.maximum(1, np.round(notes["duration_s"] * 1000))
  tail["key"] = notes["key"]
  tail["velocity"] = notes["velocity"]
  tail["melody"] = np.isin(_places(notes), melody)
  tail["upper"] = _upper_hand(notes["key"])
  # Stable: pedal events of one instant keep their order and precede notes.
  rank = np.where(events["key"] < PEDAL_DOWN, 1 + events["key"], 0)
  events = events[np.lexsort((rank, events["time_ms"]))]

  is_pedal = events["key"] >= PEDAL_DOWN
  change = np.where(is_pedal, np.where(events["key"] == PEDAL_DOWN, 1, -1), 0)
  events["pedal_before"] = (np.cumsum(change) - change) > 0

  if len(events):
    time = events["time_ms"].astype(np.int64)
    sounding_until = np.maximum.accumulate(time + events["duration_ms"])
    silence = time[1:] - sounding_until[:-1]
    cut = np.cumsum(np.maximum(0, silence - LONGEST_SILENCE_MS))
    time[1:] -= cut
    events["time_ms"] = time - time[0]
  return events


def _places(notes: np.ndarray) -> np.ndarray:
  """One number for each onset and key."""
  return np.round(notes["onset_s"] * 1e9).astype(np.int64) * 128 + notes["key"]


def _melody_notes(score: Score) -> np.ndarray:
  """Where the notes of the tracks named melody lie."""
  named = [
    part
    for part, name in enumerate(score.part_names)
    if "melody" in name.casefold()
  ]
  return _places(score.notes[np.isin(score.notes["part"], named)])


def _upper_hand(key: Int[np.ndarray, " n"]) -> np.ndarray:
  """Which notes the upper hand plays: a split that follows the music.

  The hands are parted at the widest gap in the middle half of the keys around
  each note; the median of such splits keeps single notes from changing it.
  """
  width = min(_HANDS_NOTES, len(key))
  if width < 2:
    return key >= 60
  before = (width - 1) // 2
  pad = (before, width - 1 - before)

  def around(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, pad, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width)

  keys = np.sort(around(key.astype(np.int16)), axis=1)
  low = (width - 1) // 4
  middle = keys[:, low : width - low]
  widest = np.argmax(np.diff(middle, axis=1), axis=1)[:, None]
  # Twice the split, so that it lies between keys.
  split = np.take_along_axis(middle, widest, 1) + np.take_along_axis(
    middle, widest + 1, 1
  )
  return 2 * key.astype(np.int16) >= np.median(around(split[:, 0]), axis=1)


def pack_scores(scores: Iterable[tuple[str, Score]]) -> Corpus:
  """Packs named scores; those without notes are left out."""
  pieces, names = [], []
  for name, score in scores:
    if len(score):
      pieces.append(pack_piece(score))
      names.append(name)
  offsets = np.cumsum([0] + [len(piece) for piece in pieces])
  events = np.concatenate(pieces) if pieces else np.zeros(0, EVENT_DTYPE)
  return Corpus(events, offsets, tuple(names))


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


def split_of(folder: Path) -> Callable[[Path], str]:
  """How a folder's files are split: `train`, `valid`, `test` or other.

  A list `FOLDER.csv` beside the folder (columns `path` and `split`) decides;
  without one, a hash of the file's content sends 1 piece in 20 to `valid`.
  """
  listing = folder.with_name(folder.name + ".csv")
  if listing.is_file():
    with open(listing, newline="", encoding="utf-8") as file:
      splits = {row["path"]: row["split"] for row in csv.DictReader(file)}
    return lambda path: splits.get(path.relative_to(folder).as_posix(), "none")

  def by_hash(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "valid" if digest[0] % 20 == 0 else "train"

  return by_hash


def read_corpus(
  folder: Path,
  splits: Sequence[str],
  *,
  on_file: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Corpus], list[tuple[Path, str]]]:
  """Reads and packs a folder's files.

  Args:
    folder: MIDI files, at any depth.
    splits: Which splits to read.
    on_file: Called with (files done, files in all).

  Returns:
    A corpus for each split, and the files that could not be read, each with
    its reason.

  Raises:
    ValueError: The folder is missing or holds no MIDI file.
  """
  if not folder.exists():
    raise ValueError(f"{folder}: no such folder. Give one with MIDI files.")
  files = midi_files(folder)
  if not files:
    raise ValueError(f"{folder}: holds no MIDI file (.mid, .midi, .kar, .rmi).")
  split = split_of(folder)
  named: dict[str, list[tuple[str, Score]]] = {name: [] for name in splits}
  bad: list[tuple[Path, str]] = []
  for done, path in enumerate(files, 1):
    name = split(path)
    if name in named:
      try:
        score = read_score(path)
        named[name].append((os.path.relpath(path, folder), score))
      except MidiFileError as error:
        bad.append((path, str(error)))
    on_file(done, len(files))
  return {name: pack_scores(scores) for name, scores in named.items()}, bad


def join_corpora(corpora: Sequence[Corpus]) -> Corpus | None:
  """All pieces in one corpus; None where there is none."""
  if not corpora:
    return None
  offsets = [np.zeros(1, np.int64)]
  for corpus in corpora:
    offsets.append(corpus.offsets[1:] + offsets[-1][-1])
  return Corpus(
    np.concatenate([corpus.events for corpus in corpora]),
    np.concatenate(offsets),
    tuple(name for corpus in corpora for name in corpus.names),
  )
