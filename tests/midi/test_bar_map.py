"""Bars of a file stand where the music's beats are."""

import io

import mido
import numpy as np
import pytest

from magenta_midi.midi.bar_map import BarMap, TimedBeat
from magenta_midi.midi.clicks import Click
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score


def steady(first_s, period_s, count, *, place=0, meter=None):
  meter = meter or Meter()
  return [
    TimedBeat(first_s + i * period_s, (place + i) % meter.beats, meter)
    for i in range(count)
  ]


def events(data):
  """Every message of a file with its time in quarter notes and seconds."""
  file = mido.MidiFile(file=io.BytesIO(data))
  tick, second, us, found = 0, 0.0, 500_000, []
  for message in mido.merge_tracks(file.tracks):
    tick += message.time
    second += message.time * us * 1e-6 / file.ticks_per_beat
    if message.type == "set_tempo":
      us = message.tempo
    found.append((tick / file.ticks_per_beat, second, message))
  return found


def some_notes(until_s):
  onset_s = np.random.default_rng(5).uniform(0, until_s, 200)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(200, 0.01),
    key=np.arange(200) % 88 + 21,
    velocity=np.full(200, 60),
  )


METERS = [Meter(), Meter(3, 4), Meter(6, 8), Meter(7, 8)]


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("first_s", [0.0, 0.1, 0.45, 2.9])
@pytest.mark.parametrize("place", [0, 1])
def test_beats_stand_on_the_files_beats_and_notes_where_they_were(
  meter, first_s, place
):
  beats = steady(first_s, 60 / 97.3, 30, place=place, meter=meter)
  score = some_notes(15.0)
  data = score.to_bytes(bars=BarMap.of_beats(beats))
  again = Score.from_bytes(data)
  np.testing.assert_allclose(
    again.notes["onset_s"], score.notes["onset_s"], atol=1e-4
  )
  at = again.tempo.beats_at(np.array([beat.time_s for beat in beats[1:]]))
  on_beat = at / meter.quarters
  np.testing.assert_allclose(on_beat, np.round(on_beat), atol=1e-3)
  # Bars are counted from signature to signature.
  lines = [
    (at, message.numerator * 4 / message.denominator)
    for at, _, message in events(data)
    if message.type == "time_signature"
  ]
  for beat, quarter in zip(beats[1:], at, strict=True):
    start, length = [line for line in lines if line[0] <= quarter + 1e-3][-1]
    inside = (quarter - start + 1e-3) % length
    expected = beat.place * meter.quarters
    if start == lines[0][0] and len(lines) > 1:
      # The bar that has begun when the file begins.
      expected -= meter.beats * meter.quarters - length
    assert inside == pytest.approx(expected, abs=2e-3)


def test_beats_that_sway_are_followed():
  beat_s = np.cumsum(np.random.default_rng(0).uniform(0.4, 0.6, 20))
  beats = [TimedBeat(t, i % 4) for i, t in enumerate(beat_s.tolist())]
  score = some_notes(8.0)
  again = Score.from_bytes(score.to_bytes(bars=BarMap.of_beats(beats)))
  at = again.tempo.beats_at(beat_s)
  np.testing.assert_allclose(np.diff(at), 1.0, atol=1e-3)
  np.testing.assert_allclose(at, np.round(at), atol=1e-3)
  np.testing.assert_allclose(
    again.notes["onset_s"], score.notes["onset_s"], atol=1e-4
  )


def test_a_steady_beat_is_one_tempo():
  bars = BarMap.of_beats(steady(0.0, 60 / 97.3, 1000))
  assert bars.tempo.bpm == pytest.approx([97.3])
  assert bars.meters == ((0.0, Meter()),)


def test_chords_and_clicks_stand_in_the_file():
  bars = BarMap.of_beats(
    steady(0.0, 0.5, 12),
    chords=[(2.0, "Dm7"), (3.0, "G7#11")],
    clicks=[Click(0.5 * i, i == 0) for i in range(4)],
  )
  found = events(some_notes(6.0).to_bytes(bars=bars))
  marked = [(round(s, 6), m.text) for _, s, m in found if m.type == "marker"]
  assert marked == [(2.0, "Dm7"), (3.0, "G7#11")]
  clicks = [
    (round(s, 4), m.note)
    for _, s, m in found
    if m.type == "note_on" and m.velocity and m.channel == 9
  ]
  assert clicks == [(0.0, 76), (0.5, 77), (1.0, 77), (1.5, 77)]
  # Not even the count-in is taken for the player's notes when it is read.
  again = Score.from_bytes(some_notes(6.0).to_bytes(bars=bars))
  assert len(again) == len(some_notes(6.0))


def test_one_beat_is_no_bar():
  with pytest.raises(ValueError, match="two beats"):
    BarMap.of_beats(steady(0.0, 0.5, 1))
