import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.harmony.chord_symbols import (
  NO_CHORD,
  ChordSymbol,
  parse_chord,
)


def intervals(symbol: str) -> set[int]:
  return set(parse_chord(symbol).intervals)


# Degrees of C, in semitones, by spellings that mean the same.
SPELLINGS = [
  ("C CM Cmaj C:maj", {0, 4, 7}),
  ("Cm C- Cmin Cmi C:min", {0, 3, 7}),
  ("C7 Cdom7 C:7", {0, 4, 7, 10}),
  ("Cmaj7 CM7 CMaj7 Cma7 CΔ CΔ7 C^ C^7 C△7 Cj7 C7M C:maj7", {0, 4, 7, 11}),
  ("Cm7 C-7 Cmin7 Cmi7 C−7 C:min7", {0, 3, 7, 10}),
  ("Cm7b5 Cm7(b5) C-7b5 Cm7-5 Cø Cø7 Ch7 Ch Cm7♭5 C:hdim7", {0, 3, 6, 10}),
  ("Cdim Co C° C:dim", {0, 3, 6}),
  ("Cdim7 Co7 C°7 Cº7 C:dim7", {0, 3, 6, 9}),
  ("C+ Caug C(#5) C+5 C:aug", {0, 4, 8}),
  ("C+7 C7#5 C7+5 Caug7 C7+ C7(♯5)", {0, 4, 8, 10}),
  ("CmM7 Cm(maj7) C-Δ7 CmΔ Cminmaj7 C-^7 C:minmaj7", {0, 3, 7, 11}),
  ("C6 Cmaj6 C:maj6", {0, 4, 7, 9}),
  ("C6/9 C69 C6(9) C6add9", {0, 4, 7, 9, 2}),
  ("Cm6/9 C-69", {0, 3, 7, 9, 2}),
  ("Csus Csus4 C4 C:sus4", {0, 5, 7}),
  ("Csus2 C:sus2", {0, 2, 7}),
  ("C7sus C7sus4 C:sus4(b7)", {0, 5, 7, 10}),
  ("C9sus C9sus4 Csus9 C11", {0, 5, 7, 10, 2}),
  ("C7sus4b9 C7susb9 C7sus(b9)", {0, 5, 7, 10, 1}),
  ("Cadd9 C(add9) Cadd2 C2 C/9", {0, 4, 7, 2}),
  ("Cmadd9 Cm(add9) C-add9", {0, 3, 7, 2}),
  ("C5 C(no3) Comit3", {0, 7}),
  ("C9 C7/9 C7(9)", {0, 4, 7, 10, 2}),
  ("Cm9 C-9", {0, 3, 7, 10, 2}),
  ("C7b9 C7-9 C7(-9) C7(b9)", {0, 4, 7, 10, 1}),
  ("C7#9 C7+9", {0, 4, 7, 10, 3}),
  ("C13", {0, 4, 7, 10, 2, 9}),
  ("C13#11 C13(#11)", {0, 4, 7, 10, 2, 6, 9}),
  ("C13b9", {0, 4, 7, 10, 1, 9}),
  ("Cm11", {0, 3, 7, 10, 2, 5}),
  ("Cmaj9#11 C^9#11", {0, 4, 7, 11, 2, 6}),
  ("C7alt Calt C7(alt)", {0, 4, 10, 1, 3, 6, 8}),
  ("Cmaj7#5 C+M7 C^7#5 C+maj7", {0, 4, 8, 11}),
  ("C7b5", {0, 4, 6, 10}),
  ("C7#9b13 C7(#9,b13)", {0, 4, 7, 10, 3, 8}),
  ("Cdim(maj7) CoM7 C°Δ7", {0, 3, 6, 11}),
  ("C-b6 Cm(b6)", {0, 3, 7, 8}),
  ("C7susadd3", {0, 4, 5, 7, 10}),
  ("C:(1,3,5,b7,#11)", {0, 4, 6, 7, 10}),
  ("C:maj(*3)", {0, 7}),
]


