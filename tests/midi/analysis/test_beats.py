"""Beats of played music, of a whole piece and while it is played."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.midi.analysis.beat_follower import FORGET_S, BeatFollower
from magenta_midi.midi.analysis.beats import track_beats
from magenta_midi.midi.score import Score


def score_of(onset_s, key):
  """Short notes of one loudness."""
  return Score.from_arrays(
    onset_s=np.array(onset_s),
    duration_s=np.full(len(onset_s), 0.2),
    key=np.array(key),
    velocity=np.full(len(onset_s), 70),
  )


def accompaniment(beat_s, seed=0, jitter_s=0.008):
  """Bass and chords on beats, a melody between, as hands play them."""
  rng = np.random.default_rng(seed)
  rows = []
  for index, (at, following) in enumerate(itertools.pairwise(beat_s)):
    keys = [60, 64, 67] if index % 2 else [60, 64]
    if index % 4 == 0:
      keys.append(36)
    rows += [(at, key) for key in keys]
    rows.append(((at + following) / 2, 72 + int(rng.integers(0, 8))))
    if rng.random() < 0.3:
      rows.append((at + 0.75 * (following - at), 74))
  rows = [(max(t + rng.normal(0, jitter_s), 0.0), key) for t, key in rows]
  return score_of(*zip(*sorted(rows), strict=True))


def follow(score, until_s=math.inf):
  """A follower that heard a score up to a time, and its pulses by then."""
  follower, pulses = BeatFollower(), []
  notes = score.notes[score.notes["onset_s"] < until_s]
  at = 0
  for now_s in np.arange(0.0, notes["onset_s"][-1] + 0.1, 0.05):
    while at < len(notes) and notes["onset_s"][at] <= now_s:
      follower.hear(float(notes["onset_s"][at]), int(notes["key"][at]))
      at += 1
    follower.advance(float(now_s))
    pulses.append((now_s, follower.pulse()))
  return pulses


def off(time_s, beat_s):
  """How far times are from the nearest beat, in s."""
  return np.abs(np.asarray(time_s)[:, None] - beat_s[None]).min(axis=1)


@pytest.mark.parametrize("bpm", [60, 84, 100, 126, 160, 196])
def test_a_steady_pulse_is_found(bpm):
  beat_s = 1.3 + np.arange(40) * 60 / bpm
  score = accompaniment(beat_s)
  beats = track_beats(score)
  inside = beats.time_s[(beats.time_s > 2) & (beats.time_s < beat_s[-2])]
  assert off(inside, beat_s).max() < 0.05
  # Each of them, or in the fastest each second one: then it is half as fast.
  ratio = beats.bpm / bpm
  assert ratio == pytest.approx(1, abs=0.02) or (
    bpm > 150 and ratio == pytest.approx(0.5, abs=0.02)
  )
  assert beats.confidence > 0.9
  now_s, pulse = follow(score)[-1]
  assert off([pulse.beat_s], beat_s) < 0.05
  assert now_s - pulse.beat_s < 1.5 * pulse.period_s
  # In fast music a hand's jitter is a larger part of the beat.
  assert pulse.confidence > (0.8 if bpm < 150 else 0.15)


def test_bars_begin_where_the_bass_does():
  beat_s = 0.5 + np.arange(33) * 0.6
  beats = track_beats(accompaniment(beat_s))
  first = beats.time_s[beats.place == 0]
  assert off(first[first < 19], beat_s[::4]).max() < 0.05


@pytest.mark.parametrize("change", [0.9, 1.1])
def test_a_change_of_tempo_is_followed(change):
  period_s = np.append(np.full(24, 0.6), np.full(24, 0.6 * change))
  beat_s = 0.5 + np.cumsum(period_s)
  score = accompaniment(beat_s)
  beats = track_beats(score)
  late = beats.time_s[beats.time_s > beat_s[30]]
  assert off(late[late < beat_s[-2]], beat_s).max() < 0.07
  assert beats.bpm == pytest.approx(100 / change, rel=0.02)
  _, pulse = follow(score)[-1]
  assert pulse.bpm == pytest.approx(100 / change, rel=0.04)


def test_notes_without_a_pulse_give_no_confidence():
  rng = np.random.default_rng(0)
  onset_s = np.cumsum(rng.exponential(0.3, 150))
  key = rng.integers(40, 80, 150)
  score = score_of(onset_s, key)
  assert track_beats(score).confidence < 0.3
  assert max(p.confidence for t, p in follow(score) if p and t > 10) < 0.5


def test_a_follower_knows_nothing_of_what_is_to_come():
  beat_s = 0.5 + np.arange(30) * 0.55
  score = accompaniment(beat_s)
  whole, part = follow(score), follow(score, until_s=9.0)
  for (_, a), (_, b) in zip(whole, part, strict=False):
    assert a == b


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 1000), st.integers(0, 3))
def test_when_music_begins_does_not_matter(shift_s, seed):
  score = accompaniment(0.5 + np.arange(16) * 0.6, seed)
  at, later = track_beats(score), track_beats(score.shifted(shift_s))
  assert len(at.time_s) == len(later.time_s)
  np.testing.assert_allclose(at.time_s + shift_s, later.time_s, atol=0.02)


def test_silence_has_no_beats_and_a_pause_is_forgotten():
  assert not len(track_beats(Score.empty()).time_s)
  assert math.isnan(track_beats(Score.empty()).bpm)
  follower = BeatFollower()
  follower.advance(5.0)
  assert follower.pulse() is None
  for at in range(20):
    follower.hear(at * 0.5, 40)
    follower.advance(at * 0.5 + 0.1)
  assert follower.pulse().bpm in (
    pytest.approx(60, rel=0.05),
    pytest.approx(120, rel=0.05),
  )
  # At once, however long it was: no step is taken for the time between.
  follower.advance(10 + FORGET_S)
  assert follower.pulse() is None
  follower.advance(1e9)
  follower.hear(1e9, 60)
  follower.advance(1e9 + 0.5)
  assert follower.pulse() is not None
