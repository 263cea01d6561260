"""Measures of a piece of music: key, density, texture, touch.

Every function takes all parts together, as if played on one piano.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from magenta_midi.midi.pedal import union_of_pedals
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int

__all__ = [
  "MAX_ACCENT_S",
  "Analysis",
  "Key",
  "analyze",
  "articulation",
  "evenness",
  "find_key",
  "inter_onsets_s",
  "key_correlations",
  "notes_per_s",
  "onset_groups",
  "pedal_share",
  "pitch_class_weights",
  "polyphony",
]

# Fingers of one chord land within about this time of each other.
CHORD_S = 0.03

# A note longer than this is not heard as more important.
MAX_ACCENT_S = 1.0

# How well each pitch class fits a key, from the tonic up, as rated by
# listeners: Krumhansl and Kessler 1982, Psychological Review 89, 334-368.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34)
_PROFILES = np.array([(*_MAJOR, 2.88), (*_MINOR, 3.17)])
_PROFILES -= _PROFILES.mean(axis=1, keepdims=True)
_PROFILES /= np.linalg.norm(_PROFILES, axis=1, keepdims=True)
# Major and minor, by tonic, by pitch class.
_KEYS = np.stack([np.roll(_PROFILES, tonic, axis=1) for tonic in range(12)], 1)

PITCH_CLASSES = (
  "C",
  "C#",
  "D",
  "Eb",
  "E",
  "F",
  "F#",
  "G",
  "Ab",
  "A",
  "Bb",
  "B",
)


class Key(NamedTuple):
  """A musical key and how well it fits."""

  tonic: int  # pitch class, C is 0
  minor: bool
  correlation: float  # of the music with the key's profile, -1..1

  @property
  def name(self) -> str:
    """Such as `A minor`."""
    return f"{PITCH_CLASSES[self.tonic]} {'minor' if self.minor else 'major'}"


@dataclass(frozen=True, kw_only=True)
class Analysis:
  """A piece in twelve numbers; see the functions of the same names."""

  notes_per_s: float
  median_ioi_s: float  # between successive onsets, chords counted once
  evenness: float  # 0..1
  velocity_mean: float  # 1..127
  velocity_std: float
  key_mean: float  # 0..127, middle C is 60
  key_std: float  # semitones
  polyphony: float  # keys held, 1 and up
  articulation: float  # of duration to inter-onset interval; 1: legato
  pedal_share: float  # 0..1
  # Correlation of the best major key less that of the best minor key.
  mode: float
  key_clarity: float  # correlation of the best key


def analyze(score: Score) -> Analysis:
  """Measures a piece.

  Raises:
    ValueError: There are fewer than two onsets.
  """
  score = score.merged()
  ioi_s = inter_onsets_s(score)
  if not len(ioi_s):
    raise ValueError(
      "music to analyse must have notes at 2 onsets or more, got "
      f"{len(score)} notes at {min(len(score), 1)}. Give a longer piece."
    )
  correlations = key_correlations(pitch_class_weights(score))
  major, minor = correlations.max(axis=1)
  velocity, key = score.notes["velocity"], score.notes["key"]
  return Analysis(
    notes_per_s=notes_per_s(score),
    median_ioi_s=float(np.median(ioi_s)),
    evenness=evenness(score),
    velocity_mean=float(velocity.mean()),
    velocity_std=float(velocity.std()),
    key_mean=float(key.mean()),
    key_std=float(key.std()),
    polyphony=polyphony(score),
    articulation=articulation(score),
    pedal_share=pedal_share(score),
    mode=float(major - minor),
    key_clarity=float(max(major, minor)),
  )


def onset_groups(
  score: Score, *, within_s: float = CHORD_S
) -> Int[np.ndarray, " n"]:
  """The chord each note belongs to, counted from 0.

  A note within `within_s` after the one before is in the same chord.
  """
  gap_s = np.diff(score.notes["onset_s"], prepend=-np.inf)
  return np.cumsum(gap_s > within_s) - 1


def inter_onsets_s(score: Score) -> Float[np.ndarray, " n"]:
  """Seconds from each chord to the next; one fewer than there are chords."""
  first = np.unique(onset_groups(score), return_index=True)[1]
  return np.diff(score.notes["onset_s"][first])


def notes_per_s(score: Score) -> float:
  """Notes a second, from the first onset to the last note's end.

  Music of less than one second counts as one second; no notes are 0.
  """
  start_s, end_s = _span_s(score)
  return len(score) / max(end_s - start_s, 1.0)


def evenness(score: Score) -> float:
  """How alike successive inter-onset intervals are.

  The median of shorter to longer: 1 for running notes, 0.5 where each
  interval is half or twice the one before; 1 for fewer than three onsets.
  """
  ioi_s = inter_onsets_s(score)
  if len(ioi_s) < 2:
    return 1.0
  shorter = np.minimum(ioi_s[1:], ioi_s[:-1])
  return float(np.median(shorter / np.maximum(ioi_s[1:], ioi_s[:-1])))


def polyphony(score: Score) -> float:
  """Keys held at once, on average over the time any is held; 0 if none."""
  notes = score.merged().notes
  if not len(notes):
    return 0.0
  onset_s = notes["onset_s"]
  end_s = onset_s + notes["duration_s"]
  # Sorted by onset: what a note adds to the time covered lies after every
  # earlier end.
  earlier_s = np.maximum.accumulate(end_s)[:-1]
  covered_from_s = np.maximum(onset_s, np.append(-np.inf, earlier_s))
  covered_s = np.maximum(end_s - covered_from_s, 0.0).sum()
  # Notes can be too short to reach beyond their onsets, as floats go.
  return float(notes["duration_s"].sum() / covered_s) if covered_s else 1.0


def articulation(score: Score) -> float:
  """Median of duration to the time until the next chord; 1 is legato.

  Below 1 notes are apart, above they overlap; the last chord is left out.
  Fewer than two onsets are 1.
  """
  ioi_s = inter_onsets_s(score)
  group = onset_groups(score)
  inner = group < len(ioi_s)
  if not inner.any():
    return 1.0
  duration_s = score.notes["duration_s"][inner]
  return float(np.median(duration_s / ioi_s[group[inner]]))


def pedal_share(score: Score) -> float:
  """Share of the time from first onset to last note's end with pedal."""
  start_s, end_s = _span_s(score)
  pedals = union_of_pedals(score.pedals)
  if end_s <= start_s or not len(pedals):
    return 0.0
  time_s = np.clip(np.append(pedals["time_s"], end_s), start_s, end_s)
  return float(np.diff(time_s)[pedals["down"]].sum() / (end_s - start_s))


