"""Waiting for a partner who is not there.

A model that learned to play with a partner ends its turn and waits for an
answer. Where it plays alone nobody answers: 6 to 16 % of the chunks of models so
trained were silent, 0.2 % of real ones are (docs/decisions.md).
"""

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["LEAST_S", "MOST_S", "waits"]

# A pause is long when it is this, s, or so many times the longest of the last
# `LOOK_BACK_S`; never shorter than the first, never longer than the second.
LEAST_S, MOST_S, TIMES = 1.0, 2.0, 1.5
LOOK_BACK_S = 10.0


def waits(
  history: Score,
  new: Score,
  now_s: float,
  seconds: float,
  *,
  least_s: float = LEAST_S,
) -> bool:
  """Whether new music pauses for longer than the music before it did.

  Args:
    history: What was played before.
    new: The new chunk; its time 0 is `now_s`.
    now_s: Its start in the history's time, s.
    seconds: Its length.
    least_s: A pause up to so long is none, at most `MOST_S`.
  """
  onset_s = history.notes["onset_s"]
  low, high = np.searchsorted(onset_s, (now_s - LOOK_BACK_S, now_s))
  before = onset_s[low:high]
  if not len(before):
    return False
  usual = float(np.diff(before).max()) if len(before) > 1 else 0.0
  played = new.notes["onset_s"] + now_s
  gaps = np.diff(np.concatenate([before[-1:], played, [now_s + seconds]]))
  limit = min(max(least_s, TIMES * usual), MOST_S)
  return float(gaps.max()) > limit
