"""Measures of time in music: pulse, swing, syncopation.

None of them knows bars: all are taken from when notes begin.
"""

from __future__ import annotations

import math

import numpy as np

from magenta_midi.midi.analysis.onsets import (
  Onsets,
  find_onsets,
  melody_and_below,
)
from magenta_midi.midi.score import Score
from magenta_midi.typing import Int

__all__ = ["swing_ratio", "syncopation", "tempo_bpm"]

# Pairs of notes this long, together, may be a swung beat.
_PAIR_S = (0.18, 1.6)
_LOG_PAIR, _PAIR_BINS = -3, 20  # octaves of a second; bins to the octave
_SAME_PAIR = 0.15  # relative difference of pairs in one tempo
_FEWEST_PAIRS = 6
_MIN_PAIRS = 0.15  # of all
# Greatest deviation, in beats, of notes that have a ratio at all.
_PAIR_SPREAD = 0.09

# Pulse periods; the one favoured and how sharply, in octaves: after Parncutt
# 1994, Music Perception 11, 409-464.
_PERIOD_S = (0.25, 1.5)
_FAVOURITE_S = 0.6
_FAVOUR_OCTAVES = 1.2
# Autocorrelation: its steps, a timing error's width, and the longest lag.
_BIN_S = 0.01
_BLUR = np.exp(-0.5 * (np.arange(-6, 7) / 2.5) ** 2)
_LAG_S = 3.2
_BINS = round(_LAG_S / _BIN_S) + 1
_REACH = 24  # chords
# A pulse is felt where its double is, too, or its half.
_DOUBLE, _HALF = 0.7, 0.5
_PERIODS = np.arange(round(_PERIOD_S[0] / _BIN_S), round(_PERIOD_S[1] / _BIN_S))
_FAVOUR = np.exp(
  -0.5 * (np.log2(_PERIODS * _BIN_S / _FAVOURITE_S) / _FAVOUR_OCTAVES) ** 2
)

_BASS = 2.0  # what a chord below the mean counts to one above: it is the beat
_STEADY_S = 2.5  # before and after, for which a pulse is taken as steady
_CLEAR = 0.2  # of the accents, for one half of the beat to be the beat
# Beats from the beat. Of parts of it more: triplets are 1/3 off.
_OFF_BEAT = 0.17
_OFF_PART = 0.38
_MIN_DURATION_S = 0.2  # of parts to be syncopated against


def tempo_bpm(score: Score) -> float:
  """Beats a minute of the likeliest pulse, 40 to 240; nan for none.

  Half and double are as right: which one is the beat is a matter of taste.
  """
  return pulse_bpm(find_onsets(score))


def swing_ratio(score: Score) -> float:
  """How long the first note of a pair is to the second.

  1 is straight, 2 is triplet swing, 3 is dotted. The longer one is taken to
  be the first. nan where the notes do not go in pairs.
  """
  return pair_ratio(find_onsets(score))


def syncopation(score: Score) -> float:
  """Share of melody notes that begin off the beat and sound over it, 0..1.

  0 too where there is no pulse.
  """
  score = score.merged()
  onsets = find_onsets(score)
  melody, _ = melody_and_below(score.notes, onsets)
  return off_beat_share(onsets, melody, pulse_bpm(onsets))


def pulse_bpm(onsets: Onsets) -> float:
  """See `tempo_bpm`."""
  time_s = onsets.time_s
  if len(time_s) < 2:
    return math.nan
  # How strongly notes are so and so far apart.
  accent = _accents(onsets)
  reach = min(_REACH, len(time_s) - 1)
  later = np.arange(len(time_s))[:, None] + np.arange(1, reach + 1)
  inside = later < len(time_s)
  np.minimum(later, len(time_s) - 1, out=later)
  lag_s = time_s[later] - time_s[:, None]
  inside &= lag_s < _LAG_S
  lags = np.bincount(
    np.rint(lag_s[inside] / _BIN_S).astype(np.int64),
    (accent[later] * accent[:, None])[inside],
    _BINS,
  )
  lags = np.convolve(lags, _BLUR, "same")
  heard = _FAVOUR * (
    lags[_PERIODS]
    + _DOUBLE * lags[2 * _PERIODS]
    + _HALF * lags[np.rint(_PERIODS / 2).astype(np.int64)]
  )
  best = int(heard.argmax())
  if heard[best] <= 0:
    return math.nan
  period = float(_PERIODS[best])
  if 0 < best < len(heard) - 1:
    # The top of the parabola through the three.
    left, top, right = heard[best - 1 : best + 2]
    bend = left - 2 * top + right
    period += 0.5 * float((left - right) / bend) if bend < 0 else 0.0
  return 60 / (period * _BIN_S)


