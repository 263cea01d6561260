"""A player's takes: read, cut at silences, and split by title.

Of a duet with the model only the player's part is kept. What a player records
in one go and lets run on is many pieces: a long silence parts them, so that no
piece is the context of another.
"""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus, midi_files
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.data.saved_sessions import SavedSession, saved_session
from magenta_midi.data.splits import music_hash
from magenta_midi.data.titles import title_of, title_words
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import MidiFileError, read_score
from magenta_midi.typing import Shaped

__all__ = [
  "HELD_OUT_SHARE",
  "Split",
  "Take",
  "corpus_digest",
  "cut_at_silences",
  "join_split",
  "read_takes",
  "split_takes",
  "takes_corpus",
  "takes_of_scores",
]

# A silence that ends a piece, s. Shorter ones are part of the music, and
# `pack_piece` keeps 3 s of them.
SILENCE_S = 8.0
# Less of a take is not used: its context is most of it. Seconds and notes.
MIN_S, MIN_NOTES = 10.0, 20
# Less than this in all teaches nothing of a player, s.
MIN_TOTAL_S = 30.0
# Of the titles, held out; and of the time where there are fewer than three.
HELD_OUT_SHARE = 0.2
# What the parts are called that a model has played, in recorded duets and in
# what `generate` writes.
MODEL_PARTS = ("ai", "magenta_midi")


class Take(NamedTuple):
  """One recording.

  Attributes:
    name: For lists and errors.
    title: What is played; takes of one title are on one side of the split.
    pieces: `EVENT_DTYPE` each, cut at long silences.
    weight: How often it is learned from, against one that is not rated.
    damage: What of its file could not be read, in words; "": nothing.
  """

  name: str
  title: str
  pieces: tuple[np.ndarray, ...]
  weight: float = 1.0
  damage: str = ""

  @property
  def seconds(self) -> float:
    """Of music, silences shortened."""
    return sum(float(piece["time_ms"][-1]) for piece in self.pieces) / 1000


@dataclasses.dataclass(frozen=True)
class Split:
  """What to learn from, and what to judge by."""

  train: Corpus
  held_out: Corpus
  # Of these; the same title is never in both, unless `by_time`.
  train_titles: tuple[str, ...]
  held_out_titles: tuple[str, ...]
  # Whether the end of each take is held out, as there are too few.
  by_time: bool
  # How often each piece of `train` is learned from, against the others; ():
  # each as often.
  weights: tuple[float, ...] = ()

  @property
  def digest(self) -> str:
    """A name of all that is in it, in hexadecimal digits."""
    digest = hashlib.sha256()
    for corpus in (self.train, self.held_out):
      digest.update(corpus_digest(corpus).encode())
    if any(weight != 1 for weight in self.weights):
      digest.update(repr(self.weights).encode())
    return digest.hexdigest()


def corpus_digest(corpus: Corpus) -> str:
  """A name of the music of a corpus, in hexadecimal digits."""
  digest = hashlib.sha256(music_hash(corpus.events).encode())
  digest.update(np.asarray(corpus.offsets, np.int64).tobytes())
  return digest.hexdigest()


def read_takes(
  paths: Sequence[Path],
) -> tuple[list[Take], list[tuple[str, str]]]:
  """Reads files and folders of takes.

  Args:
    paths: MIDI files, or folders with such at any depth. Of a saved session,
      its title and rating are read too.

  Returns:
    The takes, and what was left out, each with its reason.

  Raises:
    ValueError: A path is missing.
  """
  found, refused = [], []
  for path in paths:
    if not path.exists():
      raise ValueError(f"{path}: no such file or folder. Give MIDI files.")
    files = midi_files(path)
    if not files:
      refused.append((str(path), "holds no MIDI file"))
    for file in files:
      name = str(file) if file == path else os.path.relpath(file, path)
      try:
        found.append((name, read_score(file), saved_session(file)))
      except MidiFileError as error:
        refused.append((name, str(error).removeprefix(f"{file}: ")))
  takes, short = _takes(found)
  return takes, refused + short


def takes_of_scores(
  scores: Iterable[tuple[str, Score]],
) -> tuple[list[Take], list[tuple[str, str]]]:
  """Takes of named scores; what is too short, or there twice, is left out."""
  return _takes((name, score, None) for name, score in scores)


def _takes(
  found: Iterable[tuple[str, Score, SavedSession | None]],
) -> tuple[list[Take], list[tuple[str, str]]]:
  takes, refused, seen = [], [], {}
  for name, score, session in found:
    own = _players_part(score)
    pieces = tuple(
      piece
      for part in cut_at_silences(own)
      if len(piece := pack_piece(part)) >= MIN_NOTES
    )
    damage = "; ".join(score.repairs.damage())
    take = Take(name, title_of(name), pieces, damage=damage)
    if session is not None:
      take = take._replace(title=session.title, weight=session.weight)
    reason = _reason(score, own, take)
    if session is not None and not session.weight:
      reason = f"rated {session.rating} of 5"
    if reason is None:
      digest = _music(take)
      if digest in seen:
        reason = f"the same music as {seen[digest]}"
      seen.setdefault(digest, name)
    if reason is None:
      takes.append(take)
    else:
      refused.append((name, reason))
  return takes, refused


def _players_part(score: Score) -> Score:
  """Without what a model has played in a recorded duet."""
  own = [
    part
    for part, name in enumerate(score.part_names)
    if name.casefold() not in MODEL_PARTS
  ]
  return score.select(own) if len(own) < score.parts else score


