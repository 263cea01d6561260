"""Voicings and melodic figures, and how many different ones there are."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln

from magenta_midi.midi.score import Score

from .bootstrap import DRAWS, interval, resampled

__all__ = ["at_equal", "chords", "collapse", "figures", "top_line", "voicings"]

# 50 ms on a grid of 10 ms; half a step more, for what rounding does.
STRUCK_S = 0.055
# A higher key let go so soon after was legato, and does not cover the line.
LEGATO_S = 0.06
# Notes of a melodic figure.
FIGURE = 4


def chords(score: Score) -> list[np.ndarray]:
  """Numbers of notes struck within 50 ms of the first of them."""
  onset_s = score.notes["onset_s"]
  found, first = [], 0
  while first < len(onset_s):
    after = int(
      np.searchsorted(onset_s, onset_s[first] + STRUCK_S, side="right")
    )
    found.append(np.arange(first, after))
    first = after
  return found


def voicings(score: Score) -> list[tuple[int, ...]]:
  """Sets of two keys or more that are struck within 50 ms."""
  key = score.notes["key"]
  found = [tuple(np.unique(key[chord]).tolist()) for chord in chords(score)]
  return [keys for keys in found if len(keys) > 1]


def top_line(score: Score) -> np.ndarray:
  """Numbers of the notes on top: of each chord, where none higher is held."""
  notes = score.notes
  key, onset_s = notes["key"], notes["onset_s"]
  end_s = onset_s + notes["duration_s"]
  found = []
  for chord in chords(score):
    top = int(chord[np.argmax(key[chord])])
    held = end_s[: chord[0]] > onset_s[top] + LEGATO_S
    if not (held & (key[: chord[0]] > key[top])).any():
      found.append(top)
  return np.array(found, np.int64)


def figures(score: Score) -> list[tuple[int, ...]]:
  """The 3 intervals, semitones, of each 4 successive notes on top."""
  steps = np.diff(score.notes["key"][top_line(score)].astype(int)).tolist()
  width = FIGURE - 1
  return [tuple(steps[at : at + width]) for at in range(len(steps) - width + 1)]


def at_equal(counts: Sequence[int], size: int) -> float:
  """Different kinds among `size` that are drawn, on average.

  Args:
    counts: How often each kind is there.
    size: Drawn without putting back; at most the sum of the counts.

  Source: Hurlbert 1971, Ecology 52, 577-586, equation 13.
  """
  count = np.array(counts, float)
  total = count.sum()
  rest = total - count
  # The chance that a kind is not among those drawn, as logarithms.
  possible = rest >= size
  missed = np.zeros(len(count))
  rest = rest[possible]
  missed[possible] = np.exp(
    gammaln(rest + 1)
    - gammaln(rest - size + 1)
    - gammaln(total + 1)
    + gammaln(total - size + 1)
  )
  return float((1 - missed).sum())


def collapse(
  music: dict[str, list[Score]], against: str = "base"
) -> dict[str, Any]:
  """How many different voicings and figures are in all of some music.

  Args:
    music: Of each source, continuations of the same contexts.
    against: What ratios are to.

  Returns:
    For `voicings` and `figures`, by source: `distinct`, `total`,
    `per_1000_notes`, `at_equal` (distinct among as many as the source with
    the fewest has), and the ratios of `distinct` and of `at_equal`; the first
    has a 95 % interval over contexts.
  """
  report: dict[str, Any] = {
    "notes": {name: sum(map(len, scores)) for name, scores in music.items()}
  }
  for kind, found_in in (("voicings", voicings), ("figures", figures)):
    found = {
      name: [found_in(score) for score in scores]
      for name, scores in music.items()
    }
    counts = {
      name: list(Counter(one for part in parts for one in part).values())
      for name, parts in found.items()
    }
    size = min(map(sum, counts.values()))
    row = {}
    for name, count in counts.items():
      notes = max(report["notes"][name], 1)
      row[name] = {
        "distinct": len(count),
        "total": sum(count),
        "per_1000_notes": round(1000 * len(count) / notes, 1),
        "at_equal": round(at_equal(count, size), 1),
      }
    base = row[against]
    chosen = resampled(len(music[against]))
    plain = _distinct(found[against], chosen)
    for name, one in row.items():
      ratios = _distinct(found[name], chosen) / np.maximum(plain, 1)
      one["ratio"] = round(one["distinct"] / max(base["distinct"], 1), 3)
      one["ratio_ci95"] = interval(ratios)
      one["ratio_at_equal"] = round(
        one["at_equal"] / max(base["at_equal"], 1e-9), 3
      )
    report[kind] = row
  return report


def _distinct(
  parts: Sequence[Sequence[Hashable]], chosen: np.ndarray
) -> np.ndarray:
  """How many different ones some parts have, for each choice of parts."""
  number = {
    one: place
    for place, one in enumerate(dict.fromkeys(x for p in parts for x in p))
  }
  there = np.zeros((len(parts), len(number)), np.float32)
  for row, part in enumerate(parts):
    there[row, [number[one] for one in part]] = 1
  times = np.zeros((DRAWS, len(parts)), np.float32)
  np.add.at(times, (np.arange(DRAWS)[:, None], chosen), 1)
  return (times @ there > 0).sum(axis=1).astype(float)
