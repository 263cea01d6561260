"""Rehearsed music: other music to train on, and to measure forgetting by."""

from pathlib import Path
from typing import Literal, NamedTuple

from magenta_midi.data.corpus import Corpus, read_corpus
from magenta_midi.data.pieces import join_pieces
from magenta_midi.data.prepared import is_prepared
from magenta_midi.data.recordings import read_recordings, split_recordings
from magenta_midi.data.splits import listed_splits, music_hash

__all__ = ["ITSELF", "NONE", "Rehearsal", "choose_rehearsal", "without_pieces"]

# Values of --rehearsal: what the model plays by itself before training; none.
ITSELF: Literal["itself"] = "itself"
NONE = "none"


class Rehearsal(NamedTuple):
  """Other music of a run.

  Attributes:
    learned: Music to train on beside the recordings; None: none.
    judged: Music to measure forgetting by; None: none.
  """

  learned: Corpus | Literal["itself"] | None
  judged: Corpus | None


def choose_rehearsal(given: str | None, *, going_on: bool) -> Rehearsal:
  """Chooses what a run rehearses.

  Args:
    given: A folder, `ITSELF` or `NONE`; None: `ITSELF` for a run that goes on
      from an adapter, whose recordings may be gone, else `NONE`.
    going_on: Whether the run goes on from an adapter.

  Raises:
    ValueError: The folder is missing, or holds too little.
  """
  if given is None:
    given = ITSELF if going_on else NONE
  if given == NONE:
    return Rehearsal(None, None)
  if given == ITSELF:
    return Rehearsal(ITSELF, None)
  return _read(Path(given))


def without_pieces(corpus: Corpus, others: Corpus) -> Corpus:
  """The pieces of a corpus whose music is not in another corpus."""
  known = {music_hash(others.piece(index)) for index in range(len(others))}
  kept = [
    index
    for index in range(len(corpus))
    if music_hash(corpus.piece(index)) not in known
  ]
  if len(kept) == len(corpus):
    return corpus
  return join_pieces(
    (corpus.names[index], corpus.piece(index)) for index in kept
  )


def _read(folder: Path) -> Rehearsal:
  """Reads a folder of a player's older recordings, or of a corpus.

  Recordings are split by title, like those of the player. A corpus that
  `prepare` wrote, or that has a list of splits, gives its split `train`.

  Args:
    folder: Of MIDI files, or written by `prepare`.

  Raises:
    ValueError: It is missing, or holds too little.
  """
  if not folder.is_dir():
    raise ValueError(
      f"{folder}: no such folder. Give one of music to rehearse, {ITSELF} or"
      f" {NONE}."
    )
  if is_prepared(folder) or listed_splits(folder) is not None:
    found, _ = read_corpus(folder, ("train", "valid"))
    if not len(found["train"]):
      raise ValueError(f"{folder}: no piece in the split train to rehearse.")
    judged = found["valid"]
    return Rehearsal(found["train"], judged if len(judged) else None)
  recordings, _ = read_recordings([folder])
  try:
    split = split_recordings(recordings)
  except ValueError as error:
    raise ValueError(f"{folder}, to be rehearsed: {error}") from None
  return Rehearsal(split.train, split.held_out)
