"""The two-sample test tells what differs apart, and only that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from tools.music.features import FEATURES, window_features
from tools.music.two_sample import area_under_curve, two_sample

few = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=12)


@given(few, few)
def test_area_counts_ties_half(a, b):
  expected = np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
  assert area_under_curve(np.array(a), np.array(b)) == pytest.approx(expected)


def windows(seed: int, pieces: int, apart: float) -> tuple:
  """Four windows of each side a piece; pieces differ more than windows do."""
  rng = np.random.default_rng(seed)
  piece = np.repeat(np.arange(pieces), 8)
  positive = np.tile(np.arange(8) < 4, pieces)
  features = rng.normal(size=(len(piece), 30))
  features += 2 * rng.normal(size=(pieces, 30))[piece]
  features[:, 0] += apart * positive
  return features, positive, piece


def test_the_same_distribution_cannot_be_told_apart():
  found = [two_sample(*windows(seed, 30, 0.0)) for seed in range(8)]
  assert np.mean([f.auc for f in found]) == pytest.approx(0.5, abs=0.05)
  inside = [f.interval[0] < 0.5 < f.interval[1] for f in found]
  assert sum(inside) >= 6


def test_what_is_far_apart_is_told_apart():
  found = two_sample(*windows(0, 20, 40.0))
  assert found.auc == 1.0
  assert found.interval == (1.0, 1.0)
  some = two_sample(*windows(0, 30, 3.0))
  assert 0.65 < some.auc < 1.0
  assert some.interval[0] < some.auc < some.interval[1]


def test_pieces_are_not_learned_by_heart():
  # The side is a matter of the piece alone, and pieces differ at random.
  found = []
  for seed in range(6):
    features, _, piece = windows(seed, 30, 0.0)
    found.append(two_sample(features, piece < 15, piece, seed=seed).auc)
  assert np.mean(found) == pytest.approx(0.5, abs=0.12)


def test_the_seed_decides():
  a, b = (two_sample(*windows(0, 12, 1.0), seed=5) for _ in range(2))
  assert a.auc == b.auc
  assert (a.draws == b.draws).all()


def test_too_few_pieces_are_refused():
  features, positive, piece = windows(0, 1, 0.0)
  with pytest.raises(ValueError, match=r"at least 2 pieces on each side, got"):
    two_sample(features, positive, piece)


def test_features_are_named_and_finite():
  rng = np.random.default_rng(0)
  score = Score.from_arrays(
    onset_s=np.sort(rng.uniform(0, 10, 60)),
    duration_s=rng.uniform(0.05, 2, 60),
    key=rng.integers(21, 109, 60),
    velocity=rng.integers(1, 128, 60),
    pedal=[(1.0, True), (2.0, False)],
  )
  one = score.crop(0.0, float(score.notes["onset_s"][1]))
  for music in (score, one, Score.empty()):
    found = window_features(music)
    assert found.shape == (len(FEATURES),)
    assert np.isfinite(found).all()
  assert len(set(FEATURES)) == len(FEATURES)


@given(st.integers(-12, 12))
def test_a_scale_is_no_different_in_another_key(semitones):
  keys = np.array([60, 62, 64, 65, 67, 69, 71, 72])

  def scale(keys: np.ndarray) -> np.ndarray:
    return window_features(
      Score.from_arrays(
        onset_s=np.arange(8) / 4,
        duration_s=np.full(8, 0.25),
        key=keys,
        velocity=np.full(8, 70),
      )
    )

  absolute = [
    name.startswith("register") or name == "key_mean" for name in FEATURES
  ]
  kept = ~np.array(absolute)
  np.testing.assert_allclose(
    scale(keys)[kept], scale(keys + semitones)[kept], atol=1e-12
  )
  assert scale(keys)[FEATURES.index("out_of_scale")] == 0
