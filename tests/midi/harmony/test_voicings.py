"""Shells tell chords apart, and lead from one to the next."""

import itertools

import pytest

from magenta_midi.midi.harmony.chord_symbols import NO_CHORD, parse_chord
from magenta_midi.midi.harmony.voicings import shell_tones, voicings

# Semitones over C, by quality.
SHELLS = {
  "C": {4, 7},
  "Cm": {3, 7},
  "Cdim": {3, 6},
  "C+": {4, 8},
  "C7": {4, 10},
  "Cmaj7": {4, 11},
  "Cm7": {3, 10},
  "CmMaj7": {3, 11},
  "Cm7b5": {3, 6, 10},
  "Co7": {3, 6, 9},
  "C6": {4, 9},
  "Cm6": {3, 9},
  "C6/9": {4, 9},
  "C13": {4, 10},
  "C11": {5, 10},
  "C7alt": {4, 10},
  "C7#9": {4, 10},
  "C7#5": {4, 8, 10},
  "Csus4": {5, 7},
  "Csus2": {2, 7},
  "C7sus4": {5, 10},
  "C5": {7},
  "C(no3)": {7},
  "C:1": {0},
  "N.C.": set(),
}


@pytest.mark.parametrize("name", SHELLS)
def test_the_shell_of_each_quality(name):
  assert set(shell_tones(parse_chord(name))) == SHELLS[name]


@pytest.mark.parametrize("root", range(12))
@pytest.mark.parametrize("name", SHELLS)
def test_every_chord_lies_well_in_every_key(name, root):
  chord = parse_chord(name).transposed(root)
  (voicing,) = voicings([chord])
  if name == "N.C.":
    assert voicing == ((), ())
    return
  assert [key % 12 for key in voicing.bass] == [chord.bass]
  assert {key % 12 for key in voicing.shell} == set(shell_tones(chord))
  assert 33 <= voicing.bass[0] < 49 <= voicing.shell[0]
  assert voicing.shell[-1] < 68
  assert voicing.shell[-1] - voicing.shell[0] <= 12


def test_a_slash_says_the_bass():
  (voicing,) = voicings([parse_chord("C7/E")])
  assert voicing.bass[0] % 12 == 4
  assert {key % 12 for key in voicing.shell} == {4, 10}


def led(names):
  return voicings(map(parse_chord, names.split()))


def test_guide_tones_move_by_steps_where_roots_fall_by_fifths():
  two, five, one = (set(v.shell) for v in led("Dm7 G7 Cmaj7"))
  # The third becomes the seventh, the seventh falls by a semitone.
  assert len(two & five) == len(five & one) == 1
  assert max(two - five) - max(five - two) == 1
  # All dominants, twice around: a line that has sunk too low begins anew.
  found = led("C7 F7 Bb7 Eb7 Ab7 Db7 F#7 B7 E7 A7 D7 G7 " * 2)
  steps = [
    min(abs(key - old) for old in before.shell) <= 1
    for before, after in itertools.pairwise(found)
    for key in after.shell
  ]
  assert sum(steps) >= 0.9 * len(steps)


def test_silence_does_not_break_the_line():
  chords = [parse_chord("Dm7"), NO_CHORD, parse_chord("G7")]
  with_pause = voicings(chords)
  assert with_pause[1] == ((), ())
  assert [with_pause[0], with_pause[2]] == voicings([chords[0], chords[2]])
