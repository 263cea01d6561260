"""Self samples: music that a model plays by itself before training.

They show what the model knew before it was fine-tuned: they are rehearsed, and
forgetting is measured on them, as most users do not have the music that the
model was trained on. They begin from nothing: what the base plays after a
player's phrase is what fine-tuning should change.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.generate.generator import Generator, join_chunks
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import MidiFileError, read_score, write_score
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec

__all__ = [
  "PIECE_S",
  "Numbers",
  "number_pieces",
  "read_self_samples",
  "draw_self_samples",
]

# Length of one sample, s: several contexts of 10 s with what follows them.
PIECE_S = 24.0
# One sample in so many is not trained on: it measures forgetting.
JUDGED = 4
# Keeps these draws apart from the run's other draws.
_SEED = 7919


class Numbers(NamedTuple):
  """Numbers of the samples to measure forgetting by, and to train on."""

  judged: range
  learned: range


def number_pieces(seconds: float, *, judge: bool, rehearse: bool) -> Numbers:
  """Numbers the samples that a run needs.

  A sample depends on its number alone, so that figures of runs with and without
  rehearsal can be compared.

  Args:
    seconds: Length of all samples; 0: none.
    judge: Whether forgetting is measured on them.
    rehearse: Whether they are rehearsed.

  Raises:
    ValueError: There is too little to rehearse.
  """
  pieces = round(seconds / PIECE_S)
  judged = -(-pieces // JUDGED)
  if rehearse and pieces <= judged:
    raise ValueError(
      f"to rehearse what the model plays by itself, {2 * PIECE_S:g} s of it are"
      f" the least, got {seconds:g} s of continuations."
    )
  return Numbers(
    range(judged if judge else 0),
    range(judged, pieces if rehearse else judged),
  )


def draw_self_samples(
  model: Depthformer,
  codec: Codec,
  folder: Path,
  numbers: Iterable[int],
  *,
  seed: int = 0,
  on_piece: Callable[[int, int], None] = lambda done, total: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Draws the samples that are not in the folder yet; no file is half written.

  Args:
    model: In evaluation mode.
    codec: The model's.
    folder: Receives a MIDI file for each number.
    numbers: Which samples; each follows from seed and number alone.
    seed: Seed of all draws.
    on_piece: Called with (samples done, samples in all).
    should_stop: Asked before each sample.

  Returns:
    Whether all samples are there.

  Raises:
    OSError: They cannot be written.
  """
  numbers = list(numbers)
  missing = [number for number in numbers if _read(folder, number) is None]
  if not missing:
    return True
  folder.mkdir(parents=True, exist_ok=True)
  generator = Generator(model, codec)
  for number in missing:
    on_piece(numbers.index(number), len(numbers))
    if should_stop():
      return False
    state, chunks = generator.init_state(), []
    while sum(chunk.seconds for chunk in chunks) < PIECE_S:
      chunk, state = generator.generate_chunk(
        # Pieces of one run share no random numbers.
        state,
        seed=((seed + _SEED) * 10_007 + number) % 2**32,
      )
      chunks.append(chunk)
    write_score(join_chunks(codec, chunks), _path(folder, number))
  on_piece(len(numbers), len(numbers))
  return True


def read_self_samples(folder: Path, numbers: Iterable[int]) -> Corpus:
  """The samples in a folder; those without notes are left out."""
  pieces: list[tuple[str, np.ndarray]] = []
  for number in numbers:
    score = _read(folder, number)
    if score is not None and len(score):
      pieces.append((_path(folder, number).name, pack_piece(score)))
  return join_pieces(pieces)


def _path(folder: Path, number: int) -> Path:
  return folder / f"{number:03d}.mid"


def _read(folder: Path, number: int) -> Score | None:
  """A sample; None: it is missing or damaged."""
  path = _path(folder, number)
  try:
    return read_score(path) if path.is_file() else None
  except MidiFileError:
    return None
