"""Style model of measured descriptors, without weights.

It measures twelve descriptors of a score (density, pace, loudness ...). Each is
about -1 to 1, for low to high in piano music. Words of a text give values of
the same descriptors; descriptors without a word are 0 (typical). The twelve
numbers, rotated into 768 dimensions and scaled to unit length, are the
embedding, so the cosine of two embeddings is the cosine of their descriptors.

It understands only the words of its lexicon, and those of other languages that
mean one. Learned style models have the same
interface, `StyleModel`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from magenta_midi.midi.analysis.analysis import Analysis, analyze
from magenta_midi.midi.score import Score
from magenta_midi.style.model import EMBEDDING_DIM
from magenta_midi.style.prompt import Prompt, embed_prompt
from magenta_midi.style.text.lexicon import LEXICON, SOME_WORDS, find_words
from magenta_midi.style.text.translation import translate
from magenta_midi.style.text.words import check_length
from magenta_midi.typing import Float, Int


@dataclass(frozen=True)
class Descriptor:
  """One axis: a field of `Analysis` and its range."""

  name: str
  measure: str
  # Values that become -1, 0 and 1: about the 10 %, 50 % and 90 % quantiles of
  # 10 s windows of piano rolls, pop arrangements and transcribed recordings.
  low: float
  typical: float
  high: float
  log: bool = False

  def normalize(self, analysis: Analysis) -> float:
    """The measure on this axis, clipped to -1.5..1.5."""
    points = np.array(
      [getattr(analysis, self.measure), self.low, self.typical, self.high]
    )
    points = np.log(points) if self.log else points
    value, low, typical, high = points if self.high > self.low else -points
    span = high - typical if value > typical else typical - low
    return float(np.clip((value - typical) / span, -1.5, 1.5))


# In pairs: two neighbors share a token.
DESCRIPTORS = (
  Descriptor("density", "notes_per_s", 3.0, 6.5, 14.0, log=True),
  Descriptor("pace", "median_ioi_s", 0.5, 0.24, 0.1, log=True),
  Descriptor("loudness", "velocity_mean", 38.0, 68.0, 92.0),
  Descriptor("dynamics", "velocity_std", 4.5, 10.0, 18.0),
  Descriptor("register", "key_mean", 56.0, 63.0, 70.0),
  Descriptor("spread", "key_std", 7.0, 10.0, 14.0),
  Descriptor("articulation", "articulation", 0.6, 1.2, 2.4, log=True),
  Descriptor("pedal", "pedal_share", 0.1, 0.7, 1.0),
  Descriptor("polyphony", "polyphony", 2.0, 3.2, 5.0, log=True),
  Descriptor("evenness", "evenness", 0.4, 0.77, 1.0),
  Descriptor("mode", "mode", -0.25, 0.0, 0.25),
  Descriptor("clarity", "key_clarity", 0.68, 0.83, 0.93),
)
_NAMES = [descriptor.name for descriptor in DESCRIPTORS]

_CODES = 256  # rows of each level in the table
_STEPS = 7  # to each side of 0: 15 values for each axis, 225 codes used


def _lift() -> np.ndarray:
  # NumPy never changes the numbers of RandomState, so embeddings never change.
  random = np.random.RandomState(768)
  basis, triangle = np.linalg.qr(
    random.standard_normal((EMBEDDING_DIM, len(DESCRIPTORS)))
  )
  return basis * np.sign(np.diagonal(triangle))


class DescriptorStyle:
  """A `StyleModel` of measured descriptors and a lexicon; no weights."""

  name: ClassVar[str] = "descriptors"

  def __init__(self) -> None:
    self._lift = _lift()  # [768, 12], orthonormal columns

  @property
  def levels(self) -> int:
    """Tokens of an embedding: one for each pair of descriptors."""
    return len(DESCRIPTORS) // 2

  @property
  def table_rows(self) -> int:
    """Number of rows: the mask and 256 for each level."""
    return 1 + self.levels * _CODES

  def embed(self, prompt: Prompt) -> Float[np.ndarray, " 768"]:
    """Embeds a prompt as a unit vector; see `StyleModel.embed`.

    Raises:
      ValueError: A text has no known word, is too long or contradicts itself, a
        score has fewer than two onsets, a weight is invalid, or a file cannot
        be read.
    """
    return embed_prompt(prompt, self._embed_one)

  def understands(self, text: str) -> bool:
    """Whether a text has a known word; see `model.understands`."""
    return bool(_found_words(text))

  def describe(self, prompt: Prompt) -> dict[str, float]:
    """The descriptors of an embedding by name, as a unit vector."""
    values = self.embed(prompt) @ self._lift
    return dict(zip(_NAMES, map(float, values), strict=True))

  def tokenize(
    self, embedding: Float[np.ndarray, " 768"]
  ) -> Int[np.ndarray, " 6"]:
    """Converts an embedding to rows of the style table.

    A row is a pair of descriptors. Each descriptor is rounded to one of 15
    values, finer near 0 (its square root is rounded, because most are small in
    a unit vector). Level `i` has rows `1 + 256 i` to `256 (i + 1)`; row 0 is
    the mask and never returned.
    """
    if embedding.shape != (EMBEDDING_DIM,) or not np.isfinite(embedding).all():
      raise ValueError(
        f"an embedding must be {EMBEDDING_DIM} finite numbers, got shape "
        f"{embedding.shape}. Use what embed returns."
      )
    values = np.clip(embedding @ self._lift, -1.0, 1.0)
    steps = np.rint(np.sign(values) * np.sqrt(np.abs(values)) * _STEPS)
    pairs = steps.astype(np.int32).reshape(-1, 2) + _STEPS
    codes = pairs @ np.array([16, 1], np.int32)
    return 1 + _CODES * np.arange(self.levels, dtype=np.int32) + codes

  def reconstruct(
    self, tokens: Int[np.ndarray, " 6"]
  ) -> Float[np.ndarray, " 768"]:
    """The unit vector of tokens, with the precision of `tokenize`."""
    codes = (tokens - 1) % _CODES
    steps = np.stack(divmod(codes, 16), axis=1).ravel() - _STEPS
    values = np.sign(steps) * np.square(steps / _STEPS)
    return self._unit(values)

  def _embed_one(self, item: str | Score) -> np.ndarray:
    if isinstance(item, Score):
      analysis = analyze(item)
      values = [descriptor.normalize(analysis) for descriptor in DESCRIPTORS]
    else:
      values = _text_values(item)
    return self._unit(np.array(values))

  def _unit(self, values: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(values)
    if norm < 1e-6:
      raise ValueError(
        "a style must differ from typical music, but its words cancel out. Add "
        f"a word such as {SOME_WORDS}."
      )
    return (self._lift @ (values / norm)).astype(np.float32)


def _found_words(text: str) -> list[tuple[str, float]]:
  return find_words(translate(check_length(text), _known_words().__contains__))


@functools.cache
def _known_words() -> frozenset[str]:
  return frozenset(word for phrase in LEXICON for word in phrase.split())


def _text_values(text: str) -> list[float]:
  found = _found_words(text)
  if not found:
    shown = " ".join(text.split())
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise ValueError(
      f"style text must have a known word, got {shown!r}. Words such as "
      f"{SOME_WORDS} work, and so does a MIDI file."
    )
  return [
    sum(LEXICON[phrase].get(name, 0.0) * by for phrase, by in found)
    for name in _NAMES
  ]
