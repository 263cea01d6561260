"""Music and what it continues, in one score."""

import dataclasses

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["context_then_music", "lifted_pedal", "without_late_pedal"]


def lifted_pedal(score: Score, at_s: float) -> Score:
  """The score with every pedal that stays down lifted at a time, s."""
  parts = np.arange(len(score.part_names))
  pedals = score.pedals
  changes = np.bincount(
    pedals["part"],
    np.where(pedals["down"], 1, -1),
    minlength=len(parts),
  )
  lifts = np.zeros(int((changes > 0).sum()), pedals.dtype)
  if not len(lifts):
    return score
  lifts["time_s"] = at_s
  lifts["part"] = parts[changes > 0]
  return Score.from_rows(
    score.notes,
    pedal=np.concatenate([pedals, lifts]),
    part_names=score.part_names,
    tempo=score.tempo,
  )


def context_then_music(
  context: Score | None, music: Score, now_s: float, name: str
) -> Score:
  """The context, then the music on a track of its own."""
  new = Score.from_rows(
    _later(music.notes, "onset_s", now_s),
    pedal=_later(music.pedals, "time_s", now_s),
    part_names=(name,),
  )
  if context is None:
    return new
  return without_late_pedal(context, now_s).joined(new)


def without_late_pedal(context: Score, now_s: float) -> Score:
  """The context without the pedal that goes on after its music.

  A file's pedal often does: of a longer recording, or moved in silence. Beside
  the music that continues it, it would be heard.

  Args:
    context: Any parts.
    now_s: Where the continuation begins, seconds.

  Returns:
    The same notes; no pedal is down later than `now_s` or the end of the last
    note, whichever is later.
  """
  notes = context.notes
  ends = notes["onset_s"] + notes["duration_s"]
  end_s = max(now_s, float(ends.max(initial=0.0)))
  early = context.pedals[context.pedals["time_s"] <= end_s]
  if len(early) < len(context.pedals):
    context = dataclasses.replace(context, pedals=early)
  return lifted_pedal(context, end_s)


def _later(rows: np.ndarray, field: str, seconds: float) -> np.ndarray:
  moved = rows.copy()
  moved[field] += seconds
  return moved
