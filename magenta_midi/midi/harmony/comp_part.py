"""Comp as a score: a chart played plainly, a part of its own."""

from __future__ import annotations

import numpy as np

from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.chart import Chart
from magenta_midi.midi.harmony.comping import (
  BASE_VELOCITY,
  comp_hits,
  comp_velocity,
)
from magenta_midi.midi.score import Score

__all__ = ["COMP_PART", "comp_part"]

# Name of its track, in sessions too.
COMP_PART = "comp"


def comp_part(
  chart: Chart,
  grid: BeatGrid,
  until_s: float | int,
  *,
  velocity: float | int = BASE_VELOCITY,
  loudness: int = 0,
) -> Score:
  """The chart, round and round from the grid's beat on.

  Args:
    chart: Its first bar begins with the grid's beat.
    grid: Beats; nothing is struck before its beat.
    until_s: Nothing is struck from then on, and what sounds ends.
    velocity: Of the music beside it.
    loudness: Added to velocities.
  """
  rows: list[tuple[float, float, int, int]] = []
  hits, turn = comp_hits(chart), 0
  while grid.beat_s + turn * chart.beats * grid.period_s < until_s:
    for hit in hits:
      beat = turn * chart.beats + hit.beat
      at_s = grid.beat_s + beat * grid.period_s
      if at_s >= until_s:
        break
      struck = comp_velocity(hit, velocity, loudness)
      for key, beats in hit.keys:
        length_s = min(beats * grid.period_s, until_s - at_s)
        rows.append((at_s, length_s, key, struck))
    turn += 1
  onset_s, duration_s, key, struck = np.array(rows or [(0.0,) * 4]).T
  some = slice(0, len(rows))
  return Score.from_arrays(
    onset_s=onset_s[some],
    duration_s=duration_s[some],
    key=key[some].astype(int),
    velocity=struck[some].astype(int),
    part_names=(COMP_PART,),
  )