def pair_ratio(onsets: Onsets) -> float:
  """See `swing_ratio`."""
  ioi_s = np.diff(onsets.time_s)
  if len(ioi_s) < 2:
    return math.nan
  pair_s = ioi_s[1:] + ioi_s[:-1]
  log_pair = np.log2(pair_s[(pair_s > _PAIR_S[0]) & (pair_s < _PAIR_S[1])])
  if len(log_pair) < _FEWEST_PAIRS:
    return math.nan
  # The commonest length of a pair: the one most others are like.
  number = np.floor((log_pair - _LOG_PAIR) * _PAIR_BINS).astype(np.int64)
  count = np.convolve(np.bincount(number), np.ones(3), "same")
  commonest_s = 2.0 ** ((count.argmax() + 0.5) / _PAIR_BINS + _LOG_PAIR)
  # If many notes are left out, 3/2 of a beat, or between them 4/3 of it, may
  # be more frequent than the beat.
  tried = [
    _ratio_of_pairs(ioi_s, pair_s, commonest_s * share)
    for share in (1.0, 2 / 3, 3 / 4)
  ]
  pairs, ratio = max(tried, key=lambda result: result[0])
  return ratio if pairs else math.nan


def _accents(onsets: Onsets) -> np.ndarray:
  """Accents of chords: loudness, number of notes, low notes."""
  loud = onsets.velocity / onsets.velocity.mean() * np.sqrt(onsets.notes)
  return np.where(onsets.lowest < onsets.lowest.mean(), _BASS * loud, loud)


def _ratio_of_pairs(
  ioi_s: np.ndarray, pair_s: np.ndarray, beat_s: float
) -> tuple[int, float]:
  """How many pairs fill such a beat, and their ratio; 0 if not alike."""
  like = np.abs(pair_s / beat_s - 1) < _SAME_PAIR
  pairs = int(np.count_nonzero(like))
  if pairs < max(_FEWEST_PAIRS, _MIN_PAIRS * len(pair_s)):
    return 0, math.nan
  # Where the middle note lies: before or after the half by turns, as pairs
  # begin on the beat and off it by turns; so count half beats. What is in a
  # pair is one of its halves, however uneven.
  half = np.maximum(np.rint(2 * ioi_s / beat_s), 1)
  half[:-1][like] = 1
  half[1:][like] = 1
  parity = np.append(0, np.cumsum(half))[:-2][like] % 2
  signed = (ioi_s[:-1] / pair_s - 0.5)[like] * (1 - 2 * parity)
  # Neighbours share the timing error of a note. Pairs further apart do not,
  # and over their products errors cancel.
  far = range(3, min(11, pairs))
  power = sum(float(signed[lag:] @ signed[:-lag]) for lag in far)
  power = max(power / sum(pairs - lag for lag in far), 0.0)
  if signed @ signed / pairs - power > _PAIR_SPREAD**2:
    return 0, math.nan
  late = min(math.sqrt(power), 0.4)
  return pairs, (0.5 + late) / (0.5 - late)


def off_beat_share(
  onsets: Onsets, melody: Int[np.ndarray, " m"], bpm: float
) -> float:
  """See `syncopation`.

  Args:
    onsets: Of the whole piece.
    melody: Numbers of the chords with a melody note.
    bpm: Of the pulse; nan for none.
  """
  time_s = onsets.time_s
  if len(melody) < 2 or not math.isfinite(bpm):
    return 0.0
  accent = _accents(onsets)
  around = np.searchsorted(
    time_s, (time_s[melody] - _STEADY_S, time_s[melody] + _STEADY_S)
  )
  ioi_s = np.diff(time_s[melody])
  period_s = 60 / bpm
  phase, clear = _phase(time_s, accent, melody, around, period_s)
  tied = clear[:-1] & _tied(phase, ioi_s / period_s, _OFF_BEAT)
  # Below the beat: what all notes agree on even where they do not say which
  # half of it is the strong one.
  for part_s in (period_s / 2, period_s / 4):
    if part_s > _MIN_DURATION_S:
      phase, _ = _phase(time_s, accent, melody, around, part_s)
      tied |= _tied(phase, ioi_s / part_s, _OFF_PART)
  return float(tied.mean())


def _phase(
  time_s: np.ndarray,
  accent: np.ndarray,
  melody: np.ndarray,
  around: np.ndarray,
  period_s: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Of melody notes in the pulse around, -0.5..0.5; and whether it is clear."""
  turn = np.exp(2j * np.pi / period_s * time_s)
  total = np.append(0, np.cumsum(accent * turn))
  weight = np.append(0, np.cumsum(accent))
  beat = total[around[1]] - total[around[0]]
  clear = np.abs(beat) > _CLEAR * (weight[around[1]] - weight[around[0]])
  return np.angle(turn[melody] * beat.conj()) / (2 * np.pi), clear


def _tied(phase: np.ndarray, ioi: np.ndarray, off: float) -> np.ndarray:
  """Mask of onsets off the beat with no onset on the next beat; in beats."""
  phase = phase[:-1]
  left = np.where(phase < 0, -phase, 1 - phase)
  return (np.abs(phase) > off) & (ioi > left + _OFF_BEAT)
