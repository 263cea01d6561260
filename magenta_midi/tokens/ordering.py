"""Order in a stream: sorting, steps to onset codes and back, overlaps."""

import numpy as np

from magenta_midi.midi.score import NOTE_DTYPE, PEDAL_DTYPE, Score
from magenta_midi.typing import Bool, Float, Int, Shaped

__all__ = [
  "append_score",
  "check_times",
  "decoded_notes",
  "decoded_pedals",
  "note_order",
  "onsets_to_steps",
  "pedal_rows",
  "steps_to_onsets",
]

# A score keeps times to the nanosecond.
_DIGITS, _APART_S = 9, 1e-9


def note_order(
  step: Int[np.ndarray, " n"],
  key: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  *,
  duration_s: Float[np.ndarray, " n"],
  velocity: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " m"] | slice:
  """Which notes to take for the order step, key, part, without duplicates.

  Of notes equal in all three the longest is taken, of those the loudest.

  Returns:
    Indices, or the whole slice where the notes are in order as they are.
  """
  place = (step.astype(np.int64) << 7) + key
  # One part (the usual case) needs no digit of its own.
  if len(part) and np.any(part != part[0]):
    place = (place << 15) + part
  if np.all(place[1:] > place[:-1]):
    return slice(None)
  # Nearly sorted already, which a stable sort makes use of.
  order = np.argsort(place, kind="stable")
  place = place[order]
  repeats = place[1:] == place[:-1]
  if not np.any(repeats):
    return order
  grouped = np.zeros(len(place), bool)
  grouped[1:] |= repeats
  grouped[:-1] |= repeats
  slots = np.flatnonzero(grouped)
  among = order[slots]
  # To the microsecond: what only rounding of floats has parted is equal.
  longest = np.round(duration_s[among], 6)
  best = np.lexsort((-velocity[among], -longest, place[slots]))
  order[slots] = among[best]
  return order[np.concatenate([[True], ~repeats])]


