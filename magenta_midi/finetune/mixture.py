"""Mixture of music that a fine-tuning run crops its examples from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.pieces import join_pieces
from magenta_midi.data.recordings import Split

__all__ = ["Mixture", "at_tempo", "mix"]


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
  return Corpus(events, corpus.offsets, corpus.names)
