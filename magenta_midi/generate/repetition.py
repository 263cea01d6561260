"""The guard against exact repetition.

Players repeat phrases, never to the 10 ms. A sampler caught in a loop does:
the same keys at the same steps apart.
"""

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Bool, Int

__all__ = ["RUN", "repeats_exactly", "runs_seen_before"]

# Notes of a run that no player repeats exactly, and how far back to look, s.
RUN = 10
LOOK_BACK_S = 20.0


def runs_seen_before(
  earlier: Int[np.ndarray, "n 2"], new: Int[np.ndarray, "m 2"], run: int
) -> Bool[np.ndarray, " k"]:
  """Which runs of `run` rows in `new` stand in `earlier` too."""
  if len(new) < run or len(earlier) < run:
    return np.zeros(max(0, len(new) - run + 1), bool)

  def windows(rows: np.ndarray) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(rows, run, axis=0)
    return view.reshape(len(view), -1)

  seen = {window.tobytes() for window in windows(earlier.astype(np.int32))}
  return np.array(
    [window.tobytes() in seen for window in windows(new.astype(np.int32))]
  )


def repeats_exactly(
  history: Score, new: Score, now_s: float, codec: Codec
) -> bool:
  """Whether the new music holds a run that was just played.

  Args:
    history: What was played before.
    new: The new chunk; its time 0 is `now_s`.
    now_s: Its start in the history's time.
    codec: Gives the grid.
  """
  onset = history.notes["onset_s"]
  recent = history.notes[np.searchsorted(onset, now_s - LOOK_BACK_S) :]

  def rows(notes: np.ndarray) -> np.ndarray:
    # The first interval of a run is left out: it is not part of the figure.
    onset_s = np.ascontiguousarray(notes["onset_s"])
    step = codec.config.time_to_step(onset_s)
    return np.stack([np.diff(step, prepend=step[:1]), notes["key"]], axis=1)

  return bool(runs_seen_before(rows(recent), rows(new.notes), RUN).any())
