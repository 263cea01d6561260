"""Pieces as flat arrays of events: what training crops its examples from.

A piece is a run of events sorted by time; a corpus is its pieces end to end.
Augmentation changes times and keys, so the arrays hold milliseconds and keys,
not tokens.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from magenta_midi.midi.outline import Outline
from magenta_midi.midi.score import PEDAL_DTYPE, Score
from magenta_midi.tokens.note.codec import PEDAL_DOWN, PEDAL_UP
from magenta_midi.typing import Float, Int, Shaped

__all__ = [
  "EVENT_DTYPE",
  "Corpus",
  "join_corpora",
  "join_pieces",
  "pack_piece",
  "pack_scores",
  "packed_times",
  "unpack_piece",
]

EVENT_DTYPE = np.dtype(
  [
    ("time_ms", "i4"),  # onset, from the start of the piece
    ("duration_ms", "i4"),  # 0 for pedal events
    ("key", "i2"),  # 0-127, PEDAL_DOWN or PEDAL_UP
    ("velocity", "i2"),  # 1-127, 0 for pedal events
    ("pedal_before", "?"),  # sustain pedal just before the event
    ("melody", "?"),  # a note of the track named melody
    ("upper", "?"),  # a note of the upper hand
  ]
)

# A listener waits no longer than this: longer silences teach only waiting.
MAX_SILENCE_MS = 3000

# Notes around each that the split between the hands follows.
_HANDS_NOTES = 25


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Pieces end to end.

  Attributes:
    events: All events, `EVENT_DTYPE`.
    offsets: Piece `i` is `events[offsets[i]:offsets[i + 1]]`.
    names: One name a piece, for lists and errors.
    outlines: Beats and chords of each piece, on the clock of its events, None
      where they are not known; (): of none.
  """

  events: Shaped[np.ndarray, " n"]
  offsets: Int[np.ndarray, " pieces_plus_one"]
  names: tuple[str, ...]
  outlines: tuple[Outline | None, ...] = ()

  def __len__(self) -> int:
    """Number of pieces."""
    return len(self.names)

  def piece(self, index: int) -> np.ndarray:
    """The events of one piece."""
    return self.events[self.offsets[index] : self.offsets[index + 1]]

  def outline(self, index: int) -> Outline | None:
    """Beats and chords of one piece; None: they are not known."""
    return self.outlines[index] if self.outlines else None

  @property
  def lengths_ms(self) -> np.ndarray:
    """Time of each piece's last onset, ms."""
    return self.events["time_ms"][self.offsets[1:] - 1].astype(np.int64)

  @functools.cached_property
  def has_melody(self) -> np.ndarray:
    """Mask of the pieces with a track named melody and another track."""
    starts = self.offsets[:-1]
    melody = self.events["melody"]
    others = ~melody & (self.events["key"] < PEDAL_DOWN)
    if not len(starts):
      return np.zeros(0, bool)
    return np.logical_or.reduceat(melody, starts) & np.logical_or.reduceat(
      others, starts
    )

  @property
  def notes(self) -> int:
    """Number of notes, pedal events not counted."""
    return int(np.count_nonzero(self.events["key"] < PEDAL_DOWN))


def pack_piece(score: Score) -> Shaped[np.ndarray, " n"]:
  """One piece as events, its parts merged, long silences shortened to 3 s."""
  melody = _melody_notes(score)
  score = score.merged()
  notes, pedals = score.notes, score.pedals
  events = np.zeros(len(notes) + len(pedals), EVENT_DTYPE)
  head, tail = events[: len(pedals)], events[len(pedals) :]
  head["time_ms"] = np.round(pedals["time_s"] * 1000)
  head["key"] = np.where(pedals["down"], PEDAL_DOWN, PEDAL_UP)
  tail["time_ms"] = np.round(notes["onset_s"] * 1000)
  tail["duration_ms"] = np.maximum(1, np.round(notes["duration_s"] * 1000))
  tail["key"] = notes["key"]
  tail["velocity"] = notes["velocity"]
  tail["melody"] = np.isin(_places(notes), melody)
  tail["upper"] = _upper_hand(notes["key"])
  # Stable: pedal events of one instant keep their order and precede notes.
  rank = np.where(events["key"] < PEDAL_DOWN, 1 + events["key"], 0)
  events = events[np.lexsort((rank, events["time_ms"]))]

  is_pedal = events["key"] >= PEDAL_DOWN
  change = np.where(is_pedal, np.where(events["key"] == PEDAL_DOWN, 1, -1), 0)
  events["pedal_before"] = (np.cumsum(change) - change) > 0

  if len(events):
    time = events["time_ms"].astype(np.int64)
    events["time_ms"] = time - _left_out(time, events["duration_ms"])
  return events


