"""All measures of a piece of music in one object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magenta_midi.midi.analysis import rhythm, texture
from magenta_midi.midi.analysis.analysis import (
  Analysis,
  Key,
  analyze,
  find_key,
)
from magenta_midi.midi.analysis.onsets import (
  Onsets,
  find_onsets,
  melody_and_below,
)
from magenta_midi.midi.score import Score

__all__ = ["Description", "describe"]


@dataclass(frozen=True, kw_only=True)
class Description:
  """A piece in numbers; see the functions of the same names."""

  analysis: Analysis
  key: Key
  tempo_bpm: float  # nan for no pulse
  swing_ratio: float  # 1 straight, 2 triplets; nan where there are no pairs
  syncopation: float  # 0..1, as all below but the last three
  chord_share: float
  single_line: float
  arpeggio: float
  accompaniment: float
  stride: float
  runs: float
  key_low: float  # a tenth of the notes are below, 0..127
  key_high: float  # a tenth of the notes are above
  loudness_trend: float  # -1..1: diminuendo to crescendo


def describe(score: Score) -> Description:
  """Measures a piece.

  Raises:
    ValueError: There are fewer than two onsets.
  """
  score = score.merged()
  analysis = analyze(score)
  onsets, notes = find_onsets(score), score.notes
  melody, below = melody_and_below(notes, onsets)
  bpm = rhythm.pulse_bpm(onsets)
  key_low, key_high = _tenths(notes["key"])
  return Description(
    analysis=analysis,
    key=find_key(score),
    tempo_bpm=bpm,
    swing_ratio=rhythm.pair_ratio(onsets),
    syncopation=rhythm.off_beat_share(onsets, melody, bpm),
    chord_share=texture.share_in_chords(onsets),
    single_line=texture.share_alone(notes, onsets),
    arpeggio=texture.share_broken(onsets, melody, below),
    accompaniment=texture.share_accompanied(onsets, melody, below),
    stride=texture.share_of_stride(onsets),
    runs=texture.share_in_scales(onsets, melody, below),
    key_low=key_low,
    key_high=key_high,
    loudness_trend=_loudness_trend(onsets),
  )


def _tenths(key: np.ndarray) -> tuple[float, float]:
  """The 10 % and 90 % quantiles."""
  key = np.sort(key)
  at = np.array([0.1, 0.9]) * (len(key) - 1)
  low, high = np.interp(at, np.arange(len(key)), key)
  return float(low), float(high)


def _loudness_trend(onsets: Onsets) -> float:
  """Rise of velocity from start to end, as a share of its mean.

  By the straight line that fits best; -1..1.
  """
  time_s = onsets.time_s - onsets.time_s.mean()
  slope = time_s @ onsets.velocity / (time_s @ time_s)
  rise = slope * (time_s[-1] - time_s[0]) / onsets.velocity.mean()
  return float(np.clip(rise, -1, 1))