def steps_to_onsets(
  step: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  start: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
  """Steps from the previous frame of the same part, or from the start.

  Args:
    step: Ascending within each part.
    part: Of each frame.
    start: The step counted from where no earlier frame of the part lies at
      or after it (the start of the frame's chunk or window).
  """
  previous = np.empty_like(step)
  if len(step) == 0:
    return previous
  floor = np.iinfo(step.dtype).min
  if np.all(part == part[0]):
    previous[0] = floor
    previous[1:] = step[:-1]
  else:
    order = np.argsort(part, kind="stable")
    shifted = step[order[:-1]]
    shifted[part[order[1:]] != part[order[:-1]]] = floor
    previous[order[0]] = floor
    previous[order[1:]] = shifted
  return step - np.maximum(previous, start)


def onsets_to_steps(
  onset: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  start: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
  """The inverse of `steps_to_onsets`; int64.

  Args:
    onset: Steps from the previous frame of the same part and start.
    part: Of each frame.
    start: The step each frame's chunk or window starts at, ascending.
  """
  if len(onset) == 0:
    return np.zeros(0, np.int64)
  order = np.argsort(part, kind="stable")
  part, start = part[order], start[order].astype(np.int64)
  onset = onset[order].astype(np.int64)
  total = np.cumsum(onset)
  opens = np.ones(len(onset), bool)
  opens[1:] = (part[1:] != part[:-1]) | (start[1:] != start[:-1])
  group = np.cumsum(opens) - 1
  before = (total - onset)[opens]
  step = np.empty(len(onset), np.int64)
  step[order] = start + total - before[group]
  return step


def decoded_notes(
  step: Int[np.ndarray, " n"],
  key: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  *,
  onset_s: Float[np.ndarray, " n"],
  velocity: Int[np.ndarray, " n"],
  duration_s: Float[np.ndarray, " n"],
) -> Shaped[np.ndarray, " m"]:
  """Notes of NOTE_DTYPE, duplicates merged and overlaps trimmed.

  A note ends at the latest where the next one of its key and part begins.
  Durations were rounded, onsets too: a true duration loses at most a step.
  """
  order = note_order(step, key, part, duration_s=duration_s, velocity=velocity)
  notes = np.zeros(len(step[order]), NOTE_DTYPE)
  notes["onset_s"] = onset_s[order]
  notes["duration_s"] = duration_s[order]
  notes["key"] = key[order]
  notes["velocity"] = velocity[order]
  notes["part"] = part[order]
  # Stable, so the notes of a key and part stay in order of onset.
  by_key = np.argsort(
    notes["part"].astype(np.int64) * 128 + notes["key"], kind="stable"
  )
  earlier, later = by_key[:-1], by_key[1:]
  same = (notes["key"][earlier] == notes["key"][later]) & (
    notes["part"][earlier] == notes["part"][later]
  )
  earlier, later = earlier[same], later[same]
  onset_s, next_s = notes["onset_s"][earlier], notes["onset_s"][later]
  trimmed = np.minimum(notes["duration_s"][earlier], next_s - onset_s)
  # The sum may round above the next onset; the float below it does not.
  over = onset_s + trimmed > next_s
  trimmed[over] = np.nextafter(trimmed[over], 0)
  notes["duration_s"][earlier] = trimmed
  return notes


def decoded_pedals(
  pedals: Shaped[np.ndarray, " n"],
) -> Shaped[np.ndarray, " m"]:
  """Pedal events in order, without those that change nothing in their part.

  Args:
    pedals: Of PEDAL_DTYPE, in stream order.

  Returns:
    By time. A score holds one change of a part at a time, so of several in a
    step each later one is moved on by 1 ns. (What they were before rounding
    lay as far apart: the error stays within half a step.)
  """
  pedals = pedals[np.argsort(pedals["time_s"], kind="stable")]
  order = np.argsort(pedals["part"], kind="stable")
  part, down = pedals["part"][order], pedals["down"][order]
  was_down = np.zeros(len(pedals), bool)
  was_down[1:] = down[:-1] & (part[1:] == part[:-1])
  pedals = pedals[np.sort(order[down != was_down])]
  if not len(pedals):
    return pedals
  time_s, part = np.round(pedals["time_s"], _DIGITS), pedals["part"]
  opens = np.append(True, time_s[1:] != time_s[:-1])
  # A score sorts one time by part; only where that would change the order,
  # or the part is the same, a change must come later.
  later = np.append(False, part[1:] <= part[:-1]) & ~opens
  total = np.cumsum(later)
  rank = total - total[opens][np.cumsum(opens) - 1]
  pedals["time_s"] = time_s + rank * _APART_S
  return pedals


def pedal_rows(
  time_s: Float[np.ndarray, " n"],
  down: Bool[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  *,
  down_from_s: float | None,
) -> Shaped[np.ndarray, " m"]:
  """Rows of PEDAL_DTYPE.

  Args:
    time_s: Of each change, in seconds.
    down: Whether it goes down.
    part: Whose it is.
    down_from_s: Where part 0's pedal is down before the first change: the
      time at which to state it.
  """
  stated = int(down_from_s is not None)
  pedals = np.zeros(stated + len(time_s), PEDAL_DTYPE)
  if stated:
    pedals[0] = (down_from_s, True, 0)
  pedals["time_s"][stated:] = time_s
  pedals["down"][stated:] = down
  pedals["part"][stated:] = part
  return pedals


def check_times(
  step: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  origin_s: float,
  steps_per_s: int,
  part_names: tuple[str, ...] | None,
) -> None:
  """Refuses frames that no score can hold.

  Raises:
    ValueError: A frame lies before 0 s, or its part has no name.
  """
  if len(step) and origin_s + step.min() / steps_per_s < 0:
    raise ValueError(
      f"events must lie at 0 s or later, got step {step.min()} with "
      f"origin_s={origin_s}. Pass a later origin_s."
    )
  if part_names is not None and len(part) and part.max() >= len(part_names):
    raise ValueError(
      f"part_names must name every part, got {len(part_names)} for part "
      f"{part.max()}."
    )


def append_score(
  history: Score, new: Score, now_s: float, *, stated: bool
) -> Score:
  """The history and after it, from `now_s`, the new music; one part each.

  Args:
    history: What was played before.
    new: Its time 0 is `now_s`.
    now_s: In the history's time.
    stated: Whether the first pedal change of `new` only states what the
      history knows.
  """
  notes, pedals = new.notes.copy(), new.pedals[int(stated) :].copy()
  notes["onset_s"] += now_s
  pedals["time_s"] += now_s
  notes = np.concatenate([history.notes, notes])
  return Score.from_rows(
    notes,
    pedal=np.concatenate([history.pedals, pedals]),
  )
