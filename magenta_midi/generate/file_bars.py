"""Bars of generated music, as its file has them: where its beats fall."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from magenta_midi.generate.onset_prior import SURE
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.analysis.beats import track_beats
from magenta_midi.midi.bar_map import BarMap, TimedBeat
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.clicks import Click
from magenta_midi.midi.harmony.chart import Chart
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float

__all__ = ["FileBars", "file_bars"]

# Beats of a context that are all so near to the grid are on it, s.
_ON_GRID_S = 0.02


class FileBars(NamedTuple):
  """Bars of a file.

  Attributes:
    bars: Of the file, count-in first.
    later_s: How much later than in the given times the music begins in it.
  """

  bars: BarMap
  later_s: float = 0.0


def file_bars(
  context: Score,
  priors: Priors,
  until_s: float | int,
  *,
  meter: Meter,
  chart: Chart | None = None,
  count_in: int = 0,
) -> FileBars | None:
  """The bars of a context and of the music that goes on from it.

  The grid of the priors goes back to the beginning of the context. Where the
  context has a clear pulse that is not so steady, its own beats count there.

  Args:
    context: What is continued, or an empty score.
    priors: With which the music is made.
    until_s: Where the music ends.
    meter: Of the bars; of those before the chart, if there is one.
    chart: That begins with the grid's beat.
    count_in: So many bars of clicks, and the clicks of the bar that has begun
      when the music begins.

  Returns:
    None where there is no beat.
  """
  grid = _grid(priors)
  if grid is None:
    return None
  before = _tracked(context, grid)
  beats, place = [], grid.place
  for time_s in before[::-1]:
    place = (place - 1) % meter.beats
    beats.insert(0, TimedBeat(time_s, place, meter))
  chords: list[tuple[float, str]] = []
  # Two beats more: a file of less than a bar has a tempo too.
  for beat, names in _forward(grid, meter, chart):
    beats.append(beat)
    chords += [entry for entry in names if entry[0] < until_s]
    if len(beats) > 2 and beat.time_s > until_s + 2 * grid.period_s:
      break
  clicks, later_s = [], 0.0
  if count_in:
    beats, clicks, later_s = _with_count_in(beats, count_in)
  bars = BarMap.of_beats(
    beats,
    chords=[(time_s + later_s, name) for time_s, name in chords],
    clicks=clicks,
  )
  return FileBars(bars, later_s)


def _grid(priors: Priors) -> BeatGrid | None:
  if priors.onset is not None:
    return priors.onset.grid
  return None if priors.key is None else priors.key.grid


def _tracked(context: Score, grid: BeatGrid) -> Float[np.ndarray, " n"]:
  """Times of the beats before the grid's beat, s; the first is early."""
  count = math.ceil(max(grid.beat_s, 0.0) / grid.period_s) + 1
  even = grid.beat_s - grid.period_s * np.arange(count, 0, -1)
  if not len(context):
    return even
  found = track_beats(context)
  time_s = found.time_s[found.time_s < grid.beat_s - grid.period_s / 2]
  if found.confidence < SURE or len(time_s) < 2:
    return even
  off = (time_s - grid.beat_s) / grid.period_s
  if np.abs(off - np.round(off)).max() * grid.period_s < _ON_GRID_S:
    return even
  # Between the last that was tracked and the first of the grid.
  count = round((grid.beat_s - time_s[-1]) / grid.period_s) - 1
  between = np.linspace(time_s[-1], grid.beat_s, count + 2)[1:-1]
  period_s = time_s[1] - time_s[0]
  early = math.ceil(max(time_s[0], 0.0) / period_s) + 1
  first = time_s[0] - period_s * np.arange(early, 0, -1)
  return np.concatenate([first, time_s, between])


def _forward(
  grid: BeatGrid, meter: Meter, chart: Chart | None
) -> Iterator[tuple[TimedBeat, list[tuple[float, str]]]]:
  """Beats from the grid's on, each with the chords that begin in it."""
  if chart is None:
    count = 0
    while True:
      time_s = grid.beat_s + count * grid.period_s
      place = (grid.place + count) % meter.beats
      yield TimedBeat(time_s, place, meter), []
      count += 1
  done = 0
  while True:
    for bar in chart.bars:
      for place in range(bar.meter.beats):
        chords = [
          (grid.beat_s + (done + beat) * grid.period_s, chord.name)
          for beat, chord in bar.changes
          if place <= beat < place + 1
        ]
        time_s = grid.beat_s + (done + place) * grid.period_s
        yield TimedBeat(time_s, place, bar.meter), chords
      done += bar.meter.beats


def _with_count_in(
  beats: list[TimedBeat], count_in: int
) -> tuple[list[TimedBeat], list[Click], float]:
  """Whole bars before the music; their clicks; how much later it begins."""
  # Where the music begins, a bar has begun that the clicks go through.
  begun = next(i for i, beat in enumerate(beats) if beat.time_s > 1e-4)
  beats = beats[max(begun - 1, 0) :]
  period_s = beats[1].time_s - beats[0].time_s
  meter = beats[0].meter
  for _ in range(beats[0].place + count_in * meter.beats):
    first = beats[0]
    beats.insert(
      0,
      TimedBeat(
        first.time_s - period_s, (first.place - 1) % meter.beats, meter
      ),
    )
  later_s = -beats[0].time_s
  # Half a beat: a beat that the music itself begins on is not clicked.
  clicks = [
    Click(beat.time_s + later_s, beat.place == 0)
    for beat in beats
    if beat.time_s < -1e-4
  ]
  moved = [beat._replace(time_s=beat.time_s + later_s) for beat in beats]
  return moved, clicks, later_s
