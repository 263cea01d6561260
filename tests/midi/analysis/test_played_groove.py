"""A player's groove, measured from recordings."""

import json

import numpy as np
import pytest

from magenta_midi.midi.analysis.played_groove import (
  PlayedGroove,
  measure_groove,
)
from magenta_midi.midi.score import Score


def played(bpm, half=0.5, late_s=0.0, beats=64, jitter_s=0.004, seed=0):
  """Chords on beats, a melody on both halves, the melody's second half late."""
  rng = np.random.default_rng(seed)
  period_s = 60 / bpm
  rows = []
  for beat in range(beats):
    at = 1.0 + beat * period_s
    rows += [(at, key) for key in [48, 55, 60] + [36] * (beat % 4 == 0)]
    rows.append((at + half * period_s + late_s, 72 + int(rng.integers(0, 5))))
  rows = sorted((t + rng.normal(0, jitter_s), key) for t, key in rows)
  onset_s, key = zip(*rows, strict=True)
  return Score.from_arrays(
    onset_s=np.array(onset_s),
    duration_s=np.full(len(rows), 0.2),
    key=np.array(key),
    velocity=np.full(len(rows), 70),
  )


@pytest.mark.parametrize(
  ("half", "ratio"), [(0.5, 1.0), (0.6, 1.5), (2 / 3, 2)]
)
def test_the_swing_ratio_is_measured(half, ratio):
  groove = measure_groove([played(100, half, seed=n) for n in range(2)])
  assert groove.swing == pytest.approx(ratio, rel=0.08)
  assert groove.bpm == pytest.approx(100, rel=0.02)
  peaks = np.argsort(groove.density)[-2:]
  assert sorted(peaks / 48) == pytest.approx([0, half], abs=0.025)
  assert groove.density.mean() == pytest.approx(1)


@pytest.mark.parametrize("late_s", [-0.02, 0.0, 0.025])
def test_how_late_offbeats_are_is_measured(late_s):
  groove = measure_groove([played(96, late_s=late_s)])
  beat, _, half, _ = groove.late_ms
  assert half - beat == pytest.approx(1000 * late_s, abs=4)


def test_its_table_wants_notes_where_the_player_struck_them():
  table = measure_groove([played(100, 0.62)]).groove("@me")
  at = table.log_density(np.array([0.0, 0.62, 0.25, 0.5]))
  assert at[:2].min() > 1 and at[2:].max() < 0


def test_free_playing_and_a_few_notes_are_no_groove():
  rng = np.random.default_rng(0)
  onset_s = np.cumsum(rng.exponential(0.3, 300))
  free = Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(300, 0.2),
    key=rng.integers(40, 80, 300),
    velocity=np.full(300, 70),
  )
  assert measure_groove([free]) is None
  assert measure_groove([played(100, beats=8)]) is None
  assert measure_groove([]) is None


def test_a_groove_survives_json_and_damage_is_refused():
  groove = measure_groove([played(100, 0.6)])
  again = PlayedGroove.from_json(json.loads(json.dumps(groove.to_json())))
  np.testing.assert_allclose(again.density, groove.density, atol=1e-3)
  assert again[1:] == groove[1:]
  stored = groove.to_json()
  for damage in (
    {},
    None,
    {**stored, "density": [1.0] * 47},
    {**stored, "density": [float("nan")] * 48},
    {**stored, "density": [-1.0] + [1.0] * 47},
    {**stored, "density": [0.0] * 48},
    {**stored, "bpm": "fast"},
  ):
    with pytest.raises(ValueError, match="its groove"):
      PlayedGroove.from_json(damage)
