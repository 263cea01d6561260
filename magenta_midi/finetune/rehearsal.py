"""What is rehearsed, and what of it says what was forgotten."""

from pathlib import Path
from typing import Literal, NamedTuple

from magenta_midi.data.corpus import Corpus, read_corpus
from magenta_midi.data.pieces import join_pieces
from magenta_midi.data.prepared import is_prepared
from magenta_midi.data.splits import listed_splits, music_hash
from magenta_midi.data.takes import read_takes, split_takes

__all__ = ["ITSELF", "NONE", "Rehearsal", "choose_rehearsal", "without_pieces"]

# What a model plays by itself before it learns; and nothing.
ITSELF: Literal["itself"] = "itself"
NONE = "none"


class Rehearsal(NamedTuple):
  """Music that is learned from beside the takes, and music that is not.

  Attributes:
    learned: None: none.
    judged: By this it is told what was forgotten; None: not by this.
  """

  learned: Corpus | Literal["itself"] | None
  judged: Corpus | None


def choose_rehearsal(given: str | None, *, going_on: bool) -> Rehearsal:
  """What a run rehearses.

  Args:
    given: A folder, `ITSELF` or `NONE`; None: `ITSELF` for a run that goes on
      from an adapter, whose takes may be gone, else `NONE`.
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
  """The pieces of a corpus whose music is not that of any other's."""
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
  """Reads a folder of a player's older takes, or of a corpus.

  Takes are split by title, as those that are learned from; of a corpus, which
  `prepare` wrote or a list says the splits of, `train` is learned from.

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
  takes, _ = read_takes([folder])
  try:
    split = split_takes(takes)
  except ValueError as error:
    raise ValueError(f"{folder}, to be rehearsed: {error}") from None
  return Rehearsal(split.train, split.held_out)
