"""A prior on onsets: notes where the beat is likely to be struck.

The logarithm of a groove's density is added to the logits of the onset level.
So what the model knows and what the beat says are multiplied. A table is an
input of the compiled decoder: another beat or groove compiles nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.limits import TIGHTNESS, Bounds
from magenta_midi.midi.analysis.beats import track_beats
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import AUTO, Groove, split_groove
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.player_grooves import find_groove
from magenta_midi.typing import Float

__all__ = ["SURE", "OnsetPrior", "prior_after"]

# From this confidence on, a tracked pulse is kept.
SURE = 0.5
# The end of a context that its pulse is taken from, s.
_LISTEN_S = 30.0


class OnsetPrior(NamedTuple):
  """Where onsets are wanted.

  Attributes:
    grid: Beats, in seconds of the session.
    groove: Density in a beat.
    tightness: Weight of the groove's logarithm: 0 plays freely, 1 weighs it
      like what the model knows, 2 hardly leaves the grid.
    confidence: Of a tracked pulse, `SURE` to 1; None: it was asked for.
  """

  grid: BeatGrid
  groove: Groove
  tightness: float = 1.0
  confidence: float | None = None

  def table(
    self, start_s: float | int, steps: int, step_s: float
  ) -> Float[np.ndarray, " s"]:
    """What is added to the logits of onsets at each step from a time, nats."""
    time_s = start_s + step_s * np.arange(steps)
    wanted = self.groove.log_density(self.grid.places(time_s))
    return (self.tightness * wanted).astype(np.float32)


def prior_after(
  context: Score,
  *,
  bpm: float | int | None = None,
  groove: str = AUTO,
  tightness: float | int = 1.0,
  meter: Meter | None = None,
  start_beat: float | int | None = None,
) -> OnsetPrior | None:
  """The prior with which a context's pulse goes on.

  The beats of the context's last 30 s are tracked. With a confidence below
  `SURE` there is no prior: free playing stays free.

  Args:
    context: Music to continue.
    bpm: Tempo from the context's last beat on; None: that of its last beats.
      With it there is always a prior; without beats in the context its first
      beat is at the context's end.
    groove: `NAME[:WEIGHT]`: one of `GROOVES` or a player's `@NAME`; `auto`:
      straight or triplet, as the context is. The weight is a factor on the
      tightness.
    tightness: 0 to 2; see `OnsetPrior`.
    meter: Of the bars; None: 4/4, as it is tracked.
    start_beat: The beat of the bar, counted from 1, that falls on the first
      step after the context; 2.5 is half way from the second to the third.
      None: the context's last beat goes on. Needs `bpm`.

  Raises:
    ValueError: Tempo, groove, tightness or beat is out of range.
  """
  tightness = TIGHTNESS.check("tightness", tightness)
  meter = meter or Meter()
  end_s = float(context.notes["onset_s"].max(initial=0.0))
  start_s = max(0.0, end_s - _LISTEN_S)
  beats = track_beats(context.crop(start_s))
  grid = BeatGrid.after(beats) if beats.confidence >= SURE else None
  if grid is not None:
    grid = grid._replace(beat_s=grid.beat_s + start_s)
  if start_beat is not None and bpm is None:
    raise ValueError("start_beat counts beats of a tempo: give one.")
  if bpm is not None:
    asked = BeatGrid.at_tempo(bpm, beat_s=end_s, beats_per_bar=meter.beats)
    if start_beat is not None:
      asked = _started(asked, start_beat, end_s if len(context) else 0.0)
    elif grid is not None:
      asked = asked._replace(beat_s=grid.beat_s, place=grid.place)
    grid = asked
  if grid is None:
    return None
  grid = grid._replace(
    beats_per_bar=meter.beats, place=grid.place % meter.beats
  )
  name, weight = split_groove(groove)
  if name == AUTO:
    triplets = beats.triplets or meter.triplets
    groove = f"{'triplet' if triplets else 'straight'}:{weight:g}"
  found, weight = find_groove(groove, grid.bpm)
  return OnsetPrior(
    grid,
    found,
    tightness * weight,
    beats.confidence if bpm is None else None,
  )


def _started(
  grid: BeatGrid, start_beat: float | int, start_s: float
) -> BeatGrid:
  """The grid with a beat of the bar, counted from 1, at a time."""
  top = Bounds(1, grid.beats_per_bar + 1, "beat of the bar", below=True)
  place = top.check("the start beat", start_beat) - 1
  whole = int(place)
  return grid._replace(
    beat_s=start_s - (place - whole) * grid.period_s, place=whole
  )
