"""Histories that stray, before targets that do not."""

import numpy as np
import pytest

from magenta_midi.data.examples.examples import (
  NO_AUGMENTATION,
  cut_sides,
  draw_examples,
)
from magenta_midi.data.examples.history_noise import HistoryNoise
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def corpora():
  # Chords of two notes each half second.
  onset = np.repeat(np.arange(0, 60, 0.5), 2)
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(240, 0.4),
    key=60 + np.tile([0, 4], 120),
    velocity=np.full(240, 80),
  )
  return [join_pieces([("a", pack_piece(score))])]


@pytest.fixture(scope="module")
def examples(corpora):
  return draw_examples(
    np.random.default_rng(0), corpora, [1.0], 200, NO_AUGMENTATION, 1000
  )


def cut(corpora, examples, noise=None):
  return cut_sides(CODEC, corpora, examples, 400, history_noise=noise)


def test_the_history_strays_and_the_targets_stay(corpora, examples):
  context, after = cut(corpora, examples)
  noise = HistoryNoise(share=1.0)
  moved, same = cut(corpora, examples, noise)
  for one, other in zip(after, same, strict=True):
    np.testing.assert_array_equal(one, other)
  assert np.array_equal(moved.row, context.row)
  off_ms = 10 * (moved.step - context.step)
  assert 10 < off_ms.std() < 40
  assert np.abs(off_ms.mean()) < 5
  # Notes of a chord stay together.
  for row in range(20):
    steps = moved.step[moved.row == row]
    assert len(set(steps.tolist())) <= -(-len(steps) // 2) + 1


def test_the_drift_grows_towards_now(corpora, examples):
  context, _ = cut(corpora, examples)
  noise = HistoryNoise(share=1.0, onset_ms=0.0, drift_ms=60.0)
  moved, _ = cut(corpora, examples, noise)
  off = np.abs(moved.step - context.step)
  old, new = context.step < -700, context.step > -300
  assert off[old].mean() < 0.5 * off[new].mean()


def test_the_same_example_strays_in_the_same_way(corpora, examples):
  noise = HistoryNoise(share=0.5, seed=4)
  whole, _ = cut(corpora, examples, noise)
  part, _ = cut(corpora, examples[30:50], noise)
  inside = (whole.row >= 30) & (whole.row < 50)
  np.testing.assert_array_equal(whole.step[inside], part.step)


def test_as_many_examples_stray_as_asked(corpora, examples):
  context, _ = cut(corpora, examples)
  moved, _ = cut(corpora, examples, HistoryNoise(share=0.3))
  changed = np.unique(context.row[moved.step != context.step])
  assert len(changed) / len(examples) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("field", ["share", "onset_ms", "drift_ms"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_bad_values_are_refused(field, value):
  with pytest.raises(ValueError, match=field):
    HistoryNoise(**{field: value})
