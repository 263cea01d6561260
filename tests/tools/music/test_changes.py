import numpy as np
import pytest

from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.midi.score import Score
from tools.music.changes import COLUMNS, SECONDS, Told, figures

CHART = read_chart_text("| C | F |")


def notes(rows):
  onset_s, key = zip(*rows, strict=True)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(len(rows), 0.2),
    key=key,
    velocity=np.full(len(rows), 64),
  )


def measured(rows):
  """Figures at 120 beats a minute."""
  chords = CHART.timeline(BeatGrid.at_tempo(120), 0.0)
  told = Told(np.arange(60) * 0.5, 0, chords)
  return dict(zip(COLUMNS, figures(notes(rows), told, chords), strict=True))


def test_chord_tones_and_strong_beats():
  found = measured([(0.0, 60), (0.5, 62), (1.0, 64), (1.25, 61), (2.0, 64)])
  # In the second bar E is none.
  assert found["tones"] == pytest.approx(2 / 5)
  assert found["strong"] == pytest.approx(2 / 3)
  assert found["root"] == pytest.approx(1 / 5)
  assert found["notes/s"] == pytest.approx(5 / SECONDS)


def test_a_note_resolves_within_a_beat_and_two_semitones():
  assert measured([(0.0, 62), (0.5, 64)])["resolved"] == 1.0
  assert measured([(0.0, 62), (0.75, 64)])["resolved"] == 0.0
  assert measured([(0.0, 62), (0.5, 67)])["resolved"] == 0.0


def test_entropy_of_a_bar():
  even = [(0.0, 60), (0.5, 64), (1.0, 67), (1.5, 71)]
  assert measured(even)["bits"] == pytest.approx(2.0)
  same = [(0.0, 60), (0.5, 72), (1.0, 60), (1.5, 60)]
  assert measured(same)["bits"] == pytest.approx(0.0)
  assert measured(same)["same"] == pytest.approx(1 / 3)
