"""Recordings of a player: read, cut at silences, and split by title.

Of a duet with the model only the player's part is kept. A long silence divides
a recording into pieces, so that no piece is the context of another.
"""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magenta_midi.audio.audio_file import AUDIO_SUFFIXES, AudioFileError
from magenta_midi.data.corpus import Corpus, midi_files
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.data.splits import music_hash
from magenta_midi.data.titles import (
  SavedSession,
  saved_session,
  title_of,
  title_words,
)
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import MidiFileError, read_score
from magenta_midi.transcribe.installed_file import MissingModelError
from magenta_midi.transcribe.listener import unpaired_audio
from magenta_midi.transcribe.transcribe import Transcription
from magenta_midi.typing import Shaped

__all__ = [
  "HELD_OUT_SHARE",
  "Split",
  "Recording",
  "corpus_digest",
  "cut_at_silences",
  "join_split",
  "read_recordings",
  "split_recordings",
  "recordings_corpus",
  "recordings_of_scores",
]

# A silence that ends a piece, s. Shorter ones are part of the music, and
# `pack_piece` keeps 3 s of them.
SILENCE_S = 8.0
# Shorter recordings are not used: most of one would be context. Seconds, notes.
MIN_S, MIN_NOTES = 10.0, 20
# Least music that an adapter can learn from, s.
MIN_TOTAL_S = 30.0
# Share of the titles that is held out; with fewer than three titles, of the
# time.
HELD_OUT_SHARE = 0.2
# Names of parts that no player has played, in recorded duets and in files of
# `generate`.
MODEL_PARTS = ("ai", "magenta_midi", "comp")


class Recording(NamedTuple):
  """One recording.

  Attributes:
    name: For lists and errors.
    title: Title of the music; recordings of one title stay on one side of the
      split.
    pieces: `EVENT_DTYPE` each, cut at long silences.
    weight: How often it is trained on; a recording without rating has 1.
    damage: The part of its file that cannot be read, in words; "": none.
  """

  name: str
  title: str
  pieces: tuple[np.ndarray, ...]
  weight: float = 1.0
  damage: str = ""

  @property
  def seconds(self) -> float:
    """Length of the music, with shortened silences."""
    return sum(float(piece["time_ms"][-1]) for piece in self.pieces) / 1000


