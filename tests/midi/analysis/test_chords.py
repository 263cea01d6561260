import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi import read_score
from magenta_midi.midi.analysis.chords import (
  QUALITIES,
  chord_tones,
  find_chord,
  find_chords,
)


def weights_of(keys, seconds=1.0):
  weights = np.zeros(12)
  np.add.at(weights, np.asarray(keys) % 12, seconds)
  return weights


@pytest.mark.parametrize("root", range(12))
@pytest.mark.parametrize("quality", QUALITIES)
def test_every_chord_in_root_position(root, quality):
  keys = [36 + root, *(60 + root + tone for tone in QUALITIES[quality])]
  chord = find_chord(weights_of(keys), min(keys))
  assert (chord.root, chord.quality) == (root, quality)
  assert chord.pitch_classes == {key % 12 for key in keys}


@pytest.mark.parametrize(
  ("keys", "name"),
  [
    ([60, 64, 67], "C"),
    ([64, 67, 72], "C"),  # first inversion
    ([67, 72, 76], "C"),  # second
    ([57, 60, 64, 67], "Am7"),
    ([60, 64, 67, 69], "C6"),  # the same tones over C
    ([59, 62, 65, 67], "G7"),  # third in the bass
    ([51, 58, 62, 67], "Ebmaj7"),
    ([54, 57, 60, 64], "F#m7b5"),
    ([55, 60, 62], "Gsus4"),
    ([50, 57, 60, 65], "Dm7"),
    ([56, 60, 64], "Abaug"),
    ([59, 62, 65, 68], "Bdim7"),
  ],
)
def test_names_of_voicings(keys, name):
  assert find_chord(weights_of(keys), min(keys)).name == name


# Without its bass, a chord's tones may have several names; these have one.
ONE_NAME = ("maj", "min", "7", "maj7", "dim", "mMaj7")


@given(
  st.integers(0, 11),
  st.sampled_from(ONE_NAME),
  st.lists(st.floats(0.7, 1.4), min_size=4, max_size=4),
  st.lists(st.floats(0.0, 0.005), min_size=12, max_size=12),
)
def test_uneven_weights_and_faint_strangers_change_nothing(
  root, quality, seconds, strangers
):
  weights = np.array(strangers)
  for tone, weight in zip(QUALITIES[quality], seconds, strict=False):
    weights[(root + tone) % 12] = weight
  chord = find_chord(weights)
  assert (chord.root, chord.quality) == (root, quality)


@given(
  st.lists(st.floats(0, 10), min_size=12, max_size=12),
  st.integers(0, 11),
  st.none() | st.integers(21, 108),
  st.floats(0.01, 100),
)
def test_transposing_music_transposes_its_chord(weights, by, bass, louder):
  weights = np.round(np.array(weights), 1)
  if not weights.any():
    weights[0] = 1.0
  chord = find_chord(weights, bass)
  moved = find_chord(
    np.roll(weights, by) * louder, None if bass is None else bass + by
  )
  # Of ambiguous weights another of the equally good is fine.
  assert moved.score == pytest.approx(chord.score)


@given(
  st.lists(
    st.tuples(
      st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=12, max_size=12),
      st.integers(-1, 108),
    ),
    min_size=1,
    max_size=5,
  )
)
def test_many_at_once_are_as_one_by_one(rows):
  weights = np.array([row[0] for row in rows])
  bass = np.array([row[1] for row in rows])
  tones = chord_tones(find_chords(weights, bass))
  for one, low, found in zip(weights, bass, tones, strict=True):
    if not one.any():
      assert not found.any()
      continue
    chord = find_chord(one, int(low) if low >= 0 else None)
    assert set(np.flatnonzero(found)) == chord.pitch_classes


def test_silence_has_no_chord():
  with pytest.raises(ValueError, match="at least one pitch class"):
    find_chord(np.zeros(12))


def test_the_chords_of_a_prelude():
  # Bach, BWV 846: sixteen notes a bar, a chord each, its bass the lowest.
  notes = read_score(phrase_path("prelude")).notes
  named = []
  for bar in np.split(notes, range(16, len(notes), 16)):
    weights = np.bincount(bar["key"] % 12, bar["duration_s"], minlength=12)
    named.append(find_chord(weights, int(bar["key"].min())).name)
  assert named == ["C", "Dm7", "G7", "C", "Am", "D7"]