def _reason(score: Score, own: Score, take: Take) -> str | None:
  """Why a take cannot be used; None: it can."""
  if len(score) and not len(own):
    return "holds nothing but what a model played"
  if not len(own):
    repairs = "; ".join(score.repairs.messages())
    return "holds no notes" + (f" ({repairs})" if repairs else "")
  if not take.pieces or take.seconds < MIN_S:
    return (
      f"{own.notes['onset_s'][-1] - own.notes['onset_s'][0]:.1f} s and"
      f" {len(own)} notes of music, at least {MIN_S:g} s and {MIN_NOTES}"
      " notes are needed"
    )
  return None


def cut_at_silences(score: Score) -> list[Score]:
  """The music between silences of 8 s and more, each from its first note."""
  score = score.merged()
  notes = score.notes
  if not len(notes):
    return []
  sounding = np.maximum.accumulate(notes["onset_s"] + notes["duration_s"])
  gap = notes["onset_s"][1:] - sounding[:-1]
  starts = notes["onset_s"][np.flatnonzero(gap >= SILENCE_S) + 1].tolist()
  edges = [float(notes["onset_s"][0]), *starts, np.inf]
  return [score.crop(start, stop) for start, stop in itertools.pairwise(edges)]


def split_takes(
  takes: Sequence[Take], *, share: float = HELD_OUT_SHARE
) -> Split:
  """Splits takes into those to learn from and those to judge by.

  With three titles or more, whole titles are held out, at least one, chosen
  by their names alone; with fewer, the end of each take. Numbers of takes
  count as titles where there would be too few.

  Args:
    takes: From `read_takes`.
    share: Of the titles, or of the time.

  Raises:
    ValueError: There is too little music.
  """
  seconds = sum(take.seconds for take in takes)
  if not takes or seconds < MIN_TOTAL_S:
    raise ValueError(_too_little(takes))
  if not 0 < share < 1:
    raise ValueError(
      f"the held-out share must be between 0 and 1, got {share}."
    )
  if len({take.title for take in takes}) < 3 <= len(takes):
    # Numbers may be all that tells pieces apart.
    takes = [take._replace(title=title_words(take.name)) for take in takes]
  titles = sorted({take.title for take in takes}, key=_rank)
  if len(titles) < 3:
    return _split_by_time(takes, titles, share)
  count = min(max(1, round(share * len(titles))), len(titles) - 1)
  held = set(titles[:count])
  return Split(
    takes_corpus(take for take in takes if take.title not in held),
    takes_corpus(take for take in takes if take.title in held),
    tuple(sorted(set(titles) - held)),
    tuple(sorted(held)),
    False,
    _weights(take for take in takes if take.title not in held),
  )


def join_split(train: Sequence[Take], held_out: Sequence[Take]) -> Split:
  """A split that somebody else has made.

  Raises:
    ValueError: There is too little music, or the same on both sides.
  """
  if not held_out:
    raise ValueError("no usable takes to judge by. Give --held-out others.")
  seconds = sum(take.seconds for take in train)
  if not train or seconds < MIN_TOTAL_S:
    raise ValueError(_too_little(train))
  heard = {_music(take): take.name for take in train}
  for take in held_out:
    if _music(take) in heard:
      raise ValueError(
        f"{take.name} is held out, but {heard[_music(take)]} is the same"
        " music and would be learned from. Leave one out."
      )
  return Split(
    takes_corpus(train),
    takes_corpus(held_out),
    tuple(sorted({take.title for take in train})),
    tuple(sorted({take.title for take in held_out})),
    False,
    _weights(train),
  )


def _weights(takes: Iterable[Take]) -> tuple[float, ...]:
  """Of each piece of `takes_corpus`."""
  return tuple(take.weight for take in takes for _ in take.pieces)


def _too_little(takes: Sequence[Take]) -> str:
  seconds = sum(take.seconds for take in takes)
  return (
    f"no usable takes: {seconds:.0f} s of music in {len(takes)}, at least"
    f" {MIN_TOTAL_S:g} s are needed. Give more, or longer, MIDI files."
  )


def _music(take: Take) -> str:
  return music_hash(np.concatenate(take.pieces))


def _rank(title: str) -> str:
  """A place in an order that no new title changes."""
  return hashlib.sha256(title.encode("utf-8", "surrogateescape")).hexdigest()


def _split_by_time(
  takes: Sequence[Take], titles: Sequence[str], share: float
) -> Split:
  begin, end, weights = [], [], []
  for take in takes:
    cut_ms = (1 - share) * 1000 * take.seconds
    for place, piece in enumerate(take.pieces):
      name = take.name if len(take.pieces) == 1 else f"{take.name} {place + 1}"
      at = int(np.searchsorted(piece["time_ms"], cut_ms))
      if at:
        begin.append((name, piece[:at]))
        weights.append(take.weight)
      if at < len(piece):
        end.append((f"{name}, the end", _from_zero(piece[at:])))
      cut_ms -= float(piece["time_ms"][-1])
  return Split(
    join_pieces(begin),
    join_pieces(end),
    tuple(titles),
    tuple(titles),
    True,
    tuple(weights),
  )


def _from_zero(piece: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
  moved = piece.copy()
  moved["time_ms"] -= moved["time_ms"][0]
  return moved


def takes_corpus(takes: Iterable[Take]) -> Corpus:
  """All pieces of takes, numbered where a take has several."""
  return join_pieces(
    (
      take.name if len(take.pieces) == 1 else f"{take.name} {place}",
      piece,
    )
    for take in takes
    for place, piece in enumerate(take.pieces, 1)
  )
