"""Waiting for a partner who is not there.

A model that learned to play with a partner ends its turn and waits for an
answer. Where it plays alone nobody answers: of the chunks of models so trained
6 to 16 % were silent, of real ones 0.2 % are (docs/decisions.md).
"""

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["MIN_S", "SILENT_S", "waits"]

# A pause is longer than this, s, and than so many times the longest of the last
# `LOOK_BACK_S`.
MIN_S, TIMES = 1.0, 1.5
LOOK_BACK_S = 10.0
# Where something is asked, which may be to leave room: in place of `MIN_S`.
SILENT_S = 2.0


def waits(
  history: Score,
  new: Score,
  now_s: float,
  seconds: float,
  *,
  min_s: float = MIN_S,
) -> bool:
  """Whether new music pauses for longer than the music before it did.

  Args:
    history: What was played before.
    new: The new chunk; its time 0 is `now_s`.
    now_s: Its start in the history's time, s.
    seconds: Its length.
    min_s: Shorter silences are no pauses.
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
