"""Style prompts: text, music, audio, files, and weighted lists of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Any, TypeAlias

import numpy as np

from magenta_midi.limits import PROMPT_WEIGHT
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import SUFFIXES, read_score
from magenta_midi.plain_text import existing_path
from magenta_midi.style.waveform import AUDIO_SUFFIXES, Waveform, read_waveform
from magenta_midi.typing import Float

# An array is an embedding, as `StyleModel.embed` returns it.
PromptItem: TypeAlias = str | Score | Waveform | PathLike[str] | np.ndarray
# An item or (item, weight) pairs. Pairs are checked at run time, which gives a
# better message than a type checker.
Prompt: TypeAlias = PromptItem | Sequence

_ITEMS = (str, Score, Waveform, PathLike, np.ndarray)

# If the sum of styles is shorter than this share of the longest one, they
# cancel out.
_SMALLEST_SHARE = 1e-4


def embed_prompt(
  prompt: Prompt,
  embed_one: Callable[[Any], np.ndarray],
  *,
  accepts_audio: bool = False,
  unit: bool = True,
) -> Float[np.ndarray, " n"]:
  """Embeds any prompt with a function that embeds one item.

  Args:
    prompt: See `StyleModel.embed`.
    embed_one: Function from a text, a `Score` or (with `accepts_audio`) a
      `Waveform` to a vector, which has unit length if `unit`. Embeddings in the
      prompt are used unchanged.
    accepts_audio: Whether `embed_one` accepts a `Waveform`; if not, audio
      raises an error before it is read.
    unit: Whether the vector of a list is scaled to unit length.

  Returns:
    A vector; for a list the weighted mean, with weights scaled to sum 1.

  Raises:
    ValueError: A weight is negative or not finite, all are zero, the list is
      empty or has other items, its items cancel out, or one is audio that is
      not accepted.
  """

  def vector_of(item: PromptItem) -> np.ndarray:
    if isinstance(item, np.ndarray):
      return _checked(item)
    return embed_one(_load(item, accepts_audio))

  if isinstance(prompt, _ITEMS):
    return vector_of(prompt)
  if not isinstance(prompt, Sequence):
    raise ValueError(
      "a style must be text, a Score, a Waveform, a path or a list of "
      f"(item, weight), got {type(prompt).__name__}."
    )
  pairs = [_pair(entry) for entry in prompt]
  weights = np.array([weight for _, weight in pairs])
  if not weights.sum() > 0:
    raise ValueError(
      "style weights must have a positive sum, got "
      f"{weights.tolist()}. Give at least one item a positive weight."
    )
  weights /= weights.sum()
  vectors = np.stack([vector_of(item) for item, _ in pairs])
  mean = weights @ vectors
  norm = np.linalg.norm(mean)
  if norm < _SMALLEST_SHARE * np.linalg.norm(vectors, axis=1).max():
    raise ValueError(
      "the styles of a blend must not cancel out, but these are opposites "
      f"at weights {weights.round(3).tolist()}. Change a weight."
    )
  return (mean / norm if unit else mean).astype(np.float32)


def _pair(entry: object) -> tuple[PromptItem, float]:
  item, weight = (
    entry
    if isinstance(entry, (tuple, list)) and len(entry) == 2
    else (None, None)
  )
  if not isinstance(item, _ITEMS) or not isinstance(
    weight, (int, float, np.number)
  ):
    raise ValueError(
      "a style list must hold (item, weight) pairs, got "
      f"{str(entry)[:60]!r}. Write [('slow ballad', 2.0), (score, 1.0)]."
    )
  try:
    return item, PROMPT_WEIGHT.check("a style weight", weight)
  except ValueError as error:
    raise ValueError(
      f"{error} To move away from a text, write it with 'not'."
    ) from None


def _checked(vector: np.ndarray) -> np.ndarray:
  if vector.ndim != 1 or not np.isfinite(vector).all() or not vector.any():
    raise ValueError(
      "an embedding in a style must be finite numbers, not all 0, got shape"
      f" {vector.shape}. Use what embed returns."
    )
  return vector.astype(np.float32)


def is_file_name(text: str) -> bool:
  """Whether a text is the name of a MIDI or audio file."""
  return text.strip().lower().endswith((*SUFFIXES, *AUDIO_SUFFIXES))


def _load(
  item: str | Score | Waveform | PathLike[str], accepts_audio: bool
) -> str | Score | Waveform:
  if isinstance(item, Waveform):
    return item if accepts_audio else _refuse("a Waveform")
  if isinstance(item, Score):
    return item
  name = fspath(item).strip() if isinstance(item, str) else fspath(item)
  if isinstance(item, str) and not is_file_name(name):
    return item
  path = existing_path(name)
  if name.lower().endswith(AUDIO_SUFFIXES):
    return read_waveform(path) if accepts_audio else _refuse(name)
  return read_score(path)


def _refuse(audio: str) -> Waveform:
  raise ValueError(
    f"this model's style is text or MIDI, not audio, got {audio}. Give words or"
    " a MIDI file, as magenta-midi transcribe makes one; audio itself needs a"
    " checkpoint trained with MusicCoCa."
  )
