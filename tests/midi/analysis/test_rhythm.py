import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.midi import Score
from magenta_midi.midi.analysis.rhythm import (
  swing_ratio,
  syncopation,
  tempo_bpm,
)


def struck(
  onset_s: Any,
  *,
  key: Any = 60,
  duration_s: Any = 0.1,
  noise_s: float = 0.0,
) -> Score:
  """Notes at these times, played as well as hands can."""
  onset_s = np.asarray(onset_s, float)
  error = np.random.default_rng(0).normal(0, noise_s, len(onset_s))
  return Score.from_arrays(
    onset_s=np.maximum(onset_s + error + 1.0, 0.0),
    duration_s=np.broadcast_to(duration_s, len(onset_s)),
    key=np.broadcast_to(key, len(onset_s)),
    velocity=np.full(len(onset_s), 64),
  )


def eighths(bpm, ratio, *, left_out=0.0, noise_s=0.0, seconds=10):
  """Pairs of notes, of `ratio` long to short; some at random left out."""
  beats = np.arange(round(seconds * bpm / 60))
  onset = np.ravel(beats[:, None] + np.array([0, ratio / (1 + ratio)]))
  keep = np.random.default_rng(1).random(len(onset)) >= left_out
  return struck(onset[keep] * 60 / bpm, noise_s=noise_s)


@pytest.mark.parametrize("noise_s", [0.0, 0.005, 0.01])
@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("bpm", [60, 90, 120, 160, 200])
def test_swing(bpm, ratio, noise_s):
  heard = swing_ratio(eighths(bpm, ratio, noise_s=noise_s))
  assert heard == pytest.approx(ratio, rel=0.08)


@pytest.mark.parametrize("left_out", [0.15, 0.3])
@pytest.mark.parametrize("ratio", [1.0, 2.0])
@pytest.mark.parametrize("bpm", [90, 120, 160])
def test_swing_with_rests(bpm, ratio, left_out):
  score = eighths(bpm, ratio, left_out=left_out, noise_s=0.005, seconds=20)
  assert swing_ratio(score) == pytest.approx(ratio, rel=0.08)


def test_swing_over_a_walking_bass_that_slows_down():
  beats = np.arange(24)
  onset = np.concatenate([beats, beats, beats + 2 / 3])
  key = np.repeat([40, 70, 72], 24)
  # From 120 to 100 beats a minute.
  onset_s = 0.5 * onset + 0.05 * onset**2 / 24
  assert swing_ratio(struck(onset_s, key=key)) == pytest.approx(2.0, rel=0.05)


def test_triplets_and_sixteenths_are_even():
  for notes in (3, 4):
    score = struck(np.arange(60) * 0.6 / notes, noise_s=0.005)
    assert swing_ratio(score) == pytest.approx(1.0, abs=0.1)


def test_no_pairs_no_swing():
  assert math.isnan(swing_ratio(Score.empty()))
  assert math.isnan(swing_ratio(struck([0.0, 0.3, 0.6])))
  # A note a second: nothing divides the beat.
  assert math.isnan(swing_ratio(struck(np.arange(20.0))))
  free = np.cumsum(np.random.default_rng(3).exponential(0.4, 40) + 0.05)
  assert math.isnan(swing_ratio(struck(free)))


def octaves_off(bpm, right):
  """How far, in octaves, from the right tempo, its double or half."""
  octaves = math.log2(bpm / right)
  return abs(octaves - round(octaves))


@pytest.mark.parametrize("ratio", [1.0, 2.0])
@pytest.mark.parametrize("bpm", [50, 72, 100, 120, 150, 210])
def test_tempo(bpm, ratio):
  score = eighths(bpm, ratio, noise_s=0.01)
  assert octaves_off(tempo_bpm(score), bpm) < 0.02


def test_no_pulse():
  assert math.isnan(tempo_bpm(Score.empty()))
  assert math.isnan(tempo_bpm(struck([0.0])))
  assert math.isnan(tempo_bpm(struck([0.0, 5.0, 12.0])))


# Beats of 4/4 and how long a note lasts, as a bar to repeat.
_BARS = (
  (0, 1, 2, 3),
  (0, 1, 1.5, 2, 3, 3.5),
  (0, 0.5, 1, 2, 2.5, 3),
  (0, 2, 2.5, 3),
)


@given(st.sampled_from(_BARS), st.floats(0.7, 1.4), st.floats(0.4, 0.7))
@settings(max_examples=20)
def test_music_played_faster(bar, faster, beat_s):
  onset_s = np.ravel(4 * np.arange(6)[:, None] + np.array(bar)) * beat_s
  slow, fast = struck(onset_s), struck(onset_s / faster)
  assert octaves_off(tempo_bpm(fast) / faster, tempo_bpm(slow)) < 0.03
  # Whole beats are too long for halves of one, at some of the tempi.
  ratios = [swing_ratio(score) for score in (slow, fast)]
  assert np.isnan(ratios).any() or ratios == pytest.approx([1.0, 1.0], abs=0.01)


def over_bass(beats_of_melody, *, bars=6, beat_s=0.5):
  """A melody, legato, over a bass on each beat of 4/4."""
  melody = np.ravel(4 * np.arange(bars)[:, None] + np.array(beats_of_melody))
  bass = np.arange(4.0 * bars)
  lasts = np.append(np.diff(melody), 1.0)
  return struck(
    np.append(melody, bass) * beat_s,
    key=np.repeat([72, 40], [len(melody), len(bass)]),
    duration_s=np.append(lasts, np.full(len(bass), 0.9)) * beat_s,
    noise_s=0.005,
  )


@pytest.mark.parametrize(
  "bar",
  [
    (0, 1, 2, 3),
    (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5),
    (0, 2 / 3, 1, 5 / 3, 2, 3),
    (0, 1 / 3, 2 / 3, 1, 2, 3),
    (0, 2),
  ],
)
def test_on_the_beat(bar):
  assert syncopation(over_bass(bar)) <= 0.05


@pytest.mark.parametrize(
  ("bar", "share"),
  [
    ((0.5, 1.5, 2.5, 3.5), 1.0),
    ((0, 1, 2.5, 3.5), 0.25),
    ((0, 0.5, 1.5, 3), 0.5),
    # Ragtime: the second and fourth sixteenths are held.
    ((0, 0.25, 0.75, 1.25, 1.75, 2, 3), 3 / 7),
  ],
)
def test_off_the_beat(bar, share):
  assert syncopation(over_bass(bar)) == pytest.approx(share, abs=0.15)


def test_syncopation_needs_a_pulse():
  assert syncopation(Score.empty()) == 0.0
  assert syncopation(struck([0.0, 5.0, 12.0])) == 0.0
