"""Continuations of held-out music, beside the real ones.

Only the playing may differ. So real music is processed as generated music is:
silences shortened as for training, then through the codec, onto its grid of
onsets, velocities and durations.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from magenta_midi.data.corpus import read_corpus
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.generate.generator import CONTEXT_S, Generator, join_chunks
from magenta_midi.generate.priors import Priors
from magenta_midi.generate.sampling import Sampling
from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import Codec

__all__ = [
  "Passage",
  "Piece",
  "Take",
  "choose_passages",
  "passage_at",
  "play",
  "read_pieces",
]

# Kept before the 10 s that the model hears: the longest note of the codec, so
# that what still sounds there is known.
BEFORE_S = 10.0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
  """A held-out piece on the codec's grid.

  Attributes:
    corpus: Name of its folder.
    name: Its path in the folder.
    score: One part; silences over 3 s are shortened.
  """

  corpus: str
  name: str
  score: Score


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Passage:
  """A place in a piece from which to play on.

  Attributes:
    piece: Index of the piece in the list it was chosen from.
    title: Corpus and name of the piece, for lists.
    at_s: The place, in seconds since the start of the piece.
    seconds: How long to play on.
    history: What was played before; nothing begins at `now_s` or later.
    now_s: The place, in the time of `history`.
    real: How the piece goes on for `seconds`; time 0 is the place.
  """

  piece: int
  title: str
  at_s: float
  seconds: float
  history: Score
  now_s: float
  real: Score

  @property
  def context(self) -> Score:
    """The 10 s before the place; time 0 is their start."""
    return self.history.crop(self.now_s - CONTEXT_S)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Take:
  """One continuation of a passage.

  Attributes:
    passage: What was continued.
    music: The continuation; time 0 is the place.
    chunks: Chunks it was made of.
    redraws: How often one was drawn again, as `Chunk.redraws` says.
    capped: Chunks that ran out of frames.
  """

  passage: Passage
  music: Score
  chunks: int
  redraws: int
  capped: int


def read_pieces(
  folder: Path,
  split: str,
  codec: Codec,
  *,
  on_file: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Piece], list[tuple[Path, str]]]:
  """Reads one split of a folder of MIDI files.

  Args:
    folder: As for `read_corpus`; a list beside it tells the splits.
    split: Which of them, such as `test`.
    codec: Whose grid the pieces are put on.
    on_file: Called with (files done, files in all).

  Returns:
    The pieces, and the files that could not be read, each with its reason.

  Raises:
    ValueError: The folder is missing, or nothing in it is of this split.
  """
  corpora, bad = read_corpus(folder, (split,), on_file=on_file)
  corpus = corpora[split]
  if not len(corpus):
    raise ValueError(
      f"{folder}: no piece in the split {split!r}. Give another split, or a"
      f" list {folder.name}.csv beside the folder (columns path and split)."
    )
  pieces = []
  for index, name in enumerate(corpus.names):
    score = codec.decode(codec.encode(unpack_piece(corpus.piece(index))))
    pieces.append(Piece(corpus=folder.name, name=name, score=score))
  return pieces, bad


def choose_passages(
  pieces: Sequence[Piece],
  count: int,
  seconds: float,
  *,
  codec: Codec,
  seed: int = 0,
) -> list[Passage]:
  """Chooses places that have 10 s before them and `seconds` after them.

  Corpora take turns, and none of their pieces comes again before all have
  come; the place in a piece is uniform on the grid. At least one note begins
  in the 10 s, and one after the end.

  Args:
    pieces: To choose from.
    count: How many passages.
    seconds: Length of the continuations.
    codec: Gives the grid.
    seed: The same seed gives the same passages.

  Raises:
    ValueError: No piece is long enough.
  """
  rng = np.random.default_rng([seed, round(seconds * 1000)])
  places = [_places(piece.score, seconds, codec) for piece in pieces]
  by_corpus: dict[str, list[int]] = {}
  for index, piece in enumerate(pieces):
    if len(places[index]):
      by_corpus.setdefault(piece.corpus, []).append(index)
  if not by_corpus:
    raise ValueError(
      f"no piece lasts {CONTEXT_S + seconds:g} s. Give longer pieces, or ask"
      " for shorter continuations."
    )
  chosen: list[int] = []
  while len(chosen) < count:
    shuffled = [rng.permutation(group) for group in by_corpus.values()]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*shuffled))
    chosen.extend(int(index) for index in turns if index is not None)
  return [
    passage_at(
      pieces[index].score,
      int(rng.choice(places[index])),
      seconds,
      codec=codec,
      piece=index,
      title=f"{pieces[index].corpus}/{pieces[index].name}",
    )
    for index in chosen[:count]
  ]


def play(
  generator: Generator,
  passages: Sequence[Passage],
  *,
  seed: int = 0,
  sampling: Sampling | None = None,
  priors_of: Callable[[Passage], Priors | None] = lambda passage: None,
  on_chunk: Callable[[], None] = lambda: None,
) -> list[Take]:
  """Continues every passage.

  Args:
    generator: Model and codec.
    passages: From `choose_passages`.
    seed: The same seed gives the same music.
    sampling: How codes are drawn.
    priors_of: What is wanted of it, in the time of a passage's history.
    on_chunk: Called after every chunk.
  """
  takes = []
  for index, passage in enumerate(passages):
    state = generator.init_state(passage.history)
    state = generator.at(state, passage.now_s)
    chunks, priors = [], priors_of(passage)
    while sum(chunk.seconds for chunk in chunks) < passage.seconds:
      chunk, state = generator.generate_chunk(
        # Passages of one run share no random numbers.
        state,
        seed=(seed * 10_007 + index) % 2**32,
        sampling=sampling,
        priors=priors,
      )
      chunks.append(chunk)
      on_chunk()
    music = join_chunks(generator.codec, chunks)
    takes.append(
      Take(
        passage=passage,
        music=music.crop(0.0, passage.seconds),
        chunks=len(chunks),
        redraws=sum(chunk.redraws for chunk in chunks),
        capped=sum(chunk.capped for chunk in chunks),
      )
    )
  return takes


def _places(score: Score, seconds: float, codec: Codec) -> np.ndarray:
  """The steps of a piece from which to play on."""
  config = codec.config
  if not len(score):
    return np.empty(0, np.int64)
  onset = config.time_to_step(np.ascontiguousarray(score.notes["onset_s"]))
  before = round(CONTEXT_S * config.steps_per_s)
  after = round(seconds * config.steps_per_s)
  steps = np.arange(before, int(onset[-1]) - after + 1)
  first, last = np.searchsorted(onset, (steps - before, steps))
  return steps[last > first]


def passage_at(
  score: Score,
  step: int,
  seconds: float,
  *,
  codec: Codec,
  piece: int,
  title: str,
) -> Passage:
  """The passage that begins at a step of a piece.

  Args:
    score: The piece, on the codec's grid.
    step: The place.
    seconds: How long to play on.
    codec: Gives the grid.
    piece: Index of the piece in the caller's list.
    title: What lists call it.
  """
  # The floats that decoding gives these steps: borders are exact.
  length = round(seconds * codec.config.steps_per_s)
  at_s, end_s = codec.config.step_to_time_s(
    np.array([step, step + length], np.int32)
  ).tolist()
  start_s = max(0.0, at_s - CONTEXT_S - BEFORE_S)
  return Passage(
    piece=piece,
    title=title,
    at_s=at_s,
    seconds=seconds,
    history=score.crop(start_s, at_s),
    now_s=at_s - start_s,
    real=score.crop(at_s, end_s),
  )
