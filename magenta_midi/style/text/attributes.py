"""Attributes of music that words name, with their low and high ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from magenta_midi.midi.analysis.description import Description

__all__ = ["ATTRIBUTES", "Attribute", "levels_of"]

_NEVER = float("inf")


class Attribute(NamedTuple):
  """A measure, and the values below and above which it is clear."""

  measure: Callable[[Description], float]  # nan: not measurable
  low: float
  high: float


# About the outer thirds of 10 s windows of piano rolls, pop arrangements and
# transcribed recordings. The absence of a texture has no word.
ATTRIBUTES: Mapping[str, Attribute] = {
  # Onsets a second, chords counted once.
  "speed": Attribute(lambda d: 1 / d.analysis.median_ioi_s, 3.6, 6.2),
  "loudness": Attribute(lambda d: d.analysis.velocity_mean, 58.0, 78.0),
  "density": Attribute(lambda d: d.analysis.notes_per_s, 5.6, 9.5),
  "register": Attribute(lambda d: d.analysis.key_mean, 61.0, 66.0),
  # Low is minor.
  "mode": Attribute(lambda d: d.analysis.mode, -0.05, 0.08),
  "articulation": Attribute(lambda d: d.analysis.articulation, 0.85, 1.45),
  "pedal": Attribute(lambda d: d.analysis.pedal_share, 0.4, 0.9),
  "dynamics": Attribute(lambda d: d.analysis.velocity_std, 7.0, 13.5),
  "trend": Attribute(lambda d: d.loudness_trend, -0.15, 0.15),
  "evenness": Attribute(lambda d: d.analysis.evenness, 0.55, 0.93),
  "swing": Attribute(lambda d: d.swing_ratio, 1.02, 1.2),
  "syncopation": Attribute(lambda d: d.syncopation, 0.001, 0.1),
  "spread": Attribute(lambda d: d.analysis.key_std, 9.0, 12.5),
  "polyphony": Attribute(lambda d: d.analysis.polyphony, 2.6, 4.0),
  "clarity": Attribute(lambda d: d.analysis.key_clarity, 0.75, 0.88),
  "chords": Attribute(lambda d: d.chord_share, -_NEVER, 0.6),
  "single_line": Attribute(lambda d: d.single_line, -_NEVER, 0.3),
  "arpeggio": Attribute(lambda d: d.arpeggio, -_NEVER, 0.5),
  "accompaniment": Attribute(lambda d: d.accompaniment, -_NEVER, 0.97),
  "stride": Attribute(lambda d: d.stride, -_NEVER, 0.42),
  "runs": Attribute(lambda d: d.runs, -_NEVER, 0.15),
}

# Beyond these values (about the outer tenths) a level may be "very".
_EXTREMES: Mapping[str, tuple[float, float]] = {
  "speed": (2.3, 10.0),
  "loudness": (42.0, 91.0),
  "density": (3.8, 16.0),
  "register": (57.0, 70.5),
  "mode": (-0.17, 0.28),
  "articulation": (0.55, 2.4),
  "pedal": (0.05, 0.97),
  "dynamics": (4.0, 18.0),
  "trend": (-0.4, 0.4),
  "evenness": (0.35, _NEVER),
  "swing": (-_NEVER, 1.5),
  "syncopation": (-_NEVER, 0.2),
  "spread": (7.5, 15.0),
  "polyphony": (2.0, 6.0),
  "clarity": (0.63, 0.95),
}


def levels_of(description: Description) -> dict[str, tuple[str, bool]]:
  """The level (low, middle, high) of each attribute, and if it is extreme.

  Attributes that are not measurable and absent textures are left out.
  """
  found = {}
  for name, (measure, low, high) in ATTRIBUTES.items():
    value = measure(description)
    if value <= low:
      extremes = _EXTREMES.get(name)
      found[name] = ("low", extremes is not None and value <= extremes[0])
    elif value >= high:
      extremes = _EXTREMES.get(name)
      found[name] = ("high", extremes is not None and value >= extremes[1])
    elif value == value and low > -_NEVER:
      found[name] = ("middle", False)
  return found
