"""Texture of replies: how closely it follows the texture of their phrases."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from magenta_midi.generate.generator import CONTEXT_S
from magenta_midi.midi.analysis.analysis import polyphony
from magenta_midi.midi.score import Score
from tools.music.continuations import Passage

from .bootstrap import interval, resampled
from .chords import chords, top_line

__all__ = [
  "CALL_S",
  "as_call",
  "is_chordal",
  "line_of",
  "sounding",
  "struck",
  "texture",
]

CALL_S = 8.0
# A chordal call has so many times the notes of its top line, and that so many.
CHORDAL, MIN_LINE = 2.0, 8
# A reply with fewer notes has no measurable texture.
MIN_NOTES = 4
SIDES = ("single", "chordal")


def line_of(score: Score) -> Score:
  """The notes on top alone; the pedal is as it was."""
  notes = score.notes[top_line(score)]
  return dataclasses.replace(score, notes=notes)


def is_chordal(context: Score) -> bool:
  """Whether the last 8 s of a context have a line, and much below it."""
  call = context.crop(CONTEXT_S - CALL_S)
  line = len(top_line(call))
  return line >= MIN_LINE and len(call) >= CHORDAL * line


def as_call(passage: Passage, *, single: bool) -> Passage:
  """The last 8 s before a place alone, or the top line of them."""
  call = passage.context.crop(CONTEXT_S - CALL_S)
  return dataclasses.replace(
    passage, history=line_of(call) if single else call, now_s=CALL_S
  )


def struck(score: Score) -> float:
  """Notes that are struck together, on average; there must be some."""
  return len(score) / len(chords(score))


def sounding(score: Score) -> float:
  """Keys that are down while any is, on average."""
  return polyphony(score)


def texture(
  calls: dict[str, list[Score]], replies: dict[str, dict[str, list[Score]]]
) -> dict[str, Any]:
  """Polyphony of calls and replies.

  Args:
    calls: `single` and `chordal`, the same passages in both.
    replies: By source, replies to each.

  Returns:
    For `sounding` and `struck`: means of the calls, and of each source's
    replies, their difference, and `followed`: that of the replies for 1 of the
    calls' (0 does not hear the texture of the call, 1 copies it), with 95 %
    intervals over passages; for sources but the first, `followed_more` than by
    the first. Passages to which a source gave fewer than 4 notes are left out
    for all.
  """
  kept = np.flatnonzero(
    [
      all(
        len(scores[row]) >= MIN_NOTES
        for sides in replies.values()
        for scores in sides.values()
      )
      for row in range(len(calls["single"]))
    ]
  )
  report: dict[str, Any] = {"passages": len(kept)}
  if not len(kept):
    return report
  chosen = resampled(len(kept))
  for measure in (sounding, struck):
    asked = _values(measure, calls, kept)
    found = {"calls": _means(asked)}
    first = None
    for name, sides in replies.items():
      given = _values(measure, sides, kept)
      one = followed(given, asked)
      draws = np.array(
        [followed(given[:, rows], asked[:, rows]) for rows in chosen]
      )
      found[name] = _means(given) | {
        "difference_ci95": interval((given[1] - given[0])[chosen].mean(axis=1)),
        "followed": round(one, 3),
        "followed_ci95": interval(draws),
      }
      if first is None:
        first = (one, draws)
      else:
        found[name]["followed_more"] = round(one - first[0], 3)
        found[name]["followed_more_ci95"] = interval(draws - first[1])
    report[measure.__name__] = found
  return report


def followed(given: np.ndarray, asked: np.ndarray) -> float:
  """How much replies differ for 1 that the calls differ; rows: `SIDES`."""
  return float(np.mean(given[1] - given[0]) / np.mean(asked[1] - asked[0]))


def _values(
  measure: Callable[[Score], float],
  sides: dict[str, list[Score]],
  kept: np.ndarray,
) -> np.ndarray:
  return np.array(
    [[measure(sides[side][row]) for row in kept] for side in SIDES]
  )


def _means(values: np.ndarray) -> dict[str, Any]:
  single, chordal = values.mean(axis=1).tolist()
  return {
    "single": round(single, 3),
    "chordal": round(chordal, 3),
    "difference": round(chordal - single, 3),
  }
