"""Start of a chart: the first beat after the context."""

from __future__ import annotations

import math

from magenta_midi.generate.key_prior import USUAL_WEIGHT, chart_prior
from magenta_midi.generate.onset_prior import OnsetPrior, prior_after
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import AUTO
from magenta_midi.midi.harmony.chart import Chart
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.player_grooves import find_groove

__all__ = ["USUAL_BPM", "priors_after"]

# Used if neither the user nor the chart nor the context gives a tempo.
USUAL_BPM = 120.0
# A beat that comes so soon after the context is taken for the first, s.
_SOON_S = 0.03


def priors_after(
  context: Score,
  chart: Chart,
  *,
  bpm: float | int | None = None,
  groove: str = AUTO,
  tightness: float | int = 1.0,
  weight: float | int = USUAL_WEIGHT,
) -> Priors:
  """The priors of a chart that goes round from the end of a context on.

  Args:
    context: Music to continue, or an empty score.
    chart: What to play over.
    bpm: Beats a minute; None: those that the chart asks for, else the pulse of
      the context, else `USUAL_BPM`.
    groove: See `prior_after`.
    tightness: See `prior_after`; 0 keeps no beat, and the chart still has one.
    weight: See `KeyPrior`.

  Raises:
    ValueError: A number or name is out of range.
  """
  if bpm is None:
    bpm = chart.bpm
  if groove == AUTO and chart.meter.triplets:
    groove = "triplet"
  onset = prior_after(context, bpm=bpm, groove=groove, tightness=tightness)
  if onset is None:
    grid = BeatGrid.at_tempo(USUAL_BPM, beat_s=_end_s(context))
    name = "straight" if groove == AUTO else groove
    found, factor = find_groove(name, grid.bpm)
    onset = OnsetPrior(grid, found, float(tightness) * factor)
  grid = onset.grid
  ahead_s = _end_s(context) - _SOON_S - grid.beat_s
  first_s = grid.beat_s + grid.period_s * math.ceil(ahead_s / grid.period_s)
  grid = grid._replace(beat_s=first_s, place=0, beats_per_bar=chart.meter.beats)
  return Priors(
    onset=onset._replace(grid=grid) if tightness else None,
    key=chart_prior(chart, grid, first_s, weight=weight),
  )


def _end_s(context: Score) -> float:
  return float(context.notes["onset_s"].max(initial=0.0))
