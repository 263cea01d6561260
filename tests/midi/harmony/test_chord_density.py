import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.harmony.chord_density import (
  OFF_BEAT,
  ON_BEAT,
  chord_density,
  measured_densities,
  register_of_keys,
)
from magenta_midi.midi.harmony.chord_symbols import NO_CHORD, parse_chord

SYMBOLS = "C Dm7 G7/B F#m7b5 Bbmaj7 Eb13#11 A7alt D7b9 Gsus4 B5 C6/9 E/D"


@pytest.mark.parametrize("symbol", SYMBOLS.split())
def test_chord_tones_are_denser_than_the_rest(symbol):
  chord = parse_chord(symbol)
  density = chord_density(chord)
  np.testing.assert_allclose(density.mean(axis=2), 1.0, atol=1e-2)
  assert density.min() > 0
  tones = np.isin(np.arange(12), chord.classes)
  above = density[:, 1]
  assert (
    above[:, tones].mean(axis=1) > 2 * above[:, ~tones].mean(axis=1)
  ).all()
  # Between beats there are more passing notes.
  assert above[OFF_BEAT, ~tones].mean() > above[ON_BEAT, ~tones].mean()


@pytest.mark.parametrize("symbol", SYMBOLS.split())
def test_the_bass_is_likeliest_at_the_bottom(symbol):
  chord = parse_chord(symbol)
  assert chord_density(chord)[ON_BEAT, 0].argmax() == chord.bass


def test_no_chord_prefers_nothing():
  assert (chord_density(NO_CHORD) == 1).all()


@given(st.sampled_from(SYMBOLS.split()), st.integers(-24, 24))
def test_densities_move_with_the_chord(symbol, by):
  chord = parse_chord(symbol)
  moved = chord_density(chord.transposed(by))
  np.testing.assert_array_equal(moved, np.roll(chord_density(chord), by, 2))


def test_a_quality_that_was_measured_is_as_measured():
  density = chord_density(parse_chord("C"))
  np.testing.assert_array_equal(density, measured_densities()[0, 4, 7])


def test_the_register_of_the_bass_ends_below_48():
  assert register_of_keys().tolist() == [False] * 48 + [True] * 80