@dataclasses.dataclass(frozen=True)
class Split:
  """Music to train on, and music to evaluate on."""

  train: Corpus
  held_out: Corpus
  # Their titles. A title is never in both, unless `by_time`.
  train_titles: tuple[str, ...]
  held_out_titles: tuple[str, ...]
  # Whether the end of each recording is held out, as there are few titles.
  by_time: bool
  # How often each piece of `train` is trained on; (): all the same.
  weights: tuple[float, ...] = ()

  @property
  def digest(self) -> str:
    """SHA-256 of the music and its weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for corpus in (self.train, self.held_out):
      digest.update(corpus_digest(corpus).encode())
    if any(weight != 1 for weight in self.weights):
      digest.update(repr(self.weights).encode())
    return digest.hexdigest()


def corpus_digest(corpus: Corpus) -> str:
  """SHA-256 of the music of a corpus, in hexadecimal digits."""
  digest = hashlib.sha256(music_hash(corpus.events).encode())
  digest.update(np.asarray(corpus.offsets, np.int64).tobytes())
  return digest.hexdigest()


def read_recordings(
  paths: Sequence[Path],
  hear: Callable[[Path], Transcription] | None = None,
) -> tuple[list[Recording], list[tuple[str, str]]]:
  """Reads files and folders of recordings.

  Args:
    paths: MIDI files, or folders with MIDI files at any depth. Title and rating
      of a saved session are read too.
    hear: Transcribes an audio file. With it paths may be audio files, and those
      in folders count that have no MIDI file of their name beside.

  Returns:
    The recordings, and the names of files left out, each with its reason.

  Raises:
    ValueError: A path is missing.
  """
  found, refused = [], []
  damaged: dict[str, str] = {}
  for path in paths:
    if not path.exists():
      raise ValueError(f"{path}: no such file or folder. Give MIDI files.")
    files = midi_files(path)
    if hear is not None and path.is_dir():
      files = sorted([*files, *unpaired_audio(path)])
    if not files:
      refused.append((str(path), "holds no MIDI file"))
    for file in files:
      name = str(file) if file == path else os.path.relpath(file, path)
      try:
        if hear is not None and file.suffix.lower() in AUDIO_SUFFIXES:
          heard = hear(file)
          damaged[name] = heard.damage
          found.append((name, heard.score, None))
        else:
          found.append((name, read_score(file), saved_session(file)))
      except (MidiFileError, AudioFileError, MissingModelError) as error:
        refused.append((name, str(error).removeprefix(f"{file}: ")))
      except ModuleNotFoundError as error:
        # Of the transcriber; the MIDI files beside may do.
        refused.append((name, f"audio needs {error.name}, not installed"))
  recordings, short = _recordings(found)
  recordings = [
    recording._replace(damage=damaged.get(recording.name) or recording.damage)
    for recording in recordings
  ]
  return recordings, refused + short


def recordings_of_scores(
  scores: Iterable[tuple[str, Score]],
) -> tuple[list[Recording], list[tuple[str, str]]]:
  """Recordings of named scores; short ones and copies are left out."""
  return _recordings((name, score, None) for name, score in scores)


def _recordings(
  found: Iterable[tuple[str, Score, SavedSession | None]],
) -> tuple[list[Recording], list[tuple[str, str]]]:
  recordings, refused, seen = [], [], {}
  for name, score, session in found:
    player = _players_part(score)
    pieces = tuple(
      piece
      for part in cut_at_silences(player)
      if len(piece := pack_piece(part)) >= MIN_NOTES
    )
    damage = "; ".join(score.repairs.damage())
    recording = Recording(name, title_of(name), pieces, damage=damage)
    if session is not None:
      recording = recording._replace(title=session.title, weight=session.weight)
    reason = _reason(score, player, recording)
    if session is not None and not session.weight:
      reason = f"rated {session.rating} of 5"
    if reason is None:
      digest = _music(recording)
      if digest in seen:
        reason = f"the same music as {seen[digest]}"
      seen.setdefault(digest, name)
    if reason is None:
      recordings.append(recording)
    else:
      refused.append((name, reason))
  return recordings, refused


def _players_part(score: Score) -> Score:
  """The score without the parts that a model played."""
  player = [
    part
    for part, name in enumerate(score.part_names)
    if name.casefold() not in MODEL_PARTS
  ]
  return score.select(player) if len(player) < score.parts else score


def _reason(score: Score, player: Score, recording: Recording) -> str | None:
  """Why a recording cannot be used; None: it can."""
  if len(score) and not len(player):
    return "holds nothing but what a model played"
  if not len(player):
    repairs = "; ".join(score.repairs.messages())
    return "holds no notes" + (f" ({repairs})" if repairs else "")
  if not recording.pieces or recording.seconds < MIN_S:
    return (
      f"{player.notes['onset_s'][-1] - player.notes['onset_s'][0]:.1f} s and"
      f" {len(player)} notes of music, at least {MIN_S:g} s and {MIN_NOTES}"
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


def split_recordings(
  recordings: Sequence[Recording], *, share: float = HELD_OUT_SHARE
) -> Split:
  """Splits recordings into those to train on and those to evaluate on.

  With three titles or more, whole titles are held out: at least one, chosen by
  the names alone. With fewer titles, the end of each recording is held out.
  Numbers in names count as parts of titles if there are too few without them.

  Args:
    recordings: From `read_recordings`.
    share: Of the titles, or of the time.

  Raises:
    ValueError: There is too little music.
  """
  seconds = sum(recording.seconds for recording in recordings)
  if not recordings or seconds < MIN_TOTAL_S:
    raise ValueError(_too_little(recordings))
  if not 0 < share < 1:
    raise ValueError(
      f"the held-out share must be between 0 and 1, got {share}."
    )
  if len({recording.title for recording in recordings}) < 3 <= len(recordings):
    # The titles may differ only in their numbers.
    recordings = [
      recording._replace(title=title_words(recording.name))
      for recording in recordings
    ]
  titles = sorted({recording.title for recording in recordings}, key=_rank)
  if len(titles) < 3:
    return _split_by_time(recordings, titles, share)
  count = min(max(1, round(share * len(titles))), len(titles) - 1)
  held = set(titles[:count])
  return Split(
    recordings_corpus(
      recording for recording in recordings if recording.title not in held
    ),
    recordings_corpus(
      recording for recording in recordings if recording.title in held
    ),
    tuple(sorted(set(titles) - held)),
    tuple(sorted(held)),
    False,
    _weights(
      recording for recording in recordings if recording.title not in held
    ),
  )


def join_split(
  train: Sequence[Recording], held_out: Sequence[Recording]
) -> Split:
  """The split of recordings that are divided already.

  Raises:
    ValueError: There is too little music, or the same on both sides.
  """
  if not held_out:
    raise ValueError(
      "no usable recordings to evaluate on. Give --held-out others."
    )
  seconds = sum(recording.seconds for recording in train)
  if not train or seconds < MIN_TOTAL_S:
    raise ValueError(_too_little(train))
  trained = {_music(recording): recording.name for recording in train}
  for recording in held_out:
    if _music(recording) in trained:
      raise ValueError(
        f"{recording.name} is held out, but {trained[_music(recording)]} is the"
        " same music to train on. Leave one out."
      )
  return Split(
    recordings_corpus(train),
    recordings_corpus(held_out),
    tuple(sorted({recording.title for recording in train})),
    tuple(sorted({recording.title for recording in held_out})),
    False,
    _weights(train),
  )


def _weights(recordings: Iterable[Recording]) -> tuple[float, ...]:
  """Of each piece of `recordings_corpus`."""
  return tuple(
    recording.weight for recording in recordings for _ in recording.pieces
  )


def _too_little(recordings: Sequence[Recording]) -> str:
  seconds = sum(recording.seconds for recording in recordings)
  return (
    f"no usable recordings: {seconds:.0f} s of music in {len(recordings)}, at"
    f" least {MIN_TOTAL_S:g} s are needed. Give more, or longer, MIDI files."
  )


def _music(recording: Recording) -> str:
  return music_hash(np.concatenate(recording.pieces))


def _rank(title: str) -> str:
  """Sort key of a title, which other titles do not change."""
  return hashlib.sha256(title.encode("utf-8", "surrogateescape")).hexdigest()


def _split_by_time(
  recordings: Sequence[Recording], titles: Sequence[str], share: float
) -> Split:
  begin, end, weights = [], [], []
  for recording in recordings:
    cut_ms = (1 - share) * 1000 * recording.seconds
    for place, piece in enumerate(recording.pieces):
      name = (
        recording.name
        if len(recording.pieces) == 1
        else f"{recording.name} {place + 1}"
      )
      at = int(np.searchsorted(piece["time_ms"], cut_ms))
      if at:
        begin.append((name, piece[:at]))
        weights.append(recording.weight)
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


def recordings_corpus(recordings: Iterable[Recording]) -> Corpus:
  """All pieces of the recordings; several pieces of one are numbered."""
  return join_pieces(
    (
      recording.name
      if len(recording.pieces) == 1
      else f"{recording.name} {place}",
      piece,
    )
    for recording in recordings
    for place, piece in enumerate(recording.pieces, 1)
  )
