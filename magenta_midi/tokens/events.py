"""Events of a score on a codec's grid, and their order as frames."""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens import ordering
from magenta_midi.tokens.frames import MODEL, PLAYER, Frames, empty_frames
from magenta_midi.tokens.grid import GridConfig
from magenta_midi.tokens.note.config import (
  PEDAL_DOWN,
  PEDAL_UP,
  NoteCodecConfig,
)

__all__ = [
  "DURATION",
  "KEY",
  "LEVELS",
  "ONSET",
  "VELOCITY",
  "Notes",
  "Pedals",
  "all_events",
  "events_around",
  "ordered_frames",
  "pedals_down",
]

LEVELS = 4
ONSET, KEY, VELOCITY, DURATION = range(LEVELS)


class Notes(NamedTuple):
  """Notes with onset times and steps, sorted by onset; all `[n]`."""

  onset_s: np.ndarray
  step: np.ndarray
  part: np.ndarray
  key: np.ndarray
  velocity: np.ndarray
  duration_s: np.ndarray

  def take(self, index: Any) -> "Notes":
    """Selects rows by a slice, a mask or indices."""
    return Notes(*(field[index] for field in self))


class Pedals(NamedTuple):
  """Pedal changes with their steps, sorted by time; all `[n]`."""

  step: np.ndarray
  part: np.ndarray
  down: np.ndarray

  def take(self, index: Any) -> "Pedals":
    """Selects rows by a slice, a mask or indices."""
    return Pedals(*(field[index] for field in self))


def all_events(score: Score, config: GridConfig) -> tuple[Notes, Pedals]:
  """All events of a score, on the grid that starts at its origin.

  Raises:
    ValueError: An event lies beyond 245 days.
  """
  notes, pedals = score.notes, score.pedals
  onset_s, time_s = _dense(notes["onset_s"]), _dense(pedals["time_s"])
  return (
    _notes(notes, onset_s, config.time_to_step(onset_s)),
    _pedals(pedals, config.time_to_step(time_s)),
  )


def events_around(
  score: Score,
  now_s: float,
  config: GridConfig,
  *,
  first_note: int,
  first_pedal: int,
  stop: int,
  model_part: int,
) -> tuple[Notes, Pedals]:
  """The events of a time span, on the grid from `now_s`.

  Reads only the events inside (two binary searches), not the whole score.

  Args:
    score: Any score.
    now_s: Step 0, in seconds.
    config: The grid.
    first_note: Step of the earliest note.
    first_pedal: Step of the earliest pedal change.
    stop: The step after the last.
    model_part: The part that becomes MODEL; all others become PLAYER.
  """
  found = []
  for events, field, first in (
    (score.notes, "onset_s", first_note),
    (score.pedals, "time_s", first_pedal),
  ):
    # One step more on each side, because the rounded step decides.
    rough_s = now_s + np.array([first - 1, stop + 1]) / config.steps_per_s
    rough = slice(*np.searchsorted(events[field], rough_s))
    time_s = _dense(events[field][rough]) - now_s
    step = config.time_to_step(time_s)
    exact = slice(*np.searchsorted(step, [first, stop]))
    found.append((events[rough][exact], time_s[exact], step[exact]))
  notes = _notes(*found[0])
  pedals = _pedals(found[1][0], found[1][2])
  return (
    notes._replace(part=_role(notes.part, model_part)),
    pedals._replace(part=_role(pedals.part, model_part)),
  )


def pedals_down(
  score: Score, now_s: float, config: GridConfig, *, before: int
) -> list[int]:
  """Parts whose pedal is down before a step, ascending.

  Args:
    score: Any score.
    now_s: Step 0, in seconds.
    config: The grid.
    before: Changes at this step or later do not count.
  """
  time_s = score.pedals["time_s"]
  rough_s = now_s + (before + 1) / config.steps_per_s
  count = int(np.searchsorted(time_s, rough_s))
  # Only changes of the last two steps can round to `before` or later.
  while count and (
    config.time_to_step(_dense(time_s[count - 1 : count]) - now_s)[0] >= before
  ):
    count -= 1
  changes = score.pedals[:count]
  # The changes of a part alternate and begin with down: a sum of 1 is down, a
  # sum of 0 is up.
  balance = np.bincount(changes["part"], np.where(changes["down"], 1, -1))
  return np.flatnonzero(balance > 0).tolist()


def ordered_frames(
  notes: Notes, pedals: Pedals, config: NoteCodecConfig
) -> tuple[Frames, int, int]:
  """Frames sorted by step: pedal changes, then notes by key and part.

  Pedal changes of one step keep their order. The onset level is not set.

  Returns:
    The frames, the number of duplicate notes that were left out, and the number
    of remaining notes that exceed the longest duration.
  """
  count = len(notes.step)
  order = ordering.note_order(
    notes.step,
    notes.key,
    notes.part,
    duration_s=notes.duration_s,
    velocity=notes.velocity,
  )
  if not isinstance(order, slice):
    notes = notes.take(order)
  merged = count - len(notes.step)
  frames = empty_frames(LEVELS, len(notes.step) + len(pedals.step))
  # A pedal change comes before the notes of its step.
  at = np.searchsorted(notes.step, pedals.step) + np.arange(len(pedals.step))
  rest: Any = slice(None)
  if len(at):
    is_note = np.ones(len(frames.step), bool)
    is_note[at] = False
    rest = np.flatnonzero(is_note)
  frames.step[at], frames.step[rest] = pedals.step, notes.step
  frames.part[at], frames.part[rest] = pedals.part, notes.part
  frames.codes[at, KEY] = np.where(pedals.down, PEDAL_DOWN, PEDAL_UP)
  frames.codes[rest, KEY] = notes.key
  frames.codes[rest, VELOCITY] = config.velocity_to_code(notes.velocity)
  duration_s = _dense(notes.duration_s)
  frames.codes[rest, DURATION] = config.duration_to_code(duration_s)
  saturated = np.count_nonzero(duration_s > config.duration_table_s[-1])
  return frames, merged, int(saturated)


def _notes(notes: np.ndarray, onset_s: np.ndarray, step: np.ndarray) -> Notes:
  rest = (notes[name] for name in ("part", "key", "velocity", "duration_s"))
  return Notes(onset_s, step, *rest)


def _pedals(pedals: np.ndarray, step: np.ndarray) -> Pedals:
  return Pedals(step, pedals["part"], pedals["down"])


def _role(part: np.ndarray, model_part: int) -> np.ndarray:
  return np.where(part == model_part, MODEL, PLAYER).astype(np.int32)


def _dense(field: np.ndarray) -> np.ndarray:
  """A contiguous copy of a structured array's field, for speed."""
  return np.ascontiguousarray(field)
