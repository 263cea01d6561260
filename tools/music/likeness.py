"""Figures of generated music, beside those of real continuations."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from magenta_midi.generate.generator import CONTEXT_S
from magenta_midi.generate.repetition import RUN
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int, Shaped
from tools.music.continuations import Take

__all__ = [
  "CHUNK_S",
  "QUANTITIES",
  "Quantity",
  "chunk_notes",
  "compare",
  "longest_repetition",
  "measured",
  "overlap_area",
  "pedal_changes",
  "pedal_share",
  "polyphony",
  "silent_share",
]

CHUNK_S = 2.0
# The grid on which durations and steps are compared, s.
STEP_S = 0.01
# Polyphony is looked at this often, between the steps of the grid, s.
LOOK_S = 0.05
# Halvings of the real music from which the control is averaged.
HALVINGS = 20


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Quantity:
  """Measured quantity, and the bins of its density.

  Attributes:
    name: With its unit.
    edges: Of the bins, ascending; the outer bins take all beyond them.
  """

  name: str
  edges: np.ndarray


# Half a step below each first step, so that nothing lies on an edge.
_STEPS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 60, 75]
_STEPS += [90, 110, 140, 200, 300, 500, 1000]
_STEP_EDGES = (np.array(_STEPS) - 0.5) * STEP_S

# Notes a second are counted in every 2 s, polyphony (sounding keys, without
# the pedal) every 50 ms; intervals lie between a note and the next, 0 within
# a chord.
QUANTITIES = (
  Quantity(name="notes_per_second", edges=np.arange(41.0)),
  Quantity(name="polyphony", edges=np.arange(22.0) - 0.5),
  Quantity(name="key", edges=np.arange(0, 129, 3) - 0.5),
  Quantity(name="velocity", edges=np.arange(0, 129, 8) - 0.5),
  Quantity(name="duration_s", edges=_STEP_EDGES[1:]),
  Quantity(name="inter_onset_s", edges=_STEP_EDGES),
)


def measured(score: Score, seconds: float) -> dict[str, np.ndarray]:
  """The values of every quantity of `QUANTITIES` in a score.

  Args:
    score: One part on a 10 ms grid, from 0.
    seconds: Its length; silence at the end counts.
  """
  notes = score.notes
  return dict(
    notes_per_second=chunk_notes(score, seconds) / CHUNK_S,
    polyphony=polyphony(score, seconds),
    key=notes["key"].astype(np.float64),
    velocity=notes["velocity"].astype(np.float64),
    duration_s=notes["duration_s"].copy(),
    inter_onset_s=np.diff(notes["onset_s"]),
  )


def chunk_notes(score: Score, seconds: float) -> Int[np.ndarray, " n"]:
  """Notes that begin in each whole 2 s."""
  # A rounding error must not move a note over a border.
  onset = score.notes["onset_s"] + STEP_S / 4
  chunks = int(seconds / CHUNK_S)
  index = (onset / CHUNK_S).astype(np.int64)
  return np.bincount(index, minlength=chunks)[:chunks]


def polyphony(score: Score, seconds: float) -> Float[np.ndarray, " n"]:
  """Keys that are down, every 50 ms; the pedal holds none."""
  onset, duration = score.notes["onset_s"], score.notes["duration_s"]
  times = np.arange(LOOK_S / 2, seconds, LOOK_S)
  begun = np.searchsorted(onset, times)
  ended = np.searchsorted(np.sort(onset + duration), times)
  return (begun - ended).astype(np.float64)


def silent_share(score: Score, seconds: float) -> float:
  """Share of the whole 2 s in which no note begins."""
  return float(np.mean(chunk_notes(score, seconds) == 0))


def pedal_share(score: Score, seconds: float) -> float:
  """Share of the time with the pedal down."""
  times = np.arange(LOOK_S / 2, seconds, LOOK_S)
  changes = np.searchsorted(score.pedals["time_s"], times)
  return float(np.mean(changes % 2))


def pedal_changes(score: Score, seconds: float) -> int:
  """Pedal changes after the start, before the end."""
  time_s = score.pedals["time_s"]
  return int(np.count_nonzero((time_s > 0) & (time_s < seconds)))


def longest_repetition(before: Score, after: Score, gap_s: float) -> int:
  """Length of the longest run of notes that stands earlier, exactly.

  A run is exact if keys and steps between onsets are the same, to 10 ms; the
  step to its first note does not count. It lies in `after`; what it repeats
  lies in `before` or in `after`, and may overlap it (a loop does).

  Args:
    before: What was played before.
    after: What is judged.
    gap_s: From the start of `before` to the start of `after`, seconds.
  """
  onset = np.concatenate(
    [before.notes["onset_s"], after.notes["onset_s"] + gap_s]
  )
  key = np.concatenate([before.notes["key"], after.notes["key"]])
  step = np.round(onset / STEP_S).astype(np.int64)
  interval = np.diff(step, prepend=-1)
  longest = 0
  # Runs that end at this note and at each earlier one.
  runs = np.zeros(len(key), np.int64)
  for last in range(len(before), len(key)):
    same = key[:last] == key[last]
    goes_on = np.concatenate([[0], runs[: last - 1]]) if last else runs[:0]
    goes_on = goes_on * (interval[:last] == interval[last])
    runs[:last] = np.where(same, goes_on + 1, 0)
    longest = max(longest, int(runs.max(initial=0)))
  return longest


def overlap_area(
  a: Shaped[np.ndarray, " n"],
  b: Shaped[np.ndarray, " m"],
  edges: Float[np.ndarray, " k"],
) -> float:
  """The area that two densities share, from 0 to 1.

  Densities are histograms; the outer bins take all beyond them. Without
  values on one side it is 0.
  """
  if not len(a) or not len(b):
    return 0.0

  def density(values: np.ndarray) -> np.ndarray:
    bins = np.searchsorted(edges[1:-1], values, side="right")
    return np.bincount(bins, minlength=len(edges) - 1) / len(values)

  return float(np.minimum(density(a), density(b)).sum())


def compare(takes: Sequence[Take], *, seed: int = 0) -> dict[str, Any]:
  """Figures of continuations of one length.

  Args:
    takes: From `play`.
    seed: Of the halvings of the control.

  Returns:
    For each quantity, `generated` and `real` (mean, median and spread from
    the 10th to the 90th percentile, pooled over the continuations), `overlap`
    and `control` (overlap of two halves of the real music, by piece); then
    shares and runs, generated and real.
  """
  seconds = takes[0].passage.seconds
  sides = {
    "generated": [take.music for take in takes],
    "real": [take.passage.real for take in takes],
  }
  values = {
    side: [measured(score, seconds) for score in scores]
    for side, scores in sides.items()
  }
  pieces = np.array([take.passage.piece for take in takes])
  halves = _halvings(pieces, np.random.default_rng(seed))
  quantities = {}
  for quantity in QUANTITIES:
    name, edges = quantity.name, quantity.edges
    generated, real = (
      [found[name] for found in values[side]] for side in sides
    )
    control = [
      overlap_area(_pooled(real, half), _pooled(real, ~half), edges)
      for half in halves
    ]
    everything = np.ones(len(takes), bool)
    generated, real = (
      _pooled(found, everything) for found in (generated, real)
    )
    quantities[name] = dict(
      generated=_summary(generated),
      real=_summary(real),
      overlap=overlap_area(generated, real, edges),
      control=float(np.mean(control)) if control else None,
    )
  return dict(
    continuations=len(takes),
    pieces=len(set(pieces.tolist())),
    seconds=seconds,
    quantities=quantities,
    mean_overlap=float(
      np.mean([found["overlap"] for found in quantities.values()])
    ),
    **{side: _shares(takes, scores, seconds) for side, scores in sides.items()},
  )


def _shares(
  takes: Sequence[Take], scores: Sequence[Score], seconds: float
) -> dict[str, Any]:
  """Shares and runs of one side."""
  runs = []
  for take, score in zip(takes, scores, strict=True):
    passage = take.passage
    runs.append(longest_repetition(passage.context, score, CONTEXT_S))
  mean = lambda measure: float(
    np.mean([measure(score, seconds) for score in scores])
  )
  return dict(
    notes=sum(map(len, scores)),
    silent_chunks=mean(silent_share),
    pedal_changes_per_s=mean(pedal_changes) / seconds,
    pedal_down=mean(pedal_share),
    longest_repetition=max(runs),
    mean_repetition=float(np.mean(runs)),
    # As long as a run that the sampler draws again.
    repeating=float(np.mean(np.array(runs) >= RUN)),
  )


def _pooled(
  values: Sequence[np.ndarray], chosen: Shaped[np.ndarray, " n"]
) -> np.ndarray:
  kept = [v for v, keep in zip(values, chosen, strict=True) if keep]
  return np.concatenate([np.empty(0), *kept])


def _halvings(
  pieces: Int[np.ndarray, " n"], rng: np.random.Generator
) -> list[np.ndarray]:
  """Random halves of the pieces, as a choice of continuations each."""
  different = np.unique(pieces)
  if len(different) < 2:
    return []
  return [
    np.isin(pieces, rng.permutation(different)[: len(different) // 2])
    for _ in range(HALVINGS)
  ]


def _summary(values: np.ndarray) -> dict[str, float]:
  if not len(values):
    return dict(mean=0.0, p10=0.0, p50=0.0, p90=0.0)
  p10, p50, p90 = np.quantile(values, (0.1, 0.5, 0.9))
  return dict(
    mean=float(values.mean()), p10=float(p10), p50=float(p50), p90=float(p90)
  )
