import numpy as np
import pytest

from magenta_midi.midi import Score
from magenta_midi.midi.analysis.analysis import (
  Key,
  analyze,
  articulation,
  evenness,
  find_key,
  inter_onsets_s,
  key_correlations,
  notes_per_s,
  onset_groups,
  pedal_share,
  pitch_class_weights,
  polyphony,
)

MAJOR = [0, 2, 4, 5, 7, 9, 11, 12]
HARMONIC_MINOR = [0, 2, 3, 5, 7, 8, 11, 12]


def line(keys, *, every_s=0.5, duration_s=None, velocity=64, pedal=None):
  """One note after the other."""
  n = len(keys)
  return Score.from_arrays(
    onset_s=np.arange(n) * every_s,
    duration_s=np.full(n, duration_s or every_s),
    key=keys,
    velocity=np.broadcast_to(velocity, n),
    pedal=pedal,
  )


def chords(*roots_and_thirds, repeat=1):
  """Triads (root, semitones to the third), a second each."""
  triads = [
    (at, key)
    for at, (root, third) in enumerate(roots_and_thirds * repeat)
    for key in (root, root + third, root + 7)
  ]
  return Score.from_arrays(
    onset_s=[float(at) for at, _ in triads],
    duration_s=np.ones(len(triads)),
    key=[key for _, key in triads],
    velocity=np.full(len(triads), 64),
  )


@pytest.mark.parametrize("tonic", range(12))
def test_major_scale(tonic):
  key = find_key(line(60 + tonic + np.array(MAJOR)))
  assert key[:2] == (tonic, False)
  assert key.correlation > 0.8


@pytest.mark.parametrize("tonic", range(12))
def test_harmonic_minor_scale(tonic):
  assert find_key(line(60 + tonic + np.array(HARMONIC_MINOR)))[:2] == (
    tonic,
    True,
  )


def test_natural_minor_piece():
  # Am Dm G C Am Dm Em Am: the notes of C major, at home in A.
  piece = chords(
    (57, 3), (62, 3), (55, 4), (60, 4), (57, 3), (62, 3), (52, 3), (57, 3)
  )
  assert find_key(piece).name == "A minor"
  assert analyze(piece).mode < 0


def test_major_piece():
  piece = chords((60, 4), (65, 4), (55, 4), (60, 4))
  assert find_key(piece).name == "C major"
  assert analyze(piece).mode > 0


def test_names_of_keys():
  assert Key(6, False, 1.0).name == "F# major"
  assert Key(10, True, 1.0).name == "Bb minor"


def test_profile_correlates_fully_with_itself_and_flat_weights_with_none():
  g_minor = np.roll(
    [6.33, 2.68, 3.52, 5.38, 2.6, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17], 7
  )
  correlations = key_correlations(g_minor)
  assert correlations.argmax() == 12 + 7
  assert correlations.max() == pytest.approx(1.0)
  assert not key_correlations(np.ones(12)).any()
  assert not key_correlations(np.zeros(12)).any()


def test_long_notes_weigh_no_more_than_a_second():
  weights = pitch_class_weights(line([60, 61], duration_s=5.0, every_s=6.0))
  assert weights[:2].tolist() == [1.0, 1.0]
  assert weights.sum() == 2.0


def test_chords_are_one_onset():
  score = Score.from_arrays(
    onset_s=[0.0, 0.01, 0.03, 1.0, 1.02, 3.0],
    duration_s=[0.5] * 6,
    key=[60, 64, 67, 60, 64, 60],
    velocity=[64] * 6,
  )
  assert onset_groups(score).tolist() == [0, 0, 0, 1, 1, 2]
  assert inter_onsets_s(score).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("rate", [1, 4, 20])
def test_density_and_pace(rate):
  score = line([60, 62] * (5 * rate), every_s=1 / rate).shifted(7.0)
  assert notes_per_s(score) == pytest.approx(rate)
  assert analyze(score).median_ioi_s == pytest.approx(1 / rate)


def test_very_short_music_is_not_dense():
  assert notes_per_s(line([60, 62], every_s=0.01)) == 2.0


def test_polyphony_counts_keys_while_any_is_held():
  assert polyphony(chords((60, 4), (62, 3))) == pytest.approx(3.0)
  # Apart, with silence between.
  assert polyphony(line([60, 62, 64], duration_s=0.1)) == pytest.approx(1.0)
  # 2 s alone under 1 s of another: 3 s of notes in 2 s.
  two = Score.from_arrays(
    onset_s=[0.0, 0.5], duration_s=[2.0, 1.0], key=[40, 60], velocity=[64, 64]
  )
  assert polyphony(two) == pytest.approx(1.5)


@pytest.mark.parametrize("share", [0.25, 1.0, 1.5])
def test_articulation(share):
  score = line([60, 62, 64, 65], every_s=0.4, duration_s=0.4 * share)
  assert articulation(score) == pytest.approx(share)


def test_evenness():
  assert evenness(line([60, 62, 64, 65])) == pytest.approx(1.0)
  onset_s = np.cumsum([0.2, 0.4] * 8)
  swung = Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(16, 0.1),
    key=np.arange(16) + 60,
    velocity=np.full(16, 64),
  )
  assert evenness(swung) == pytest.approx(0.5)


def test_pedal_share():
  keys = [60, 62, 64, 65]  # 2 s
  assert pedal_share(line(keys)) == 0.0
  assert pedal_share(line(keys, pedal=[(0.5, True), (1.0, False)])) == 0.25
  # Down before the first note and never lifted; the pedal ends no music.
  assert pedal_share(line(keys, pedal=[(0.0, True)])) == 1.0
  late = line(keys, pedal=[(0.0, True), (9.0, False)])
  assert pedal_share(late) == 1.0


def test_loudness_and_register():
  analysis = analyze(line([50, 70], velocity=[40, 80]))
  assert (analysis.velocity_mean, analysis.velocity_std) == (60, 20)
  assert (analysis.key_mean, analysis.key_std) == (60, 10)


def test_parts_are_taken_together():
  one = chords((60, 4), (62, 3))
  parts = one.notes["key"] % 2
  two = Score.from_arrays(
    **{name: one.notes[name] for name in ("onset_s", "duration_s")},
    **{name: one.notes[name] for name in ("key", "velocity")},
    part=parts,
  )
  assert analyze(two) == analyze(one)


def test_too_little_music():
  with pytest.raises(ValueError, match="2 onsets or more, got 0 notes at 0"):
    analyze(Score.empty())
  with pytest.raises(ValueError, match="got 3 notes at 1"):
    analyze(chords((60, 4)))
  with pytest.raises(ValueError, match="needs notes"):
    find_key(Score.empty())
  assert notes_per_s(Score.empty()) == polyphony(Score.empty()) == 0.0
  assert pedal_share(Score.empty()) == 0.0
  assert articulation(line([60])) == evenness(line([60])) == 1.0


def test_polyphony_of_notes_too_short_to_end_later():
  score = Score.from_arrays(
    onset_s=[1e6, 1e6 + 1],
    duration_s=[1e-12, 1e-12],
    key=[60, 64],
    velocity=[70, 70],
  )
  assert polyphony(score) == 1.0