def pitch_class_weights(score: Score) -> Float[np.ndarray, " 12"]:
  """Seconds each pitch class sounds, from C up; a note at most 1 s."""
  return np.bincount(
    score.notes["key"] % 12,
    np.minimum(score.notes["duration_s"], MAX_ACCENT_S),
    minlength=12,
  )


def key_correlations(
  weights: Float[np.ndarray, " 12"],
) -> Float[np.ndarray, "2 12"]:
  """How well each key fits, as correlations.

  Args:
    weights: How much of each pitch class there is, from C up.

  Returns:
    Major keys, then minor ones, by tonic from C up; all 0 where the weights
    are all the same.
  """
  centered = weights - weights.mean()
  norm = np.linalg.norm(centered)
  if norm <= 1e-9 * np.abs(weights).sum():
    return np.zeros((2, 12))
  return _KEYS @ centered / norm


def find_key(score: Score) -> Key:
  """The key whose Krumhansl-Kessler profile the music fits best.

  Raises:
    ValueError: There are no notes.
  """
  if not len(score):
    raise ValueError("a key needs notes, got a score without. Give a longer.")
  correlations = key_correlations(pitch_class_weights(score))
  minor, tonic = divmod(int(correlations.argmax()), 12)
  return Key(tonic, bool(minor), float(correlations[minor, tonic]))


def _span_s(score: Score) -> tuple[float, float]:
  notes = score.notes
  if not len(notes):
    return 0.0, 0.0
  end_s = (notes["onset_s"] + notes["duration_s"]).max()
  return float(notes["onset_s"][0]), float(end_s)
