import numpy as np
import pytest

from magenta_midi.midi import Score
from magenta_midi.midi.analysis.onsets import find_onsets, melody_and_below
from magenta_midi.midi.analysis.texture import (
  accompaniment,
  arpeggio,
  chord_share,
  runs,
  single_line,
  stride,
)

MELODY = (0, 4, 2, 7, 5, 9, 7, 4, 2, 5, 4, 0, -1, 2, 0, 4)
ROOTS = (0, 5, 7, 0)
TRIAD = (0, 4, 7)


def score_of(*voices):
  """Rows of (onset, duration, key), played as well as hands can."""
  onset_s, duration_s, key = np.concatenate(voices).T
  error = np.random.default_rng(0).normal(0, 0.005, len(key))
  return Score.from_arrays(
    onset_s=onset_s + error + 1.0,
    duration_s=duration_s,
    key=key,
    velocity=np.full(len(key), 64),
  )


def line(keys, every_s, *, legato=0.95):
  at_s = np.arange(len(keys)) * every_s
  return np.stack([at_s, np.full(len(keys), every_s * legato), keys], 1)


def melody(n=20, every_s=0.5, key=72):
  return line(key + np.resize(MELODY, n), every_s)


def chords(n=5, every_s=2.0, tones=TRIAD, key=48):
  roots = key + np.resize(ROOTS, n)
  return np.concatenate([line(roots + tone, every_s) for tone in tones])


def alberti(n=40, every_s=0.25, key=48):
  return line(
    key + np.repeat(ROOTS, 8)[np.arange(n) % 32] + np.resize([0, 7, 4, 7], n),
    every_s,
  )


def arpeggios(n=66, every_s=0.15, key=48):
  tones = [0, 4, 7, 12, 16, 19, 24, 19, 16, 12, 7, 4]
  return line(key + np.resize(tones, n), every_s)


def scales(n=50, every_s=0.2, key=60):
  up = [0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2]
  return line(key + np.resize(up, n), every_s)


def stride_bass(n=16, beat_s=0.3):
  bass = line(36 + np.resize([0, -5], n), 2 * beat_s, legato=0.4)
  after = [
    line(np.full(n, 52 + tone), 2 * beat_s, legato=0.3) for tone in TRIAD
  ]
  for voice in after:
    voice[:, 0] += beat_s
  return np.concatenate([bass, *after])


def waltz_bass(n=8, beat_s=0.4):
  bass = line(38 + np.resize(ROOTS, n), 3 * beat_s, legato=0.3)
  after = []
  for beat in (1, 2):
    for tone in TRIAD:
      voice = line(np.full(n, 55 + tone), 3 * beat_s, legato=0.25)
      voice[:, 0] += beat * beat_s
      after.append(voice)
  return np.concatenate([bass, *after])


# Name: music, then the measures that are high and those that are none.
MUSIC = {
  "block chords": (
    [chords(12, 0.9, (*TRIAD, 12), 60)],
    {chord_share},
    {single_line, arpeggio, accompaniment, stride, runs},
  ),
  "chorale": (
    [
      line(key + np.resize([0, 2, 4, 5, 7, 5, 4, 2], 16), 0.6)
      for key in (48, 55, 64, 72)
    ],
    {chord_share},
    {single_line, arpeggio, accompaniment, stride, runs},
  ),
  "single line": (
    [melody(25, 0.4)],
    {single_line},
    {chord_share, arpeggio, accompaniment, stride, runs},
  ),
  "octaves": (
    [melody(25, 0.4), melody(25, 0.4, 60)],
    set(),
    {single_line, chord_share, arpeggio, accompaniment, stride, runs},
  ),
  "scale": (
    [scales()],
    {single_line, runs},
    {chord_share, arpeggio, accompaniment, stride},
  ),
  "Alberti bass": (
    [alberti()],
    {single_line, arpeggio},
    {chord_share, accompaniment, stride, runs},
  ),
  "melody over Alberti bass": (
    [alberti(), melody()],
    {arpeggio, accompaniment},
    {single_line, chord_share, stride, runs},
  ),
  "arpeggios": (
    [arpeggios()],
    {single_line, arpeggio},
    {chord_share, accompaniment, stride, runs},
  ),
  "melody over long chords": (
    [chords(), melody()],
    {accompaniment},
    {single_line, arpeggio, stride, runs},
  ),
  "scales over long chords": (
    [chords(), scales(key=72)],
    {accompaniment, runs},
    {single_line, arpeggio, stride},
  ),
  "stride": ([stride_bass()], {stride}, {arpeggio, runs}),
  "ragtime": (
    [stride_bass(), melody(63, 0.15)],
    {stride, accompaniment},
    {runs},
  ),
  "waltz": ([waltz_bass()], {chord_share}, {stride, arpeggio, runs}),
}


@pytest.mark.parametrize("name", MUSIC)
def test_known_textures(name):
  voices, high, none = MUSIC[name]
  score = score_of(*voices)
  for measure in high:
    assert 0.75 <= measure(score) <= 1.0, measure.__name__
  for measure in none:
    assert 0.0 <= measure(score) <= 0.1, measure.__name__


def test_half_of_each():
  first = score_of(alberti(40))
  second = score_of(chords(10, 1.0)).shifted(10.0)
  both = np.concatenate([first.notes, second.notes])
  both = Score.from_arrays(
    onset_s=both["onset_s"],
    duration_s=both["duration_s"],
    key=both["key"],
    velocity=both["velocity"],
  )
  assert arpeggio(both) == pytest.approx(0.8, abs=0.05)
  assert chord_share(both) == pytest.approx(30 / 70)


def test_notes_at_random_are_no_figures():
  rng = np.random.default_rng(0)
  rows = [
    np.sort(rng.uniform(0, 20, 150)),
    np.full(150, 0.3),
    rng.integers(40, 85, 150),
  ]
  score = score_of(np.stack(rows, 1))
  assert stride(score) == runs(score) == 0.0
  assert chord_share(score) < 0.15
  assert arpeggio(score) < 0.15


def test_fingers_that_overlap_are_one_line():
  assert single_line(score_of(line([60, 64, 67] * 8, 0.3, legato=1.2))) == 1.0
  assert single_line(score_of(line([60, 64, 67] * 8, 0.3, legato=2.0))) < 0.1


def test_melody_and_what_is_below():
  score = Score.from_arrays(
    onset_s=[0.0, 0.0, 0.5, 1.0, 2.0],
    duration_s=[0.4, 1.9, 0.4, 0.4, 1.0],
    key=[48, 72, 55, 76, 50],
    velocity=[64] * 5,
  )
  onsets = find_onsets(score)
  melody, below = melody_and_below(score.notes, onsets)
  assert melody.tolist() == [0, 2, 3]
  assert below.tolist() == [0, 1]


def test_little_or_nothing():
  measures = (chord_share, single_line, arpeggio, accompaniment, stride, runs)
  for measure in measures:
    assert measure(Score.empty()) == 0.0
    one = measure(score_of(line([60], 0.5)))
    assert one == (measure is single_line)
