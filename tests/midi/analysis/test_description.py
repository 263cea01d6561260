import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from magenta_midi.midi import Score
from magenta_midi.midi.analysis import rhythm, texture
from magenta_midi.midi.analysis.analysis import Analysis, analyze, find_key
from magenta_midi.midi.analysis.description import Description, describe

SHARES = (
  "syncopation",
  "chord_share",
  "single_line",
  "arpeggio",
  "accompaniment",
  "stride",
  "runs",
)
RHYTHM = ("tempo_bpm", "swing_ratio", "syncopation")


def numbers(description):
  """Every number but of the key, by name."""
  one = {
    field.name: getattr(description, field.name)
    for field in fields(description)
    if field.name not in ("analysis", "key")
  }
  analysis = description.analysis
  return one | {f.name: getattr(analysis, f.name) for f in fields(Analysis)}


def changed(score, **columns):
  """The same notes with these columns in place of theirs."""
  names = ("onset_s", "duration_s", "key", "velocity", "part")
  theirs = {name: score.notes[name] for name in names}
  return Score.from_arrays(
    **(theirs | columns), pedal=score.pedals, part_names=score.part_names
  )


@st.composite
def music(draw):
  """Arguments of a score whose times are on a grid; two onsets at least."""
  notes = draw(
    st.lists(
      st.tuples(
        st.integers(0, 60),
        st.integers(1, 8),
        st.integers(30, 90),
        st.integers(10, 60),
      ),
      min_size=2,
      max_size=60,
    ).filter(lambda notes: len({note[0] for note in notes}) > 1)
  )
  step = draw(st.sampled_from([0.1, 0.125, 0.2]))
  columns = np.array(notes, float)
  return dict(
    onset_s=columns[:, 0] * step,
    duration_s=columns[:, 1] * step,
    key=columns[:, 2],
    velocity=columns[:, 3],
  )


@given(music())
@settings(max_examples=20)
def test_finite_and_in_range(columns):
  description = describe(Score.from_arrays(**columns))
  for name, value in numbers(description).items():
    assert math.isfinite(value) or name in ("tempo_bpm", "swing_ratio"), name
  for name in SHARES:
    assert 0.0 <= getattr(description, name) <= 1.0, name
  assert -1.0 <= description.loudness_trend <= 1.0
  assert 30 <= description.key_low <= description.key_high <= 90
  if not math.isnan(description.tempo_bpm):
    assert 39 < description.tempo_bpm < 245
  if not math.isnan(description.swing_ratio):
    assert description.swing_ratio >= 1.0


def test_any_score(scores):
  # Times that are on no grid, parts, pedal, notes of any length.
  @given(scores())
  @settings(max_examples=20)
  def check(columns):
    score = Score.from_arrays(**columns)
    try:
      analyze(score)
    except ValueError:
      assume(False)
    for name, value in numbers(describe(score)).items():
      assert math.isfinite(value) or name in ("tempo_bpm", "swing_ratio"), name

  check()


@given(music(), st.integers(-30, 30))
@settings(max_examples=20)
def test_transposed(columns, semitones):
  score = Score.from_arrays(**columns)
  one = numbers(describe(score))
  two = numbers(describe(changed(score, key=score.notes["key"] + semitones)))
  for name in ("key_low", "key_high", "key_mean"):
    one[name] += semitones
  assert two == pytest.approx(one, nan_ok=True, abs=1e-9)


@given(music(), st.sampled_from([0.5, 2.0]))
@settings(max_examples=20)
def test_louder(columns, times):
  columns["velocity"] = columns["velocity"] // 2 * 2
  score = Score.from_arrays(**columns)
  one = numbers(describe(score))
  louder = changed(score, velocity=score.notes["velocity"] * times)
  two = numbers(describe(louder))
  for name in ("velocity_mean", "velocity_std"):
    one[name] *= times
  assert two == pytest.approx(one, nan_ok=True, abs=1e-9)


@given(music(), st.integers(0, 40).map(lambda quarters: quarters / 4))
@settings(max_examples=20)
def test_later(columns, seconds):
  score = Score.from_arrays(**columns)
  one, two = (
    numbers(describe(each)) for each in (score, score.shifted(seconds))
  )
  assert two == pytest.approx(one, nan_ok=True, abs=1e-6)


def piece():
  """Eight bars in F: a melody over chords, getting louder."""
  onset_s = np.concatenate(
    [np.arange(32) * 0.5, np.repeat(np.arange(8) * 2, 3)]
  )
  tune = [69, 72, 70, 67, 65, 69, 67, 72]
  chord = [[53, 57, 60], [55, 58, 62], [52, 55, 60], [53, 57, 60]]
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.repeat([0.48, 1.9], [32, 24]),
    key=[*tune * 4, *np.ravel(chord * 2)],
    velocity=40 + 2 * onset_s,
    part=np.repeat([0, 1], [32, 24]),
  )


def test_agrees_with_each_measure_alone():
  score = piece()
  description = describe(score)
  assert description.analysis == analyze(score)
  assert description.key == find_key(score)
  for room in (rhythm, texture):
    for name in room.__all__:
      assert getattr(description, name) == getattr(room, name)(score), name


def test_register_and_trend():
  description = describe(piece())
  # 40 at the start and 72 at the end.
  assert description.loudness_trend == pytest.approx(32 / 56, abs=0.08)
  assert description.key_low == pytest.approx(54, abs=1)
  assert description.key_high == pytest.approx(71, abs=1)
  notes = piece().notes
  softer = changed(piece(), velocity=112 - notes["velocity"])
  assert describe(softer).loudness_trend < -0.4
  level = changed(piece(), velocity=np.full(len(notes), 64))
  assert describe(level).loudness_trend == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("faster", [0.9, 1.25])
def test_played_faster(faster):
  score = piece()
  one, two = (
    describe(score),
    describe(
      changed(
        score,
        onset_s=score.notes["onset_s"] / faster,
        duration_s=score.notes["duration_s"] / faster,
      )
    ),
  )
  octaves = math.log2(two.tempo_bpm / one.tempo_bpm / faster)
  assert octaves == pytest.approx(round(octaves), abs=0.02)
  one, two = numbers(one), numbers(two)
  for name in (*SHARES, "swing_ratio", "key_low", "key_high", "polyphony"):
    assert two[name] == pytest.approx(one[name], abs=0.01), name


def test_needs_two_onsets():
  with pytest.raises(ValueError, match="2 onsets or more, got 0 notes"):
    describe(Score.empty())


def test_fields_are_floats():
  description = describe(piece())
  assert isinstance(description, Description)
  assert all(type(value) is float for value in numbers(description).values())


def test_an_hour_of_notes_has_room():
  # A table of all notes by all notes would need 20 GB.
  n = 50_000
  rng = np.random.default_rng(0)
  long = Score.from_arrays(
    onset_s=np.cumsum(rng.exponential(0.1, n)),
    duration_s=np.full(n, 0.3),
    key=rng.integers(30, 90, n),
    velocity=rng.integers(30, 90, n),
  )
  assert math.isfinite(describe(long).tempo_bpm)