def _left_out(
  time_ms: Int[np.ndarray, " n"], duration_ms: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """What is taken off the time of each event of a piece, in order, ms."""
  sounding_until = np.maximum.accumulate(time_ms + duration_ms)
  silence = time_ms[1:] - sounding_until[:-1]
  cut = np.cumsum(np.maximum(0, silence - MAX_SILENCE_MS))
  return time_ms[0] + np.concatenate([[0], cut])


def packed_times(
  score: Score, time_s: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """Moments of a score on the clock of its packed piece, ms.

  Inside a silence that was shortened, several moments may be out of order.

  Args:
    score: Has at least one note.
    time_s: On the score's clock.
  """
  score = score.merged()
  notes, pedals = score.notes, score.pedals
  time = np.round(np.append(pedals["time_s"], notes["onset_s"]) * 1000)
  length = np.maximum(1, np.round(notes["duration_s"] * 1000))
  length = np.append(np.zeros(len(pedals)), length).astype(np.int64)
  order = np.argsort(time, kind="stable")
  time = time[order].astype(np.int64)
  left_out = _left_out(time, length[order])
  ms = time_s * 1000
  last = np.searchsorted(time, ms, side="right") - 1
  return ms - left_out[np.maximum(last, 0)]


def _places(notes: np.ndarray) -> np.ndarray:
  """One number for each onset and key."""
  return np.round(notes["onset_s"] * 1e9).astype(np.int64) * 128 + notes["key"]


def _melody_notes(score: Score) -> np.ndarray:
  """Mask of the notes of the tracks named melody."""
  named = [
    part
    for part, name in enumerate(score.part_names)
    if "melody" in name.casefold()
  ]
  return _places(score.notes[np.isin(score.notes["part"], named)])


def _upper_hand(key: Int[np.ndarray, " n"]) -> np.ndarray:
  """Mask of the upper hand's notes: a split that follows the music.

  The hands are parted at the widest gap in the middle half of the keys around
  each note; the median of such splits keeps single notes from changing it.
  """
  width = min(_HANDS_NOTES, len(key))
  if width < 2:
    return key >= 60
  before = (width - 1) // 2
  pad = (before, width - 1 - before)

  def around(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, pad, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width)

  keys = np.sort(around(key.astype(np.int16)), axis=1)
  low = (width - 1) // 4
  middle = keys[:, low : width - low]
  widest = np.argmax(np.diff(middle, axis=1), axis=1)[:, None]
  # Twice the split, so that it lies between keys.
  split = np.take_along_axis(middle, widest, 1) + np.take_along_axis(
    middle, widest + 1, 1
  )
  return 2 * key.astype(np.int16) >= np.median(around(split[:, 0]), axis=1)


def pack_scores(scores: Iterable[tuple[str, Score]]) -> Corpus:
  """Packs named scores; those without notes are left out."""
  return join_pieces(
    (name, pack_piece(score)) for name, score in scores if len(score)
  )


def join_pieces(
  pieces: Iterable[tuple[str, np.ndarray]],
  outlines: Sequence[Outline | None] = (),
) -> Corpus:
  """A corpus of named pieces, in memory.

  Args:
    pieces: Names and events.
    outlines: As for `Corpus`.
  """
  pieces = list(pieces)
  events = [piece for _, piece in pieces]
  return Corpus(
    np.concatenate(events) if events else np.zeros(0, EVENT_DTYPE),
    np.cumsum([0] + [len(piece) for piece in events]),
    tuple(name for name, _ in pieces),
    tuple(outlines) if any(outline is not None for outline in outlines) else (),
  )


def join_corpora(corpora: Sequence[Corpus]) -> Corpus | None:
  """All pieces in one corpus, in memory if not from one; None without any."""
  if len(corpora) < 2:
    return corpora[0] if corpora else None
  return join_pieces(
    (
      (name, corpus.piece(index))
      for corpus in corpora
      for index, name in enumerate(corpus.names)
    ),
    [
      corpus.outline(index)
      for corpus in corpora
      for index in range(len(corpus))
    ],
  )


def unpack_piece(events: Shaped[np.ndarray, " n"]) -> Score:
  """The score of a packed piece: the inverse of `pack_piece`."""
  is_pedal = events["key"] >= PEDAL_DOWN
  notes = events[~is_pedal]
  pedals = np.zeros(np.count_nonzero(is_pedal), PEDAL_DTYPE)
  pedals["time_s"] = events["time_ms"][is_pedal] / 1000
  pedals["down"] = events["key"][is_pedal] == PEDAL_DOWN
  return Score.from_arrays(
    onset_s=notes["time_ms"] / 1000,
    duration_s=notes["duration_ms"] / 1000,
    key=notes["key"],
    velocity=notes["velocity"],
    pedal=pedals,
  )