@pytest.mark.parametrize(
  ("symbol", "expected"),
  [(one, found) for several, found in SPELLINGS for one in several.split()],
)
def test_every_spelling_means_its_pitch_classes(symbol, expected):
  assert intervals(symbol) == expected
  assert parse_chord(symbol).root == 0


@pytest.mark.parametrize(
  ("symbol", "root", "bass"),
  [
    ("Bb7/D", 10, 2),
    ("F#m7b5", 6, 6),
    ("Ebmaj7/Bb", 3, 10),
    ("C6/9/E", 0, 4),
    ("G#:min7/b7", 8, 6),
    ("C/D", 0, 2),
    ("E♭7", 3, 3),
    ("Gbb", 5, 5),
  ],
)
def test_roots_and_basses(symbol, root, bass):
  chord = parse_chord(symbol)
  assert (chord.root, chord.bass) == (root, bass)


def test_the_bass_is_told_apart_from_the_chord():
  assert set(parse_chord("C/D").classes) == {0, 4, 7}


@pytest.mark.parametrize("symbol", ["N.C.", "NC", "N", "n.c.", "no chord"])
def test_no_chord(symbol):
  assert parse_chord(symbol) == NO_CHORD


def test_what_tells_a_chord_apart_comes_first():
  assert parse_chord("D13#11").intervals == (0, 4, 10, 7, 2, 6, 9)


@pytest.mark.parametrize(
  ("symbol", "said"),
  [
    ("", "empty"),
    ("Hm7", "capital letter, A to G"),
    ("em7", "capital letter"),
    ("Cm7x", "'x' is not understood"),
    ("C/H", "'/H' is not understood"),
    ("Czz" + "9" * 60, "63 letters"),
    ("C:foo", "'foo' is no quality"),
    ("C:maj(", "not closed"),
    ("C:maj/x", "'x' is no degree"),
    ("C:(*3)", "no degrees"),
    ("\x1b[2J:maj", "colon"),
  ],
)
def test_what_is_no_chord_is_named(symbol, said):
  with pytest.raises(ValueError, match=said) as error:
    parse_chord(symbol)
  assert str(error.value).isprintable()


@given(st.text(max_size=60))
def test_any_text_is_a_chord_or_one_line(text):
  try:
    chord = parse_chord(text)
  except ValueError as error:
    assert str(error).isprintable()
  else:
    assert all(0 <= tone < 12 for tone in chord.classes)


PARTS = st.lists(
  st.sampled_from(
    [
      "m",
      "maj",
      "min",
      "-",
      "^",
      "7",
      "9",
      "11",
      "13",
      "6",
      "69",
      "b5",
      "#5",
      "b9",
      "#9",
      "#11",
      "b13",
      "sus",
      "sus2",
      "add9",
      "dim",
      "o",
      "h",
      "+",
      "aug",
      "alt",
      "no3",
      "5",
      "2",
      "4",
      "(b9)",
      "(",
      ")",
      ",",
      "M",
    ]
  ),
  max_size=5,
).map("".join)
ROOTS = st.sampled_from(
  ["C", "C#", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
)


@given(ROOTS, PARTS, ROOTS, st.integers(-30, 30))
def test_a_name_reads_as_its_chord_and_moves_with_it(root, parts, bass, by):
  try:
    chord = parse_chord(f"{root}{parts}/{bass}")
  except ValueError:
    return
  assert parse_chord(chord.name) == chord
  moved = chord.transposed(by)
  assert parse_chord(moved.name) == moved
  assert moved.intervals == chord.intervals
  assert len(set(chord.classes)) == len(chord.classes)


@given(
  ROOTS,
  st.sampled_from(["maj", "min7", "sus4(b7)", "hdim7", "(1,3)", "9(*5)"]),
  st.sampled_from(["", "/b7", "/3", "/#4"]),
)
def test_names_after_harte_read_as_their_chord(root, quality, bass):
  chord = parse_chord(f"{root}:{quality}{bass}")
  assert isinstance(chord, ChordSymbol)
  assert parse_chord(chord.name) == chord
