"""Style prompts: text, music, files, and weighted lists of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np

from magenta_midi.midi.files import SUFFIXES, read_score
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float

PromptItem: TypeAlias = str | Score | PathLike[str]
# An item or (item, weight) pairs. Pairs are checked when they are read, for
# a better message than a type checker's.
Prompt: TypeAlias = PromptItem | Sequence

# Two styles of about equal weight that point opposite ways leave no more.
_SMALLEST_NORM = 1e-4


def embed_prompt(
  prompt: Prompt, embed_one: Callable[[str | Score], np.ndarray]
) -> Float[np.ndarray, " n"]:
  """Embeds a prompt of any kind by a model that embeds text and scores.

  Args:
    prompt: See `StyleModel.embed`.
    embed_one: Text or a score to a vector of unit length.

  Returns:
    A unit vector: of a list, the weighted mean, its weights made to sum to
    1, put back to unit length.

  Raises:
    ValueError: A weight is negative or not finite, all are zero, the list is
      empty or holds something else, or its items cancel out.
  """
  if isinstance(prompt, (str, Score, PathLike)):
    return embed_one(_load(prompt))
  if not isinstance(prompt, Sequence):
    raise ValueError(
      "a style must be text, a Score, a path or a list of (item, weight), "
      f"got {type(prompt).__name__}."
    )
  pairs = [_pair(entry) for entry in prompt]
  weights = np.array([weight for _, weight in pairs])
  if not weights.sum() > 0:
    raise ValueError(
      "style weights must have a positive sum, got "
      f"{weights.tolist()}. Give at least one item a positive weight."
    )
  weights /= weights.sum()
  vectors = np.stack([embed_one(_load(item)) for item, _ in pairs])
  mean = weights @ vectors
  norm = np.linalg.norm(mean)
  if norm < _SMALLEST_NORM:
    raise ValueError(
      "the styles of a blend must not cancel out, but these are opposites "
      f"at weights {weights.round(3).tolist()}. Change a weight."
    )
  return (mean / norm).astype(np.float32)


def _pair(entry: object) -> tuple[PromptItem, float]:
  item, weight = (
    entry
    if isinstance(entry, (tuple, list)) and len(entry) == 2
    else (None, None)
  )
  if not isinstance(item, (str, Score, PathLike)) or not isinstance(
    weight, (int, float, np.number)
  ):
    raise ValueError(
      "a style list must hold (item, weight) pairs, got "
      f"{str(entry)[:60]!r}. Write [('slow ballad', 2.0), (score, 1.0)]."
    )
  if not (math.isfinite(weight) and weight >= 0):
    raise ValueError(
      f"style weights must be finite and not negative, got {weight}. To "
      "move away from a text, write it with 'not'."
    )
  return item, float(weight)


def _load(item: PromptItem) -> str | Score:
  if isinstance(item, Score):
    return item
  if isinstance(item, str) and not item.strip().lower().endswith(SUFFIXES):
    return item
  return read_score(item if isinstance(item, PathLike) else Path(item.strip()))
