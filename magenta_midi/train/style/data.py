"""Training data of MidiCoCa: windows of music, captions and measures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import (
  NO_AUGMENTATION,
  Augmentation,
  draw_examples,
)
from magenta_midi.data.examples.style_windows import style_windows
from magenta_midi.limits import AMOUNT, COUNT
from magenta_midi.midi.analysis.description import Description, describe
from magenta_midi.model.depthformer import Frames
from magenta_midi.settings import check_bounds, check_numbers
from magenta_midi.style.text.captions import caption, nonsense, opposites
from magenta_midi.style.text.facts import PieceFacts
from magenta_midi.style.text.words import TextInputs, Words, split_words
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.style.losses import PAD_WORD, CocaBatch
from magenta_midi.typing import Bool, Float

__all__ = ["CocaSizes", "CocaStream", "Window", "draw_windows", "measures_of"]

TEXT_WIDTH = 20
VOCABULARY = 1500
_POOL = 192
# Of a longer window, the newest.
MAX_FRAMES = 256
# A window with fewer notes gives no reliable style.
_MIN_NOTES = 6
# Of the words that the table of vectors knows, so many are read by their
# letters.
_NO_VECTOR = 0.1
# Of the texts, so many count by the mean of their words' vectors alone: what a
# word is near to, the towers' depth forgets.
_SHALLOW = 0.3
# Most that is added to vectors whose entries are about 1: words near a known
# one mean about the same.
_NOISE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CocaSizes:
  """How much is taken at a time."""

  # (frames, windows) of each group of a batch: as long windows are.
  groups: tuple[tuple[int, int], ...] = ((96, 56), (160, 28), (256, 12))
  # Captions of each window.
  captions: int = 3
  # Texts that mean nothing, fewer than windows.
  nonsense: int = 12
  # Windows drawn for scales and vocabulary.
  first: int = 1024
  # Windows that the text tower goes on with alone, and how many at a time.
  bank: int = 8000
  texts: int = 320

  def __post_init__(self) -> None:
    """Refuses sizes that no batch can have."""
    check_numbers(self)
    check_bounds(self, COUNT, "groups", "captions", "first", "bank", "texts")
    check_bounds(self, AMOUNT, "nonsense")


class Window(NamedTuple):
  """10 s of music, what is known of it and what was measured."""

  ids: np.ndarray  # int32 [s, l]
  time: np.ndarray  # int32 [s]
  frames: int  # how many are music
  facts: PieceFacts
  description: Description


class TextBatch(NamedTuple):
  """Texts alone, a caption a window."""

  rows: np.ndarray  # which windows
  inputs: TextInputs
  deep: np.ndarray
  opposed: np.ndarray


def measures_of(description: Description) -> Float[np.ndarray, " m"]:
  """All numbers of a description, those of a ratio as logarithms."""
  values = dict(dataclasses.asdict(description))
  values |= values.pop("analysis")
  values.pop("key")
  found = []
  for name in sorted(values):
    value = values[name]
    if name in _RATIOS:
      value = np.log(max(value, 1e-3)) if value == value else value
    found.append(value)
  return np.array(found, np.float32)


_RATIOS = frozenset(
  ("notes_per_s", "median_ioi_s", "articulation", "polyphony", "tempo_bpm")
)


def draw_windows(
  rng: np.random.Generator,
  codec: Codec,
  corpora: list[Corpus],
  shares: list[float],
  facts: Sequence[Sequence[PieceFacts]],
  count: int,
  augmentation: Augmentation = NO_AUGMENTATION,
) -> list[Window]:
  """Draws windows uniformly over the corpora's time; thin ones are left out.

  Args:
    rng: Of all draws.
    codec: Gives frames.
    corpora: What to draw from.
    shares: Share of windows from each corpus.
    facts: Of each corpus's pieces.
    count: How many to draw.
    augmentation: How far they stray from the recordings.
  """
  examples = draw_examples(rng, corpora, shares, count, augmentation, 1000)
  windows = style_windows(codec, corpora, examples)
  frames = windows.frames(MAX_FRAMES)
  used = np.any(frames.ids > 0, axis=-1).sum(axis=1)
  found = []
  for row, example in enumerate(examples):
    score = windows.score(row)
    if len(score) < _MIN_NOTES:
      continue
    try:
      description = describe(score)
    except ValueError:
      continue
    known = facts[example["corpus"]][example["piece"]]
    found.append(
      Window(
        frames.ids[row],
        frames.time[row],
        int(used[row]),
        known,
        description,
      )
    )
  return found


@dataclasses.dataclass
class CocaStream:
  """An endless stream of batches.

  Attributes:
    codec: Gives frames.
    corpora: What to draw from.
    shares: Share of windows from each corpus.
    facts: Of each corpus's pieces.
    words: Of the text tower.
    augmentation: How far windows stray from the recordings.
    sizes: How much is taken at a time.
    seed: Of all draws.
    pool: How many pools were drawn.
  """

  codec: Codec
  corpora: list[Corpus]
  shares: list[float]
  facts: Sequence[Sequence[PieceFacts]]
  words: Words
  augmentation: Augmentation
  sizes: CocaSizes = dataclasses.field(default_factory=CocaSizes)
  seed: int = 0
  pool: int = 0

  def __post_init__(self) -> None:
    """Draws a first pool for scales and vocabulary, the same every time."""
    self._waiting: list[list[Window]] = [[] for _ in self.sizes.groups]
    rng = np.random.default_rng((self.seed, 1))
    windows = self._draw(rng, self.sizes.first)
    measured = np.array([measures_of(w.description) for w in windows])
    self.mean = np.nanmean(measured, axis=0)
    self.scale = np.nanstd(measured, axis=0) + 1e-3
    counts: Counter[str] = Counter()
    for window in windows:
      for _ in range(8):
        counts.update(self._words(window, rng))
    self.vocabulary = {
      word: 1 + row
      for row, (word, _) in enumerate(counts.most_common(VOCABULARY - 1))
    }

  @property
  def measures(self) -> int:
    """How many numbers are measured."""
    return len(self.mean)

  def _draw(self, rng: np.random.Generator, count: int) -> list[Window]:
    return draw_windows(
      rng,
      self.codec,
      self.corpora,
      self.shares,
      self.facts,
      count,
      self.augmentation,
    )

  def _words(self, window: Window, rng: np.random.Generator) -> list[str]:
    return split_words(caption(window.facts, window.description, rng))

  def _fill(self, rng: np.random.Generator) -> None:
    self.pool += 1
    for window in self._draw(rng, _POOL):
      group = next(
        index
        for index, (width, _) in enumerate(self.sizes.groups)
        if window.frames <= width or index == len(self._waiting) - 1
      )
      self._waiting[group].append(window)

  def next(self) -> CocaBatch:
    """The next batch."""
    rng = np.random.default_rng((self.seed, 2, self.pool))
    while any(
      len(waiting) < count
      for waiting, (_, count) in zip(
        self._waiting, self.sizes.groups, strict=True
      )
    ):
      self._fill(rng)
    groups, windows = [], []
    for index, (width, count) in enumerate(self.sizes.groups):
      chosen = self._waiting[index][-count:]
      # The oldest examples without a place are dropped: the list stays short.
      self._waiting[index] = self._waiting[index][:-count][-256:]
      ids = np.stack([window.ids[:width] for window in chosen])
      time = np.stack([window.time[:width] for window in chosen])
      groups.append(Frames(ids, time, np.zeros_like(time)))
      windows += chosen
    return self._batch(rng, tuple(groups), windows)

  def _batch(
    self,
    rng: np.random.Generator,
    groups: tuple[Frames, ...],
    windows: list[Window],
  ) -> CocaBatch:
    texts = [
      caption(window.facts, window.description, rng)
      for window in windows
      for _ in range(self.sizes.captions)
    ]
    words = np.full((len(windows), TEXT_WIDTH), PAD_WORD, np.int32)
    for row, text in enumerate(texts[:: self.sizes.captions]):
      said = [
        self.vocabulary[word]
        for word in split_words(text)
        if word in self.vocabulary
      ][:TEXT_WIDTH]
      words[row, : len(said)] = said
    texts += [nonsense(rng) for _ in range(self.sizes.nonsense)]
    sides, opposed = self._opposites(windows, rng)
    measured = np.array([measures_of(w.description) for w in windows])
    return CocaBatch(
      groups,
      *self._noisy(texts + sides, rng),
      self._deep(len(texts) + len(sides), rng),
      opposed,
      words,
      ((measured - self.mean) / self.scale).clip(-3, 3).astype(np.float32),
    )

  def _opposites(
    self, windows: list[Window], rng: np.random.Generator
  ) -> tuple[list[str], Bool[np.ndarray, " b"]]:
    """A true text and its opposite of each window; which have such texts."""
    found = [opposites(window.description, rng) for window in windows]
    texts = [text for pair in found for text in pair or ("piano", "piano")]
    return texts, np.array([pair is not None for pair in found])

  def _deep(self, count: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.uniform(size=count) > _SHALLOW).astype(np.float32)

  def _noisy(self, texts: list[str], rng: np.random.Generator) -> TextInputs:
    """Texts as the tower reads them in training."""
    inputs = self.words.inputs(texts, width=TEXT_WIDTH)
    known = inputs.known & (rng.uniform(size=inputs.known.shape) > _NO_VECTOR)
    noise = rng.standard_normal(inputs.vectors.shape, np.float32)
    noise *= rng.uniform(0, _NOISE, (len(texts), 1, 1)).astype(np.float32)
    return inputs._replace(vectors=inputs.vectors + noise, known=known)

  def bank(self) -> list[Window]:
    """Windows for the text tower alone, the same every time."""
    rng = np.random.default_rng((self.seed, 3))
    windows: list[Window] = []
    while len(windows) < self.sizes.bank:
      windows += self._draw(rng, 512)
    return windows[: self.sizes.bank]

  def text_batch(self, windows: list[Window], step: int) -> TextBatch:
    """Texts of windows, drawn at random, as `CocaBatch` orders them."""
    rng = np.random.default_rng((self.seed, 4, step))
    rows = rng.choice(len(windows), self.sizes.texts, replace=False)
    chosen = [windows[row] for row in rows]
    texts = [caption(w.facts, w.description, rng) for w in chosen]
    texts += [nonsense(rng) for _ in range(self.sizes.nonsense)]
    sides, opposed = self._opposites(chosen, rng)
    texts += sides
    inputs = self._noisy(texts, rng)
    return TextBatch(rows, inputs, self._deep(len(texts), rng), opposed)
