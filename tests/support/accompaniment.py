"""Music in time: chords, a bass and notes off the beat."""

import numpy as np

from magenta_midi.midi.score import Score


def accompaniment(beat_s, off_beat_s) -> Score:
  """Chords on beats, a bass on each fourth, a note so long after each."""
  rows = []
  for beat, at in enumerate(beat_s):
    rows += [(at, key) for key in (60, 64, 67)]
    rows += [(at, 40)] * (beat % 4 == 0) + [(at + off_beat_s, 72)]
  onset_s, key = zip(*sorted(rows), strict=True)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(len(rows), 0.1),
    key=key,
    velocity=np.full(len(rows), 70),
  )
