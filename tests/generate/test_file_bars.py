"""Bars of generated music in its file."""

import numpy as np
import pytest

from magenta_midi.generate.chart_start import priors_after
from magenta_midi.generate.file_bars import file_bars
from magenta_midi.generate.onset_prior import prior_after
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from tests.support.accompaniment import accompaniment

NOTHING = Score.empty()


def test_from_silence_bars_begin_at_once():
  priors = Priors(onset=prior_after(NOTHING, bpm=90, meter=Meter(3, 4)))
  found = file_bars(NOTHING, priors, 10.0, meter=Meter(3, 4))
  assert found.bars.tempo.bpm == pytest.approx([90])
  assert found.bars.meters == ((0.0, Meter(3, 4)),)
  assert found.later_s == 0.0


def test_the_start_beat_is_honored():
  onset = prior_after(NOTHING, bpm=90, start_beat=3)
  found = file_bars(NOTHING, Priors(onset=onset), 10.0, meter=Meter())
  # Two beats are left of the first bar.
  assert found.bars.tempo.bpm == pytest.approx([90])
  assert [meter for _, meter in found.bars.meters] == [Meter(2, 4), Meter()]
  assert found.bars.meters[1][0] == pytest.approx(2 * 60 / 90)


def test_without_a_beat_there_are_none():
  assert file_bars(NOTHING, Priors(), 10.0, meter=Meter()) is None


def test_the_chart_stands_in_its_bars_and_in_its_meters():
  chart = read_chart_text("| 4/4 Dm7 G7 | 3/4 C |")
  priors = priors_after(NOTHING, chart, bpm=120)
  found = file_bars(NOTHING, priors, 6.0, meter=chart.meter, chart=chart).bars
  chords = [(round(t, 6), name) for t, name in found.chords]
  assert chords == [
    *[(0.0, "Dm7"), (1.0, "G7"), (2.0, "C")],
    *[(3.5, "Dm7"), (4.5, "G7"), (5.5, "C")],
  ]
  meters = [(round(t, 6), meter.count) for t, meter in found.meters[:4]]
  assert meters == [(0.0, 4), (2.0, 3), (3.5, 4), (5.5, 3)]


def test_a_context_that_sways_has_its_own_beats():
  beat_s = 0.4 + 0.6 * np.arange(32) + 0.06 * np.sin(np.arange(32) / 4)
  context = accompaniment(beat_s, 0.3)
  priors = Priors(onset=prior_after(context))
  found = file_bars(context, priors, 30.0, meter=Meter())
  at = found.bars.tempo.beats_at(beat_s)
  # Tracked to some milliseconds; a steady grid would be up to 0.1 off.
  assert np.abs(at - np.round(at)).max() < 0.05
  assert np.diff(np.round(at)).tolist() == [1] * 31


def test_the_count_in_comes_before_the_music_and_through_its_first_bar():
  onset = prior_after(NOTHING, bpm=60, start_beat=3)
  found = file_bars(
    NOTHING, Priors(onset=onset), 8.0, meter=Meter(), count_in=1
  )
  # A bar, and the first two beats of the bar in which the music begins.
  assert found.later_s == pytest.approx(6.0)
  clicks = found.bars.clicks
  assert [click.time_s for click in clicks] == pytest.approx(list(range(6)))
  assert [click.accent for click in clicks] == [
    *[True, False, False, False],
    *[True, False],
  ]
  assert found.bars.meters == ((0.0, Meter()),)
