import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.chart import (
  Bar,
  Chart,
  spread_chords,
)
from magenta_midi.midi.harmony.chord_symbols import NO_CHORD, parse_chord
from magenta_midi.midi.harmony.text_chart import chart_text, read_chart_text
from magenta_midi.midi.meter import Meter


def names(text: str) -> list[str]:
  """Each bar's chords as played."""
  return [
    " ".join(chord.name for _, chord in bar.changes)
    for bar in read_chart_text(text).bars
  ]


def test_bars_and_the_beats_of_their_chords():
  chart = read_chart_text("| Em7 | A7 Dmaj7 | C G/B F | Bb / / Eb |")
  assert [bar.changes for bar in chart.bars[1:]] == [
    ((0.0, parse_chord("A7")), (2.0, parse_chord("Dmaj7"))),
    (
      (0.0, parse_chord("C")),
      (2.0, parse_chord("G/B")),
      (3.0, parse_chord("F")),
    ),
    ((0.0, parse_chord("Bb")), (3.0, parse_chord("Eb"))),
  ]


@pytest.mark.parametrize(
  ("text", "played"),
  [
    ("| C | % | F |", "C C F"),
    ("|: C | F :| G |", "C F C F G"),
    ("|: C | F :|x3 G |", "C F C F C F G"),
    ("|: C |1. F :|2. G | A |", "C F C G A"),
    ("|: C |1,2. F :|3. G | A |", "C F C F C G A"),
    ("C | F :| G |", "C F C F G"),
    ("|: C :|: D :|", "C C D D"),
    ("|: C ::| D |", None),
    ("[A] | C || F |]\n[B section]\n| G |", "C F G"),
    ("# a remark | X |\n| C |", "C"),
    ("| G7[b9] | C[maj7] |", "G7 b9 Cmaj7"),
  ],
)
def test_repeats_are_played_out(text, played):
  if played is None:
    with pytest.raises(ValueError, match="bar 1"):
      names(text)
  else:
    assert " ".join(names(text)) == played


def test_what_a_chart_says_of_itself():
  chart = read_chart_text("Title: So and so\nTempo: 132\nMeter: 3/4\n| C F |")
  assert (chart.title, chart.bpm, chart.meter) == ("So and so", 132, (3, 4))
  assert chart.bars[0].changes[1][0] == 2.0


def test_a_meter_holds_from_its_bar_on():
  chart = read_chart_text("| C | 3/4 F | % | 4/4 G |")
  assert [bar.meter.beats for bar in chart.bars] == [4, 3, 3, 4]
  assert chart.beats == 14


def test_compound_meters_count_dotted_quarters():
  assert [Meter.parse(x).beats for x in ("6/8", "12/8", "3/8", "5/4")] == [
    2,
    4,
    3,
    5,
  ]


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("", "must have bars"),
    ("Em7 A7", "must have bars between lines"),
    ("| | |", "must have bars"),
    ("| / / |", "must have a chord"),
    ("| Em7 | A7 | Hm |", "bar 3: 'Hm' is no chord"),
    ("| % |", "bar 1"),
    ("|: C :|x99", "bar 1: a repeat must be played 1 to 64"),
    ("| 4/5 C |", "bar 1: a meter"),
    ("|" + " C" * 17 + "|", "bar 1: at most 16"),
    ("| C" + " /" * 128 + "|", "bar 1: at most 16"),
    ("| C5no5no1 |", "bar 1: 'C5no5no1' is no chord"),
    ("Tempo: 1000\n| C |", "the chart's tempo"),
    ("| C " * 5000, "at most 4096 bars"),
    ("|: C " * 30 + ":|x64" * 3 + "|: C | C " * 2000 + ":|x64", "4096"),
    ("| C |" * 100_000, "letters"),
  ],
)
def test_bad_charts_give_one_line(text, said):
  with pytest.raises(ValueError, match=said) as error:
    read_chart_text(text)
  assert str(error.value).isprintable()


@given(st.text(alphabet="|:%/. x123[]CGm7b#\n\x1b", max_size=60))
def test_any_text_is_a_chart_or_one_line(text):
  try:
    chart = read_chart_text(text)
  except ValueError as error:
    assert str(error).isprintable()
  else:
    assert chart.beats > 0


