"""Live play over a chart: the key prior as an input of the compiled step."""

import numpy as np
import pytest

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import (
  chart_place,
  chart_timeline,
  live_chart,
  live_text,
)
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.testing import tiny_generator
from tests.support.engine_play import STEP, an_engine, planned_notes

BARS = Bars(120, 4, 130_000_000)
CHART = "| Dm7 | G7 | Bbmaj7 | F#m7b5 |"


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9)


def tones(notes, chart):
  chords = chart_timeline(live_chart(chart), BARS)
  found = [
    note.key % 12 in chord.classes
    for note in notes
    if (chord := chords.chord_at(note.time_ns / SECOND)).root is not None
  ]
  return np.mean(found)


def test_planned_notes_follow_the_chart_of_the_bars(generator):
  found = []
  for weight in (0.0, 1.0):
    engine = an_engine(generator, chords=CHART, chord_weight=weight)
    engine.set_bars(BARS)
    found.append(tones(planned_notes(engine, 120), CHART))
  # The drawn weights know nothing of chords.
  assert found[0] < 0.5
  assert found[1] > 0.75


def test_without_bars_a_chart_waits(generator):
  notes = [
    [(note.key, note.time_ns) for note in planned_notes(engine, 40)]
    for engine in (an_engine(generator, chords=CHART), an_engine(generator))
  ]
  assert notes[0] == notes[1]


def test_another_chart_or_weight_compiles_nothing(generator):
  engine = an_engine(generator)
  engine.warm_up()

  def say(index):
    now = index * STEP
    if index == 10:
      engine.set_bars(BARS)
    for at, name, value in (
      (15, "chords", CHART),
      (25, "chords", "| 3/4 C | Fm6 Bb7 |"),
      (35, "chord_weight", 0.2),
      (45, "chords", ""),
    ):
      if index == at:
        engine.set_controls(changed(engine.controls, name, value), now)

  with CompilationCounter() as counter:
    planned_notes(engine, 60, say)
  assert counter.count == 0


def test_a_place_goes_round_with_the_bars():
  chart = read_chart_text(CHART)
  assert chart_place(chart, BARS, BARS.start_ns - 1) is None
  second = chart_place(chart, BARS, BARS.start_ns + 5 * SECOND // 2)
  assert (second.bar, second.beat, second.chord.name) == (1, 1.0, "G7")
  again = chart_place(chart, BARS, BARS.start_ns + 9 * SECOND)
  assert (again.bar, again.chord.name) == (0, "Dm7")
  assert chart.after(again).name == "G7"
  vamp = read_chart_text("| C | C |")
  assert vamp.after(vamp.place(5)) is None


def test_charts_as_controls():
  controls = changed(Controls(), "chords", "|: C | F :|")
  assert controls.chords == "| 4/4 C | F | C | F |"
  assert changed(controls, "chords", controls.chords) == controls
  assert changed(controls, "chords", "").chords == ""
  with pytest.raises(ValueError, match="bar 2: 'Hm' is no chord"):
    changed(controls, "chords", "| C | Hm |")
  with pytest.raises(ValueError, match="chords must be a chart as text"):
    changed(controls, "chords", 3)
  long = read_chart_text("| Ebm7b5 Ab7alt | Gm7 C7 " * 60 + "|")
  with pytest.raises(ValueError, match="at most 1000 letters"):
    live_text(long)
