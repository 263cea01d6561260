"""Pools of examples: each is a function of the seed and its number alone.

So any process can cut pools, in any order, and a resumed run continues with
the next one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.crops import Crops
from magenta_midi.data.examples.examples import (
  Augmentation,
  cut_sides,
  draw_examples,
)
from magenta_midi.data.examples.frame_counts import max_frames
from magenta_midi.data.examples.history_noise import HistoryNoise
from magenta_midi.data.examples.partners import SOLO, draw_partners
from magenta_midi.data.examples.style_shifts import draw_departures
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.typing import Int, Shaped

__all__ = ["POOL", "Pools"]

POOL = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pools:
  """Settings that determine every example of a run."""

  codec: Codec
  # Corpora to crop from, and the share of examples from each.
  corpora: list[Corpus]
  shares: list[float]
  # How far examples stray.
  augmentation: Augmentation
  # Length of targets and contexts, 10 ms steps.
  target_steps: int
  context_steps: int
  # Of all draws.
  seed: int
  # Share of each mode of `partners.MODES`.
  partners: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: dict(SOLO)
  )
  # Rows of style of the examples; None: no style.
  style: StyleRows | None = None
  # How far the notes before *now* stray; None: not at all.
  history_noise: HistoryNoise | None = None
  # Examples in a pool.
  size: int = POOL

  def draw(
    self, index: int
  ) -> tuple[Shaped[np.ndarray, " n"], np.random.Generator]:
    """Draws a pool; the generator goes on to order its batches."""
    rng = np.random.default_rng((self.seed, index))
    examples = draw_examples(
      rng,
      self.corpora,
      self.shares,
      self.size,
      self.augmentation,
      self.context_steps,
    )
    return examples, rng

  def examples(self, index: int) -> Shaped[np.ndarray, " n"]:
    """The examples of a pool, `EXAMPLE_DTYPE`."""
    examples, _ = self.draw(index)
    # A separate generator: solo examples do not depend on the other part.
    draw_partners(
      np.random.default_rng((self.seed, index + 1, 1)),
      self.corpora,
      examples,
      self.partners,
    )
    # Only examples with style or controls may have a shift.
    if self.style is not None:
      draw_departures(
        np.random.default_rng((self.seed, index + 1, 2)),
        self.corpora,
        examples,
        self.augmentation.departures,
      )
    return examples

  def planned(self, examples: Shaped[np.ndarray, " n"]) -> Crops:
    """Examples with their sizes, not yet cut where that can wait."""
    if not isinstance(self.codec, NoteCodec):
      # The number of tokens of an event is known only after cutting.
      return self.cut(examples)
    return Crops(examples, self._max_frames(examples))

  def cut(self, examples: Shaped[np.ndarray, " n"]) -> Crops:
    """Cuts examples; their style is still missing."""
    context, after = cut_sides(
      self.codec,
      self.corpora,
      examples,
      self.target_steps,
      history_noise=self.history_noise,
    )
    crops = Crops(examples, None, context, after)
    if isinstance(self.codec, NoteCodec):
      sizes = self._max_frames(examples)
    else:
      sizes = np.stack(crops.frame_counts(), axis=1)
    return crops._replace(sizes=sizes)

  def _max_frames(
    self, examples: Shaped[np.ndarray, " n"]
  ) -> Int[np.ndarray, "n 2"]:
    return max_frames(self.codec, self.corpora, examples, self.target_steps)

  def crops(self, index: int) -> Crops:
    """A pool, cut."""
    return self.cut(self.examples(index))

  def styled(self, crops: Crops) -> Crops:
    """The same with the rows of their style, where a run has one."""
    if self.style is None or crops.style is not None:
      return crops
    if not len(crops.examples):
      # A host whose block of a small batch is empty.
      none = np.zeros((0, self.style.slots), np.int32)
      return crops._replace(style=none)
    drawn = self.style.drawn(self.corpora, crops.examples)
    return crops._replace(style=drawn)

  def since(self, index: int) -> Iterator[Crops]:
    """Pools from a number on, planned, without end."""
    while True:
      yield self.planned(self.examples(index))
      index += 1
