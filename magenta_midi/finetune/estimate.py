"""Length of a fine-tuning run, estimated from its first evaluation."""

import numpy as np

from magenta_midi.finetune.config import FinetuneConfig

__all__ = [
  "SCORED_WINDOWS",
  "ScoringTimes",
  "estimated_minutes",
  "evaluations_that_fit",
]

# A step's work on an example, in forward passes over a held-out window: the
# backward pass, and targets twice as long.
STEP_COST = 4.0
# Time that compiling takes in all, by that of compiling the evaluation.
COMPILED = 3.0
# Largest share of a run's minutes that evaluations on the way may take.
EVALUATED_SHARE = 0.2
# Most windows scored before and after, evenly spread: an hour of music.
SCORED_WINDOWS = 1800


class ScoringTimes:
  """When each batch of windows was scored."""

  def __init__(self) -> None:
    # Seconds, and the windows done by then; 0 windows begin an evaluation.
    self._batches: list[tuple[float, int]] = []

  def add(self, now_s: float, done: int) -> None:
    """Notes that so many windows of an evaluation are done."""
    self._batches.append((now_s, done))

  @property
  def minutes(self) -> tuple[float, float]:
    """Minutes to score a window, and minutes that compiling took beside it.

    A window's is the median over batches: some of them compile.
    """
    took_s, windows = np.diff(np.array(self._batches), axis=0).T
    took_s, windows = took_s[windows > 0], windows[windows > 0]
    window_s = float(np.median(took_s / windows))
    compiling_s = float(np.maximum(took_s - window_s * windows, 0).sum())
    return window_s / 60, compiling_s / 60


def evaluations_that_fit(
  config: FinetuneConfig, times: ScoringTimes, held_out: float
) -> int:
  """How often a run is evaluated on the way: a short one less often.

  Args:
    config: The run's.
    times: Of the evaluation of what the run starts from.
    held_out: How many windows are held out.
  """
  if config.minutes is None:
    return config.evaluations
  window_min, _ = times.minutes
  some = min(config.held_out_windows, held_out)
  fit = EVALUATED_SHARE * config.minutes / (some * window_min)
  return max(1, min(config.evaluations, int(fit)))


def estimated_minutes(
  config: FinetuneConfig,
  times: ScoringTimes,
  held_out: float,
  *,
  windows_after: float,
  earlier_min: float,
) -> float:
  """Minutes of the whole run.

  Args:
    config: The run's.
    times: Of the evaluation of what the run starts from.
    held_out: How many windows are held out.
    windows_after: Work after training beside the held-out windows, in windows.
    earlier_min: Minutes until now.
  """
  window_min, compiling_min = times.minutes
  after_min = (held_out + windows_after) * window_min
  before_min = earlier_min + COMPILED * compiling_min
  if config.minutes is not None:
    return float(before_min + config.minutes + after_min)
  assert config.steps is not None
  examples = config.frames_per_batch / 150
  training_min = config.steps * examples * STEP_COST * window_min
  some = min(config.held_out_windows, held_out)
  on_the_way_min = config.evaluations * some * window_min
  return float(before_min + training_min + on_the_way_min + after_min)
