"""Detector of exact repetitions.

People repeat phrases, but not exactly to 10 ms. A sampler in a loop does: it
plays the same keys with the same steps between them.
"""

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import Codec
from magenta_midi.typing import Bool, Int

__all__ = ["RUN", "repeats_exactly", "find_repeated_runs"]

# Length in notes of a run that no person repeats exactly, and the time in
# seconds that is searched for it.
RUN = 10
LOOK_BACK_S = 20.0


def find_repeated_runs(
  earlier: Int[np.ndarray, "n 2"], new: Int[np.ndarray, "m 2"], run: int
) -> Bool[np.ndarray, " k"]:
  """Mask of the runs of `run` rows in `new` that also occur in `earlier`."""
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
  """Whether the new music contains a run that was just played.

  Args:
    history: The music before.
    new: The new chunk; its time 0 is `now_s`.
    now_s: Start of the chunk, in seconds of the history.
    codec: The codec, for its grid.
  """
  onset = history.notes["onset_s"]
  recent = history.notes[np.searchsorted(onset, now_s - LOOK_BACK_S) :]

  def rows(notes: np.ndarray) -> np.ndarray:
    # The interval before the first note is not part of a run.
    onset_s = np.ascontiguousarray(notes["onset_s"])
    step = codec.config.time_to_step(onset_s)
    return np.stack([np.diff(step, prepend=step[:1]), notes["key"]], axis=1)

  return bool(find_repeated_runs(rows(recent), rows(new.notes), RUN).any())
