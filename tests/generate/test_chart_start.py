"""Where a chart begins after a context."""

import numpy as np
import pytest

from magenta_midi.cli.terminal import chart_options
from magenta_midi.generate.chart_start import USUAL_BPM, priors_after
from magenta_midi.generate.key_prior import USUAL_WEIGHT
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.midi.score import Score
from tests.support.accompaniment import accompaniment

CHART = read_chart_text("| Dm7 | G7 |")


def pop(bpm):
  """An accompaniment in time."""
  return accompaniment(0.4 + np.arange(24) * 60 / bpm, 30 / bpm)


def test_from_silence_it_begins_at_once():
  priors = priors_after(Score.empty(), CHART)
  assert priors.onset.grid.bpm == USUAL_BPM
  assert priors.key.weight == USUAL_WEIGHT
  assert priors.key.chords.chord_at(0.0).name == "Dm7"
  assert priors.key.chords.chord_at(2.0).name == "G7"


def test_it_goes_on_with_the_beat_of_the_context():
  context = pop(100)
  priors = priors_after(context, CHART)
  end_s = context.notes["onset_s"].max()
  first_s = priors.key.chords.start_s[0]
  # The last onset is half a beat before the next beat.
  assert first_s == pytest.approx(end_s + 0.3, abs=0.05)
  assert priors.onset.grid.bpm == pytest.approx(100, rel=0.02)
  assert priors.onset.grid.places(np.array([first_s]))[0] == pytest.approx(0)


def test_the_tempo_of_the_chart_counts_unless_another_is_asked_for():
  chart = read_chart_text("Tempo: 90\nMeter: 6/8\n| C | F |")
  priors = priors_after(Score.empty(), chart)
  assert priors.onset.grid.bpm == pytest.approx(90)
  assert priors.onset.grid.beats_per_bar == 2
  assert priors.onset.groove.name == "triplet"
  asked = priors_after(Score.empty(), chart, bpm=60, groove="straight")
  assert asked.onset.grid.bpm == pytest.approx(60)
  assert asked.onset.groove.name == "straight"


def test_without_a_beat_the_chart_still_has_its_time():
  priors = priors_after(Score.empty(), CHART, bpm=60, tightness=0)
  assert priors.onset is None
  assert priors.key.chords.chord_at(4.5).name == "G7"


@pytest.mark.parametrize("bpm", [0, 1000])
def test_impossible_tempos_are_refused(bpm):
  with pytest.raises(ValueError, match="tempo must be a number"):
    priors_after(Score.empty(), CHART, bpm=bpm)


def test_the_command_line_has_the_usual_weight():
  assert chart_options.WEIGHT == USUAL_WEIGHT
