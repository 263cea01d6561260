"""What examples are told of beats and chords."""

import dataclasses

import numpy as np
import pytest

from magenta_midi.data.examples.examples import Augmentation, draw_examples
from magenta_midi.data.examples.outline_draws import OutlineDraws, check_given
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.midi.outline import Outline
from magenta_midi.midi.score import Score


@pytest.fixture(scope="module")
def corpora():
  onset = np.arange(0, 60, 0.5)
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(120, 0.4),
    key=60 + np.arange(120) % 12,
    velocity=np.full(120, 80),
  )
  outline = Outline.of(
    [(1000 * t, i % 4, 4) for i, t in enumerate(onset)],
    [(2000 * i, i % 12, i % 12, (i % 12,)) for i in range(30)],
  )
  piece = ("a", pack_piece(score))
  return [join_pieces([piece, piece], [outline, None])]


def drawn(corpora, count=200, **changes):
  augmentation = Augmentation(**changes)
  return draw_examples(
    np.random.default_rng(0), corpora, [1.0], count, augmentation, 1000
  )


def is_told(frames):
  beats = (frames.rows[..., 0] == 1).any(axis=1)
  return beats, (frames.rows[..., 0] == 20).any(axis=1)


def test_shares_decide_what_is_told(corpora):
  examples = drawn(corpora, 600)
  shares = dict(nothing=0.4, beats=0.3, chords=0.1, both=0.2)
  frames = OutlineDraws(shares).frames(corpora, examples, 10)
  beats, chords = is_told(frames)
  known = examples["piece"] == 0
  assert not (beats | chords)[~known].any()
  for name, mask in (
    ("nothing", ~beats & ~chords),
    ("beats", beats & ~chords),
    ("chords", ~beats & chords),
    ("both", beats & chords),
  ):
    assert mask[known].mean() == pytest.approx(shares[name], abs=0.08)


def test_the_same_example_is_told_the_same(corpora):
  examples = drawn(corpora)
  shares = dict(nothing=1.0, both=1.0)
  at_once = OutlineDraws(shares, seed=3).frames(corpora, examples, 10)
  for rows in (slice(50, 90), slice(0, 1)):
    part = OutlineDraws(shares, seed=3).frames(corpora, examples[rows], 10)
    np.testing.assert_array_equal(part.rows, at_once.rows[rows])
    np.testing.assert_array_equal(part.time, at_once.time[rows])
  other = OutlineDraws(shares, seed=4).frames(corpora, examples, 10)
  assert not np.array_equal(other.rows, at_once.rows)


def test_frames_follow_tempo_and_transposition(corpora):
  examples = drawn(corpora, 64, tempo=(2.0, 2.0), transpose=(3, 3))
  told = OutlineDraws(dict(both=1.0), jitter=False)
  frames = told.frames(corpora, examples, 10)
  for row in np.flatnonzero(examples["piece"] == 0):
    beat = frames.rows[row, :, 0] == 1
    if beat.sum() > 1:
      # 500 ms at double tempo.
      assert set(np.diff(frames.time[row][beat])) <= {25}
    now_ms = examples["now_ms"][row]
    for chord in np.flatnonzero(frames.rows[row, :, 0] == 20):
      begun = round((now_ms + 10 * frames.time[row, chord]) / 1000)
      if frames.time[row, chord] > -1000:
        assert frames.rows[row, chord, 1] == 22 + (begun + 3) % 12


def test_jitter_moves_beats_a_little(corpora):
  examples = drawn(corpora, 64)
  exact, moved = (
    OutlineDraws(dict(beats=1.0), jitter=jitter).frames(corpora, examples, 10)
    for jitter in (False, True)
  )
  same = (exact.rows == moved.rows).all(axis=(1, 2))
  off = (exact.time - moved.time)[same]
  assert 0 < np.abs(off).max() <= 2


def test_a_shift_of_style_is_told_nothing(corpora):
  examples = drawn(corpora)
  examples["departure"] = 1
  frames = OutlineDraws(dict(both=1.0)).frames(corpora, examples, 10)
  assert not frames.rows.any()


@pytest.mark.parametrize(
  ("shares", "words"),
  [
    (dict(bars=1.0), "unknown outlines bars"),
    (dict(beats=-1.0), "share of beats"),
    (dict(beats=0.0), "above 0"),
  ],
)
def test_bad_shares_are_refused(shares, words):
  with pytest.raises(ValueError, match=words):
    check_given(shares)


def test_no_shares_are_no_outlines():
  check_given({})
  assert dataclasses.is_dataclass(OutlineDraws)
