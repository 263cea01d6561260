"""What a model plays by itself, sampled once and kept in a run's folder.

Music of the model's own says what it knew before it learned: it is rehearsed,
and what was forgotten is told by it, where nobody has the music that the model
was trained on. It begins from nothing: after a player's own phrase, the base's
way to go on is what fine-tuning is to change.
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

__all__ = ["PIECE_S", "Numbers", "number_pieces", "read_own", "sample_own"]

# Of one continuation: contexts of 10 s and what follows them, several times.
PIECE_S = 24.0
# One in so many is not learned from: by these it is told what was forgotten.
JUDGED = 4
# So that the run's other draws are not these.
_SEED = 7919


class Numbers(NamedTuple):
  """Which continuations a run judges by, and which it learns from."""

  judged: range
  learned: range


def number_pieces(seconds: float, *, judge: bool, rehearse: bool) -> Numbers:
  """How many continuations a run needs.

  A continuation is the same whatever else is needed, so that figures of runs
  with and without rehearsal compare.

  Args:
    seconds: Of all; 0: none.
    judge: Whether it is told by them what was forgotten.
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


def sample_own(
  model: Depthformer,
  codec: Codec,
  folder: Path,
  numbers: Iterable[int],
  *,
  seed: int = 0,
  on_piece: Callable[[int, int], None] = lambda done, total: None,
  should_stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Samples what is not in the folder yet; each file is whole or not there.

  Args:
    model: In evaluation mode.
    codec: The model's.
    folder: Of MIDI files by number, to be listened to.
    numbers: Which; each is a function of seed and number alone.
    seed: Of all draws.
    on_piece: Called with (pieces done, pieces in all).
    should_stop: Asked before each.

  Returns:
    Whether all are there.

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
        seed=(seed + _SEED) * 10_007 + number,
      )
      chunks.append(chunk)
    write_score(join_chunks(codec, chunks), _path(folder, number))
  on_piece(len(numbers), len(numbers))
  return True


def read_own(folder: Path, numbers: Iterable[int]) -> Corpus:
  """The continuations that were sampled; those without notes are left out."""
  pieces: list[tuple[str, np.ndarray]] = []
  for number in numbers:
    score = _read(folder, number)
    if score is not None and len(score):
      pieces.append((_path(folder, number).name, pack_piece(score)))
  return join_pieces(pieces)


def _path(folder: Path, number: int) -> Path:
  return folder / f"{number:03d}.mid"


def _read(folder: Path, number: int) -> Score | None:
  """A continuation; None: it is not there, or damaged."""
  path = _path(folder, number)
  try:
    return read_score(path) if path.is_file() else None
  except MidiFileError:
    return None
