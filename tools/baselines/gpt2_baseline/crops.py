"""Training rows: crops of augmented music as tokens, packed to one length.

Crops, shares and augmentation are those of our own training, function for
function: a *now* uniform over the corpus, what lies up to 10 s before it
(begun with the pedal and the notes that sound there), and what follows. A row
is filled with crops until it is full; the last is cut off. Batch `n` follows
from the seed and `n`.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import (
  Augmentation,
  cut_sides,
  draw_examples,
)
from magenta_midi.data.examples.framing import Side
from magenta_midi.typing import Int, Shaped
from tools.baselines.gpt2_baseline.music_tokens import (
  BEGIN,
  NOTE,
  MusicTokens,
  Tokens,
)

__all__ = ["CropSource", "Rows", "stack_frames"]

CONTEXT_STEPS = 1000
# Steps after *now* in a crop: enough to fill 1024 tokens with most music.
TARGET_STEPS = 5000
# A shorter rest of a row stays empty.
_MIN = 32


class Rows(NamedTuple):
  """A batch, NumPy or JAX."""

  ids: Any  # [b, t]
  position: Any  # [b, t] in the crop
  segment: Any  # [b, t] number of the crop, 0 where the row is empty
  targets: Any  # [b, t] the id after each


def stack_frames(
  sides: tuple[Side, Side],
  examples: Shaped[np.ndarray, " n"],
  row: int,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n 4"], int]:
  """One example's frames, those before *now* first.

  Args:
    sides: Of `cut_sides`.
    examples: What was cut.
    row: Which of them.

  Returns:
    Steps from where its music begins to be known (or the piece begins), codes,
    and the step of *now*.
  """
  example = examples[row]
  # As the grid rounds.
  piece_steps = int(np.floor(float(example["now_ms"]) / 10 + 0.5))
  now = min(int(example["context_steps"]), piece_steps)
  now = 0 if example["begins"] else now
  parts = []
  for side in sides:
    first, last = np.searchsorted(side.row, (row, row + 1))
    parts.append((side.step[first:last] + now, side.codes[first:last]))
  return (
    np.concatenate([step for step, _ in parts]),
    np.concatenate([codes for _, codes in parts]),
    now,
  )


@dataclasses.dataclass(frozen=True)
class CropSource:
  """Batches by number.

  Attributes:
    tokens: Turns frames into tokens.
    corpora: What to crop from.
    shares: Share of crops from each corpus.
    augmentation: How far crops stray.
    rows: Rows of a batch.
    length: Tokens of a row.
    seed: Of all draws.
  """

  tokens: MusicTokens
  corpora: list[Corpus]
  shares: list[float]
  augmentation: Augmentation
  rows: int
  length: int
  seed: int

  def batch(self, number: int) -> Rows:
    """The batch of a number."""
    rng = np.random.default_rng((self.seed, number))
    shape = (self.rows, self.length)
    found = Rows(*(np.zeros(shape, np.int32) for _ in Rows._fields))
    filled = np.zeros(self.rows, np.int64)
    crops = 0
    waiting: list[Tokens] = []
    while (open_rows := np.flatnonzero(filled <= self.length - _MIN)).size:
      if not waiting:
        waiting = self._crops(rng)
      crop = waiting.pop()
      if not len(crop.ids):
        continue
      crops += 1
      row = int(open_rows[0])
      start = int(filled[row])
      count = min(len(crop.ids), self.length - start)
      place = (row, slice(start, start + count))
      found.ids[place] = np.concatenate([[BEGIN], crop.ids[: count - 1]])
      found.position[place] = np.arange(count)
      found.segment[place] = crops
      found.targets[place] = crop.ids[:count]
      filled[row] += count
    return found

  def _crops(self, rng: np.random.Generator) -> list[Tokens]:
    examples = draw_examples(
      rng,
      self.corpora,
      self.shares,
      self.rows,
      self.augmentation,
      CONTEXT_STEPS,
    )
    sides = cut_sides(self.tokens.codec, self.corpora, examples, TARGET_STEPS)
    crops = []
    for row in range(len(examples)):
      step, codes, now = stack_frames(sides, examples, row)
      crops.append(self.tokens.encode(step, codes, until=now + TARGET_STEPS))
    return crops

  def notes(self, rows: Rows) -> int:
    """How many notes a batch predicts."""
    names = self.tokens.name_of[rows.targets]
    return int(np.count_nonzero((rows.segment > 0) & (names == NOTE)))
