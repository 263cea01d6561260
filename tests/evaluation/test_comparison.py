"""Differences of two checkpoints, and their paired bootstrap."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.evaluation.comparison import Comparison, check_comparable
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.tokens.event.codec import EventCodec, EventCodecConfig
from magenta_midi.tokens.note.codec import NoteCodec, NoteCodecConfig

SEEDS = st.integers(0, 2**32 - 1)


def two(seed: int) -> tuple[Evaluation, Evaluation]:
  """Two evaluations of the same 2 to 12 pieces."""
  rng = np.random.default_rng(seed)
  pieces = int(rng.integers(2, 13))
  notes = rng.integers(1, 5000, pieces)
  seconds = 2.0 * rng.integers(1, 300, pieces)
  titles = tuple(map(str, range(pieces)))
  first, second = (
    Evaluation(
      rng.gamma(2.0, 0.5, (pieces, 6)) * notes[:, None],
      notes,
      seconds,
      titles=titles,
    )
    for _ in range(2)
  )
  return first, second


def shifted(evaluation: Evaluation, nats: float) -> Evaluation:
  """Every note costs so much more."""
  columns = evaluation.nats.copy()
  columns[:, 0] += nats * evaluation.notes
  return dataclasses.replace(evaluation, nats=columns)


@settings(max_examples=20)
@given(SEEDS, st.floats(-3.0, 3.0))
def test_a_shift_of_one_moves_the_interval_as_far(seed, nats):
  first, second = two(seed)
  before = Comparison(first, second)
  after = Comparison(shifted(first, nats), second)
  assert after.nats_per_note == pytest.approx(
    before.nats_per_note + nats, abs=1e-9
  )
  np.testing.assert_allclose(
    after.interval, np.add(before.interval, nats), atol=1e-9
  )
  # Far enough, it is beyond what any choice of pieces explains.
  assert Comparison(shifted(first, 100.0), second).beyond is True


@settings(max_examples=20)
@given(SEEDS)
def test_swapping_the_two_flips_every_sign(seed):
  first, second = two(seed)
  one, other = Comparison(first, second), Comparison(second, first)
  low, high = one.interval
  assert low <= high
  np.testing.assert_allclose(other.interval, (-high, -low), atol=1e-12)
  assert other.beyond == one.beyond
  ours, theirs = one.figures(), other.figures()
  for name in ("nats_per_note", "nats_per_second", "pedal", "end"):
    assert ours[name] == -theirs[name]


@settings(max_examples=10)
@given(SEEDS, st.floats(0.01, 3.0))
def test_pieces_are_drawn_alike_for_both(seed, nats):
  """A difference that all pieces share is certain, however they vary."""
  one, _ = two(seed)
  comparison = Comparison(shifted(one, nats), one)
  np.testing.assert_allclose(comparison.interval, (nats, nats), atol=1e-9)
  assert comparison.beyond is True


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
  """Of pieces whose differences are drawn, 95 % of intervals hold the mean."""
  rng = np.random.default_rng(0)
  held, trials, pieces = 0, 200, 60
  notes, seconds = np.full(pieces, 100), np.full(pieces, 2.0)
  for _ in range(trials):
    # What both pay for a piece varies far more than how they differ.
    both = rng.gamma(4.0, 100.0, (pieces, 1)) * np.eye(6)[0]
    extra = rng.normal(30.0, 20.0, (pieces, 1)) * np.eye(6)[1]
    low, high = Comparison(
      Evaluation(both + extra, notes, seconds),
      Evaluation(both, notes, seconds),
    ).interval
    held += low <= 0.3 <= high
  assert 0.89 <= held / trials <= 0.985


def test_one_piece_cannot_say():
  one = Evaluation(np.ones((1, 6)), np.ones(1, int), np.ones(1))
  comparison = Comparison(shifted(one, 1.0), one)
  assert comparison.interval == (1.0, 1.0)
  assert comparison.beyond is None


def test_other_windows_do_not_compare():
  one = Evaluation(np.ones((1, 6)), np.ones(1, int), np.ones(1))
  longer = dataclasses.replace(one, seconds=np.full(1, 2.0))
  with pytest.raises(ValueError, match="only evaluations of the same windows"):
    Comparison(one, longer)


def test_parts_of_other_names_are_not_compared():
  first, second = two(0)
  other = dataclasses.replace(second, names=("a", "b", "velocity", "d"))
  assert "levels" in Comparison(first, second).figures()
  found = Comparison(first, other).figures()
  assert set(found) == {"nats_per_note", "ci95", "beyond", "nats_per_second"}


def test_codecs_compare_on_one_grid_only():
  note = NoteCodec()
  check_comparable(note, NoteCodec(config=NoteCodecConfig(horizon_s=6.0)))
  check_comparable(note, EventCodec())
  for other, message in (
    (NoteCodec(config=NoteCodecConfig(step_ms=5)), "step_ms is 5 there and 10"),
    (EventCodec(config=EventCodecConfig(velocity_bins=64)), "velocity_bins is"),
    (NoteCodec(config=NoteCodecConfig(duration_bins=70)), "duration_bins is"),
  ):
    with pytest.raises(ValueError, match=message):
      check_comparable(note, other)
