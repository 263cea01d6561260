"""Detector of pauses in which a model waits for a player.

A model that learned duets ends its turn and waits for an answer. If it plays
alone, nobody answers: 6 to 16 % of the chunks of such models were silent; of
real music 0.2 % are (docs/decisions.md).
"""

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["MIN_S", "SILENT_S", "pauses_too_long"]

# A pause is longer than MIN_S seconds, and longer than TIMES times the longest
# gap of the last LOOK_BACK_S seconds.
MIN_S, TIMES = 1.0, 1.5
LOOK_BACK_S = 10.0
# Used in place of MIN_S if a style or control is given, which may ask for
# silence.
SILENT_S = 2.0


def pauses_too_long(
  history: Score,
  new: Score,
  now_s: float,
  seconds: float,
  *,
  min_s: float = MIN_S,
) -> bool:
  """Whether new music has a longer pause than the music before it.

  Args:
    history: The music before.
    new: The new chunk; its time 0 is `now_s`.
    now_s: Start of the chunk, in seconds of the history.
    seconds: Length of the chunk.
    min_s: Pauses up to this length in seconds do not count.
  """
  onset_s = history.notes["onset_s"]
  low, high = np.searchsorted(onset_s, (now_s - LOOK_BACK_S, now_s))
  before = onset_s[low:high]
  if not len(before):
    return False
  usual = float(np.diff(before).max()) if len(before) > 1 else 0.0
  played = new.notes["onset_s"] + now_s
  gaps = np.diff(np.concatenate([before[-1:], played, [now_s + seconds]]))
  return float(gaps.max()) > max(min_s, TIMES * usual)
