"""Music and what it continues, in one score."""

import numpy as np

from magenta_midi.midi.score import Score

__all__ = ["context_then_music", "lifted_pedal"]


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
  notes = score.notes
  return Score.from_arrays(
    onset_s=notes["onset_s"],
    duration_s=notes["duration_s"],
    key=notes["key"],
    velocity=notes["velocity"],
    part=notes["part"],
    pedal=np.concatenate([pedals, lifts]),
    part_names=score.part_names,
    tempo=score.tempo,
  )


def context_then_music(
  context: Score | None, music: Score, now_s: float, name: str
) -> Score:
  """The context, then the music on a track of its own."""
  new = Score.from_arrays(
    onset_s=music.notes["onset_s"] + now_s,
    duration_s=music.notes["duration_s"],
    key=music.notes["key"],
    velocity=music.notes["velocity"],
    pedal=_later(music.pedals, now_s),
    part_names=(name,),
  )
  if context is None:
    return new
  return lifted_pedal(context, max(now_s, context.end_s)).joined(new)


def _later(pedals: np.ndarray, seconds: float) -> np.ndarray:
  moved = pedals.copy()
  moved["time_s"] += seconds
  return moved
