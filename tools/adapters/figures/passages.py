"""Passages of a player's music: contexts to continue, phrases to reply to."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.data.corpus import midi_files
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.data.recordings import read_recordings, recordings_corpus
from magenta_midi.generate.generator import CONTEXT_S
from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import Codec
from tools.music.continuations import (
  Passage,
  passage_at,
)

__all__ = [
  "as_passages",
  "neutral_files",
  "read_pieces",
  "spread",
  "stretches",
]

# A second: how far apart places are looked for.
HOP_S = 1.0


def read_pieces(paths: Sequence[Path], codec: Codec) -> list[Score]:
  """Recordings as the model hears and plays them: silences cut, on the grid.

  Raises:
    UserError: None can be used.
  """
  recordings, _ = read_recordings(paths)
  if not recordings:
    raise UserError(
      f"{', '.join(map(str, paths[:3]))}: no recording can be used. Give a"
      " folder of MIDI files of 10 s and 20 notes or more."
    )
  corpus = recordings_corpus(recordings)
  return [
    codec.decode(codec.encode(unpack_piece(corpus.piece(index))))
    for index in range(len(corpus))
  ]


def neutral_files(folder: Path, players: Iterable[Path]) -> list[Path]:
  """Files of a folder that are nobody's: not of a player, nor named so.

  Raises:
    UserError: There are none.
  """
  players = list(players)
  names = [player.name.casefold() for player in players]
  known = {_digest(file) for player in players for file in midi_files(player)}
  found = [
    file
    for file in midi_files(folder)
    if _digest(file) not in known
    and not any(name in file.name.casefold() for name in names)
  ]
  if not found:
    raise UserError(f"{folder}: holds no music but the players'.")
  return found


def _digest(file: Path) -> bytes:
  return hashlib.sha256(file.read_bytes()).digest()


def spread(
  lengths_s: Sequence[float],
  span_s: float,
  count: int,
  fits: Callable[[int, float], bool] = lambda piece, start_s: True,
  *,
  hop_s: float = HOP_S,
) -> list[tuple[int, float]]:
  """Places evenly spread over pieces, as (piece, start in seconds).

  Args:
    lengths_s: Of each piece.
    span_s: What must follow a place within its piece.
    count: How many; fewer where there are not so many.
    fits: Whether a place can be used.
    hop_s: From each place that is looked at to the next, in a piece.
  """
  found = [
    (piece, start_s)
    for piece, length_s in enumerate(lengths_s)
    for start_s in np.arange(0.0, length_s - span_s, hop_s).tolist()
    if fits(piece, start_s)
  ]
  count = min(count, len(found))
  return [found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]


def as_passages(
  pieces: Sequence[Score],
  count: int,
  seconds: float,
  *,
  fits: Callable[[Score], bool],
  codec: Codec,
) -> list[Passage]:
  """Places with 10 s before them that fit, and `seconds` after them."""
  places = spread(
    [_last_s(piece) for piece in pieces],
    CONTEXT_S + seconds,
    count,
    lambda index, at_s: fits(pieces[index].crop(at_s, at_s + CONTEXT_S)),
  )
  return [
    passage_at(
      pieces[index],
      round((start_s + CONTEXT_S) * codec.config.steps_per_s),
      seconds,
      codec=codec,
      piece=index,
      title=str(index),
    )
    for index, start_s in places
  ]


def stretches(
  pieces: Sequence[Score], seconds: float, most: int
) -> list[tuple[int, Score]]:
  """Stretches that do not overlap, evenly spread, each with its piece."""
  return [
    (index, pieces[index].crop(at_s, at_s + seconds))
    for index, at_s in spread(
      [_last_s(piece) for piece in pieces], seconds, most, hop_s=seconds
    )
  ]


def _last_s(piece: Score) -> float:
  return float(piece.notes["onset_s"].max(initial=0.0))
