"""Order of frames in a stream: sorting, onset codes, overlapping notes."""

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
  """Indices that sort notes by step, key and part, without duplicates.

  Of notes equal in all three the longest stays; of equally long ones, the
  loudest.

  Returns:
    Indices, or the whole slice if the notes are sorted already.
  """
  place = (step.astype(np.int64) << 7) + key
  # With one part (the usual case) the sort key needs no part.
  if len(part) and np.any(part != part[0]):
    place = (place << 15) + part
  if np.all(place[1:] > place[:-1]):
    return slice(None)
  # A stable sort is fast here, because the notes are nearly sorted.
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
  # To the microsecond, so that float error does not separate equal notes.
  longest = np.round(duration_s[among], 6)
  best = np.lexsort((-velocity[among], -longest, place[slots]))
  order[slots] = among[best]
  return order[np.concatenate([[True], ~repeats])]


def steps_to_onsets(
  step: Int[np.ndarray, " n"],
  part: Int[np.ndarray, " n"],
  start: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
  """Steps since the previous frame of the same part, or since the start.

  Args:
    step: Ascending within each part.
    part: Of each frame.
    start: Start of each frame's chunk or window. It counts as the previous
      frame where the part has none at or after it.
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
    onset: Steps since the previous frame of the same part and start.
    part: Of each frame.
    start: The step where each frame's chunk or window starts, ascending.
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

  A note ends before the next note of its key and part. This removes at most one
  step of a true duration, because durations and onsets were rounded.
  """
  order = note_order(step, key, part, duration_s=duration_s, velocity=velocity)
  notes = np.zeros(len(step[order]), NOTE_DTYPE)
  notes["onset_s"] = onset_s[order]
  notes["duration_s"] = duration_s[order]
  notes["key"] = key[order]
  notes["velocity"] = velocity[order]
  notes["part"] = part[order]
  # A stable sort keeps the notes of a key and part in order of onset.
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
  # The sum may round above the next onset; the next smaller float does not.
  over = onset_s + trimmed > next_s
  trimmed[over] = np.nextafter(trimmed[over], 0)
  notes["duration_s"][earlier] = trimmed
  return notes


def decoded_pedals(
  pedals: Shaped[np.ndarray, " n"],
) -> Shaped[np.ndarray, " m"]:
  """Pedal changes sorted by time, without those that change nothing.

  Args:
    pedals: Of PEDAL_DTYPE, in stream order.

  Returns:
    Sorted by time. A score has at most one change of a part at one time, so of
    several in a step each later one moves by 1 ns. (The changes had different
    times before rounding, so the error stays within half a step.)
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
  # A score sorts changes of equal time by part. A change moves only if that
  # sorting would reorder it, or if its part is the same.
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
  """Makes rows of PEDAL_DTYPE.

  Args:
    time_s: Of each change, in seconds.
    down: Whether the pedal goes down.
    part: Index of the part of each change.
    down_from_s: If the pedal of part 0 is down before the first change, the
      time of an added pedal-down; None: it is up.
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
  """Checks that a score can hold the frames.

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
  """The history, followed by new music from `now_s`; one part each.

  Args:
    history: Music before `now_s`.
    new: New music; its time 0 is `now_s`.
    now_s: In seconds of the history.
    stated: Whether the first pedal change of `new` only repeats the state at
      the end of the history.
  """
  notes, pedals = new.notes.copy(), new.pedals[int(stated) :].copy()
  notes["onset_s"] += now_s
  pedals["time_s"] += now_s
  notes = np.concatenate([history.notes, notes])
  return Score.from_rows(
    notes,
    pedal=np.concatenate([history.pedals, pedals]),
  )
