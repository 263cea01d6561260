"""Draws what examples are given: beats, chords, both or nothing."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.limits import AMOUNT
from magenta_midi.midi.outline import Outline
from magenta_midi.tokens.outline_rows import (
  OutlineFrames,
  no_frames,
  outline_frames,
)
from magenta_midi.typing import Shaped

__all__ = ["GIVEN", "OutlineDraws", "check_given"]

# What an example may be given of its piece's outline.
GIVEN = ("nothing", "beats", "chords", "both")

# A player's own beat is not exact: all beats of an example are early or late
# together, and each by itself; standard deviations and the most, ms.
_TOGETHER_MS, _EACH_MS, _MOST_MS = 8.0, 6.0, 15.0
# An outline is cut to this much around *now*; what is given lies nearer, ms.
_AROUND_MS = 10_000.0


def check_given(shares: Mapping[str, float]) -> None:
  """Refuses shares that cannot be drawn.

  Raises:
    ValueError: A name is not of `GIVEN`, a share is negative, or all are 0.
  """
  if unknown := sorted(set(shares) - set(GIVEN)):
    raise ValueError(
      f"unknown outlines {', '.join(unknown)}. Known: {', '.join(GIVEN)}."
    )
  for name, share in shares.items():
    AMOUNT.check(f"outline: the share of {name}", share)
  if shares and sum(shares.values()) <= 0:
    raise ValueError(
      "of the shares of outlines one must be above 0, got"
      f" {', '.join(f'{name}:{share:g}' for name, share in shares.items())}."
    )


@dataclasses.dataclass(frozen=True)
class OutlineDraws:
  """Draws what is given of each example; the same for the same example.

  Attributes:
    shares: Of `GIVEN`, at least one above 0.
    seed: Of the draws.
    jitter: Whether beats are given a little early or late.
  """

  shares: Mapping[str, float]
  seed: int = 0
  jitter: bool = True

  def frames(
    self,
    corpora: Sequence[Corpus],
    examples: Shaped[np.ndarray, " n"],
    step_ms: int,
  ) -> OutlineFrames:
    """Outline frames of each example, `[n, p, ...]`.

    Nothing is given of pieces without an outline, and of examples with a shift
    of style, whose music does not follow the outline.

    Args:
      corpora: What `examples` index.
      examples: `EXAMPLE_DTYPE`.
      step_ms: Of the codec.
    """
    found = no_frames(len(examples))
    bounds = np.cumsum([self.shares.get(name, 0.0) for name in GIVEN])
    for row, example in enumerate(examples):
      outline = corpora[example["corpus"]].outline(int(example["piece"]))
      if outline is None or example["departure"] != 0:
        continue
      # Not a field of the example: states of earlier runs have none.
      key = zlib.crc32(example.tobytes())
      rng = np.random.default_rng((self.seed, key))
      drawn = rng.uniform(0, bounds[-1])
      given = GIVEN[int(np.searchsorted(bounds, drawn, side="right"))]
      if given == "nothing":
        continue
      now_ms, tempo = float(example["now_ms"]), float(example["tempo"])
      outline = outline.between(
        (now_ms - _AROUND_MS) * tempo, (now_ms + _AROUND_MS) * tempo
      )
      outline = outline.without(
        beats=given == "chords", chords=given == "beats"
      )
      outline = outline.moved(tempo=tempo, up=int(example["transpose"]))
      if self.jitter:
        outline = _jittered(outline, rng)
      one = outline_frames(outline, now_ms, step_ms)
      for all_rows, its in zip(found, one, strict=True):
        all_rows[row] = its
    return found


def _jittered(outline: Outline, rng: np.random.Generator) -> Outline:
  """The outline with beats a little early or late."""
  off = rng.normal(0, _TOGETHER_MS) + rng.normal(
    0, _EACH_MS, len(outline.beat_ms)
  )
  moved = outline.beat_ms + np.clip(off, -_MOST_MS, _MOST_MS)
  return dataclasses.replace(outline, beat_ms=moved)
