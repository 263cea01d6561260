"""Music of a fine-tuning run: recordings, and other music that is rehearsed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus, read_corpus
from magenta_midi.data.pieces import join_pieces
from magenta_midi.data.prepared import is_prepared
from magenta_midi.data.recordings import (
  Split,
  read_recordings,
  split_recordings,
)
from magenta_midi.data.splits import listed_splits, music_hash

__all__ = [
  "ITSELF",
  "NONE",
  "Mixture",
  "Rehearsal",
  "at_tempo",
  "choose_rehearsal",
  "mix",
  "without_pieces",
]

# Values of --rehearsal: what the model plays by itself before training; none.
ITSELF: Literal["itself"] = "itself"
NONE = "none"


class Mixture(NamedTuple):
  """Corpora, and the share of examples from each; shares are relative."""

  corpora: list[Corpus]
  shares: list[float]


def mix(
  split: Split,
  tempos: Sequence[float],
  rehearsal: Corpus | None = None,
  share: float = 0.0,
) -> Mixture:
  """The recordings at each tempo, by their weights, and the rehearsed music.

  A recording of weight 2 is cropped twice as often a second as one of weight 1.
  Rehearsed music keeps its tempo.

  Args:
    split: Recordings and their weights.
    tempos: Factors; each is used as often as the others.
    rehearsal: Other music; None or empty: none.
    share: Share of the examples that are rehearsal, in [0, 1).
  """
  weights = np.array(split.weights or [1.0] * len(split.train), float)
  # `draw_examples` counts time in the same way.
  drawn = weights * (split.train.lengths_ms + 1)
  corpora, shares = [], []
  for weight in np.unique(weights):
    chosen = np.flatnonzero(weights == weight)
    group = split.train
    if len(chosen) < len(group):
      group = join_pieces(
        (group.names[index], group.piece(index)) for index in chosen.tolist()
      )
    part = float(drawn[chosen].sum() / drawn.sum())
    for tempo in tempos:
      corpora.append(at_tempo(group, tempo))
      shares.append(part)
  if rehearsal is not None and len(rehearsal) and share:
    corpora.append(rehearsal)
    shares.append(len(tempos) * share / (1 - share))
  return Mixture(corpora, shares)


def at_tempo(corpus: Corpus, tempo: float) -> Corpus:
  """The same corpus, faster (above 1) or slower."""
  if tempo == 1:
    return corpus
  events = np.array(corpus.events)
  for field in ("time_ms", "duration_ms"):
    events[field] = np.round(events[field] / tempo)
  is_note = corpus.events["duration_ms"] > 0
  events["duration_ms"][is_note] = np.maximum(1, events["duration_ms"][is_note])
  outlines = tuple(
    outline and outline.moved(tempo=tempo) for outline in corpus.outlines
  )
  return Corpus(events, corpus.offsets, corpus.names, outlines)


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
  return _read_rehearsal(Path(given))


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


def _read_rehearsal(folder: Path) -> Rehearsal:
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
