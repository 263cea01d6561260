"""Beats of a whole piece: the likeliest of all, by what comes before and after.

`beat_follower` does the same while music is played. Both use `beat_model`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from magenta_midi.midi.analysis.beat_model import (
  BEATS_PER_BAR,
  STEP_S,
  TRIPLETS,
  BeatModel,
  Strikes,
  beat_model,
  find_strikes,
  sureness,
)
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int

__all__ = ["Beats", "track_beats"]

# A strike so near to a beat is taken to be on it.
_ON_BEAT_S = 0.045
# Beats of which the last tempo is taken.
_TEMPO_BEATS = 8


class Beats(NamedTuple):
  """Beats of a piece.

  Attributes:
    time_s: Ascending, in seconds.
    place: In the bar; 0 is its first beat.
    confidence: 0 to 1: how clearly the notes have this pulse.
    triplets: Whether beats are divided into three rather than two and four.
  """

  time_s: Float[np.ndarray, " n"]
  place: Int[np.ndarray, " n"]
  confidence: float
  triplets: bool = False

  @property
  def bpm(self) -> float:
    """Tempo of the last beats, in beats a minute; nan of fewer than two."""
    last = self.time_s[-_TEMPO_BEATS:]
    if len(last) < 2:
      return math.nan
    slope = np.polyfit(np.arange(len(last)), last, 1)[0]
    return float(60 / slope)


def track_beats(score: Score) -> Beats:
  """Finds the beats of a piece from all its notes; bars have 4 beats.

  Takes about a second, and 4 MB, for 3 minutes of music.

  Args:
    score: All parts count, as if played on one piano.
  """
  notes = score.merged().notes
  strikes = find_strikes(notes["onset_s"].astype(float), notes["key"])
  if len(strikes.time_s) < 2:
    return Beats(np.empty(0), np.empty(0, np.int64), 0.0)
  model = beat_model()
  start_s = float(strikes.time_s[0]) - 2 * STEP_S
  path = _likeliest(model, strikes, start_s)
  time_s, place = _beats_of(model, path, start_s)
  sure = _sureness(model, path, strikes, start_s)
  feel = path[-1][0]
  return Beats(_refined(time_s, strikes), place, sure, feel == TRIPLETS)


def _likeliest(
  model: BeatModel, strikes: Strikes, start_s: float
) -> list[tuple[int, int, int]]:
  """Feel, beat of the bar and place at each step."""
  steps = int((strikes.time_s[-1] - start_s) / STEP_S) + 2
  with np.errstate(divide="ignore"):
    change = np.log(model.change)
  score = np.log(model.prior)
  feels = score.shape[0]
  came_from = np.empty(
    (steps, feels, BEATS_PER_BAR, len(model.period)), np.int8
  )
  heard = _by_step(strikes, start_s)
  for step in range(steps):
    ended = score[..., model.last, None] + change
    came_from[step] = ended.argmax(axis=2)
    begun = ended.max(axis=2)
    score = np.roll(score, 1, axis=2)
    # The beat after the last of a bar is the first of the next.
    score[..., model.first] = np.roll(begun, 1, axis=1)
    score += model.quiet
    for kind, late_s in heard.get(step, ()):
      score += model.struck(kind, late_s)
  feel, beat, place = map(int, np.unravel_index(score.argmax(), score.shape))
  path = []
  for step in reversed(range(steps)):
    path.append((feel, beat, place))
    tempo = int(np.searchsorted(model.last, place))
    if place == model.first[tempo]:
      beat = (beat - 1) % BEATS_PER_BAR
      # Stored by the beat that begins.
      before = came_from[step, feel, beat, tempo]
      place = int(model.last[before])
    else:
      place -= 1
  return path[::-1]


def _by_step(
  strikes: Strikes, start_s: float
) -> dict[int, list[tuple[int, float]]]:
  """Step -> kinds of the strikes in it, and how late they are, s."""
  heard: dict[int, list[tuple[int, float]]] = {}
  for time_s, kind in zip(*(x.tolist() for x in strikes), strict=True):
    step = int((time_s - start_s) / STEP_S)
    late_s = time_s - start_s - step * STEP_S
    heard.setdefault(step, []).append((kind, late_s))
  return heard


def _beats_of(
  model: BeatModel, path: list[tuple[int, int, int]], start_s: float
) -> tuple[np.ndarray, np.ndarray]:
  """Times and places of the beats on a path."""
  first = set(model.first.tolist())
  found = [
    (start_s + step * STEP_S, beat)
    for step, (_, beat, place) in enumerate(path)
    if place in first
  ]
  return np.array([t for t, _ in found]), np.array(
    [b for _, b in found], np.int64
  )


def _sureness(
  model: BeatModel,
  path: list[tuple[int, int, int]],
  strikes: Strikes,
  start_s: float,
) -> float:
  gains = [
    model.clear(kind, late_s)[path[step]]
    for step, heard in _by_step(strikes, start_s).items()
    for kind, late_s in heard
  ]
  return sureness(float(np.mean(gains)))


def _refined(time_s: np.ndarray, strikes: Strikes) -> np.ndarray:
  """Beats at the strikes that are on them, where there are any."""
  if not len(time_s):
    return time_s
  right = np.clip(np.searchsorted(strikes.time_s, time_s), 1, None)
  right = np.minimum(right, len(strikes.time_s) - 1)
  left = right - 1
  nearer = np.where(
    time_s - strikes.time_s[left] < strikes.time_s[right] - time_s, left, right
  )
  near_s = strikes.time_s[nearer]
  moved = np.where(np.abs(near_s - time_s) < _ON_BEAT_S, near_s, time_s)
  # Beats are 0.3 s apart at least, so no two of them share a strike.
  return moved
