"""Sustain pedal: controller 64 as on and off, with half-pedal hysteresis."""

from __future__ import annotations

import numpy as np

from magenta_midi.typing import Bool, Float, Int

PEDAL_DTYPE = np.dtype([("time_s", "f8"), ("down", "?"), ("part", "i2")])

DOWN_AT = 64  # the MIDI standard's threshold
# A foot resting at half height trembles around 64; only well below is up.
UP_BELOW = 40

# Pedal changes that a file has at one time are read this far apart.
APART_S = 0.001
_SAME_S = 1e-9


def pedal_after(
  value: int, down: bool, *, down_at: int = DOWN_AT, up_below: int = UP_BELOW
) -> bool:
  """Whether the pedal is down after controller 64 took a value.

  Args:
    value: 0..127.
    down: Whether it was down before.
    down_at: From this value on it is down.
    up_below: Below this value it is up; in between it stays as it was. The
      same as `down_at`: no hysteresis.
  """
  return value >= down_at or (down and value >= up_below)


def pedal_events(
  value: Int[np.ndarray, " n"],
  *,
  down_at: int = DOWN_AT,
  up_below: int = UP_BELOW,
) -> tuple[np.ndarray, np.ndarray]:
  """Turns controller values, in order of time, into changes of the pedal.

  Args:
    value: 0..127; the pedal starts up.
    down_at: From this value on the pedal is down.
    up_below: Below this value it is up; in between it stays as it was.

  Returns:
    Indices into `value` where the pedal changes, and whether it goes down;
    alternating, first down.
  """
  state = np.where(value >= down_at, 1, np.where(value < up_below, 0, -1))
  index = np.flatnonzero(state >= 0)
  down = state[index] == 1
  changed = np.diff(down, prepend=False)
  return index[changed], down[changed]


def half_pedal_changes(value: Int[np.ndarray, " n"]) -> int:
  """How many changes a switch at `DOWN_AT` has that `pedal_events` leaves out.

  Args:
    value: 0..127, in order of time.
  """
  every, _ = pedal_events(value, up_below=DOWN_AT)
  return len(every) - len(pedal_events(value)[0])


def alternating(
  time_s: Float[np.ndarray, " n"], down: Bool[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
  """Drops what changes nothing from one part's pedal, sorted by time.

  Returns:
    Times and states, alternating, first down, at most one at any time.
  """
  time_s = np.round(time_s, 9)  # as the onsets of notes
  # An inner event at one time is undone at once: only the last one counts.
  last = np.append(time_s, np.inf)
  last = last[1:] != last[:-1]
  time_s, down = time_s[last], down[last]
  changed = np.diff(down, prepend=False)
  return time_s[changed], down[changed]


def apart(
  time_s: Float[np.ndarray, " n"], down: Bool[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
  """Keeps what a pedal does and undoes at one time, as on one tick of a file.

  An up and a down damp what sounds; `alternating` would drop both.

  Args:
    time_s: Ascending.
    down: Alternating, first down.

  Returns:
    Times and states. Of several changes at one time the last one stays, and
    the one before it if the pedal is then as it was; the last comes 1 ms
    later, or halfway to the next change.
  """
  if not len(time_s):
    return time_s, down
  starts = np.flatnonzero(np.append(True, np.diff(time_s) > _SAME_S))
  ends = np.append(starts[1:], len(time_s))
  # Changes alternate: an even number of them leaves the pedal as it was.
  twice = np.flatnonzero((ends - starts) % 2 == 0)
  next_s = np.append(time_s[starts[1:]], np.inf)[twice]
  here_s = time_s[starts[twice]]
  kept = np.sort(np.concatenate([ends - 1, ends[twice] - 2]))
  moved_s = time_s.copy()
  moved_s[ends[twice] - 2] = here_s
  moved_s[ends[twice] - 1] = here_s + np.minimum(APART_S, (next_s - here_s) / 2)
  return moved_s[kept], down[kept]


def pedal_array(
  time_s: Float[np.ndarray, " n"], down: Bool[np.ndarray, " n"], part: int
) -> np.ndarray:
  """One part's pedal as a structured array of `PEDAL_DTYPE`."""
  time_s, down = alternating(time_s, down)
  pedals = np.empty(len(time_s), PEDAL_DTYPE)
  pedals["time_s"], pedals["down"], pedals["part"] = time_s, down, part
  return pedals


def sort_pedals(pedals: np.ndarray) -> np.ndarray:
  """Sorts by time, then part."""
  return pedals[np.lexsort((pedals["part"], pedals["time_s"]))]


def tidy_pedals(pedals: np.ndarray) -> np.ndarray:
  """Sorts pedal events of several parts and drops what changes nothing."""
  pedals = pedals[np.argsort(pedals["time_s"], kind="stable")]
  kept = [np.empty(0, PEDAL_DTYPE)]
  for part in np.unique(pedals["part"]):
    own = pedals[pedals["part"] == part]
    kept.append(pedal_array(own["time_s"], own["down"], int(part)))
  return sort_pedals(np.concatenate(kept))


def union_of_pedals(pedals: np.ndarray) -> np.ndarray:
  """The pedal of one part that is down while that of any part is.

  Args:
    pedals: Alternating per part; a part may end down.
  """
  # At equal times downs come first, so that one part taking over from
  # another leaves no gap.
  order = np.lexsort((~pedals["down"], pedals["time_s"]))
  pedals = pedals[order]
  count = np.cumsum(np.where(pedals["down"], 1, -1))
  return pedal_array(pedals["time_s"], count > 0, 0)