CHORDS = ("C", "Dm7", "G7/B", "F#m7b5", "Bbmaj7", "C(b5)", "N.C.")
CHORDS += ("A:min7/b7", "Eb13#11")
METERS = (Meter(), Meter(3, 4), Meter(6, 8), Meter(5, 4))
# Meter, half beats with their chords, and whether these are spread evenly.
BARS = st.lists(
  st.tuples(
    st.sampled_from(METERS),
    st.dictionaries(st.integers(0, 3), st.sampled_from(CHORDS)),
    st.booleans(),
  ),
  min_size=1,
  max_size=8,
).filter(lambda bars: any(chords for _, chords, _ in bars))


def bar_of(meter: Meter, chords: dict[int, str], spread: bool) -> Bar:
  changes = [(half / 2, parse_chord(chords[half])) for half in sorted(chords)]
  if spread:
    return Bar(meter, spread_chords([c for _, c in changes], meter.beats))
  return Bar(meter, tuple(changes))


@given(BARS)
def test_a_chart_reads_as_it_was_written(bars):
  bars = tuple(bar_of(*bar) for bar in bars)
  chart = Chart(bars, title="A tune", bpm=120.5)
  assert read_chart_text(chart_text(chart)) == chart


@given(BARS, st.floats(0, 500), st.floats(0.2, 2.0))
def test_time_and_beats_name_the_same_chord(bars, beat, period_s):
  chart = Chart(tuple(bar_of(*bar) for bar in bars))
  timeline = chart.timeline(BeatGrid(0.0, period_s), 7.0)
  # Not within the tolerance of a change.
  time_s = 7.0 + beat * period_s
  around = timeline.numbers(time_s + np.array([-0.1, 0.0, 0.1]))
  if (around == around[0]).all():
    assert timeline.chord_at(time_s) == chart.place(beat).chord


@given(BARS, st.floats(-5, 60), st.floats(0.1, 30))
def test_what_begins_in_a_stretch_is_what_sounds_there(bars, from_s, length_s):
  chart = Chart(tuple(bar_of(*bar) for bar in bars))
  timeline = chart.timeline(BeatGrid(0.0, 0.5), 1.0)
  found = timeline.between(from_s, from_s + length_s)
  times = [time_s for time_s, _ in found]
  assert times == sorted(times)
  assert all(time_s < from_s + length_s for time_s in times)
  if from_s >= 1.0:
    assert times[0] <= from_s
  for time_s, chord in found:
    assert timeline.chord_at(time_s + 1e-6) == chord
  # Nothing is left out.
  inside = np.arange(max(1.0, from_s), from_s + length_s, 0.05)
  for time_s in inside.tolist():
    before = [c for at_s, c in found if at_s <= time_s + 0.03]
    if before:
      assert before[-1] == timeline.chord_at(time_s)


def test_before_its_start_a_timeline_has_no_chord():
  timeline = read_chart_text("| C | F |").timeline(BeatGrid(0.0, 0.5), 3.0)
  assert timeline.chord_at(2.9) == NO_CHORD
  # A note that comes a little early means the chord that comes.
  assert timeline.chord_at(4.99).name == "F"
  # And round again.
  assert timeline.chord_at(7.0).name == "C"


def test_a_chart_that_begins_with_a_rest_has_its_last_chord_there():
  assert read_chart_text("| / | C | F |").place(0).chord.name == "F"


def test_room_between_two_lines_is_a_bar_that_goes_on():
  chart = read_chart_text("| C | | F | G |\n | A |")
  assert [len(bar.changes) for bar in chart.bars] == [1, 0, 1, 1, 1]
  assert chart.place(6).chord.name == "C"


@pytest.mark.parametrize("beat", [3.75, 2 + 1 / 3, 4 + 2 / 3])
def test_few_chords_anywhere_in_long_bars_are_written_and_read(beat):
  changes = ((0.0, parse_chord("C")), (beat, parse_chord("F")))
  bar = Bar(Meter(9, 4), changes)
  (found,) = read_chart_text(chart_text(Chart((bar,)))).bars
  assert [chord for _, chord in found.changes] == [c for _, c in changes]
  assert found.changes[1][0] == pytest.approx(beat)
