"""Features of a window of music, for the two-sample classifier."""

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int, Shaped
from tools.music.likeness import (
  chunk_notes,
  longest_repetition,
  pedal_changes,
  pedal_share,
  polyphony,
)

__all__ = ["FEATURES", "WINDOW_S", "window_features"]

WINDOW_S = 10.0
# Onsets this close are one chord for a listener, s.
CHORD_S = 0.035
_MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], bool)

# Histograms: name and edges; the outer bins take all beyond.
_HISTOGRAMS = (
  ("register", np.arange(24.0, 108, 12) - 0.5),
  ("velocity", np.arange(24.0, 120, 12) - 0.5),
  ("duration", np.geomspace(0.035, 4.5, 9)),
  ("interval", np.array([0.5, 2.5, 5.5, 9.5, 14.5, 24.5, 49.5, 99.5]) / 100),
)
FEATURES = (
  "notes",
  "chunk_spread",
  "silent_chunks",
  *(f"polyphony_{name}" for name in ("mean", "spread", "most")),
  *(f"key_{name}" for name in ("mean", "spread", "leap")),
  *(f"velocity_{name}" for name in ("mean", "spread", "leap")),
  *(f"velocity_follows_{name}" for name in ("itself", "key")),
  "interval_follows_itself",
  *(f"pedal_{name}" for name in ("down", "changes")),
  "chords",
  "out_of_scale",
  "repetition",
  *(f"pitch_class_{rank}" for rank in range(12)),
  *(f"together_{semitones}" for semitones in range(12)),
  *(f"in_turn_{semitones}" for semitones in range(12)),
  *(
    f"{name}_{index}"
    for name, edges in _HISTOGRAMS
    for index in range(len(edges) + 1)
  ),
)


def _share(
  bins: Int[np.ndarray, " n"], size: int
) -> Float[np.ndarray, " size"]:
  return np.bincount(bins, minlength=size) / max(1, len(bins))


def _correlation(
  a: Shaped[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]
) -> float:
  """Pearson's; 0 where one side is constant or short."""
  if len(a) < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
    return 0.0
  return float(np.corrcoef(a, b)[0, 1])


def window_features(
  score: Score, seconds: float = WINDOW_S
) -> Float[np.ndarray, " n"]:
  """Features of a window for the classifier: `FEATURES`.

  Pitch classes are sorted by their share, so that no key is told from
  another; intervals are counted between notes less than 35 ms apart
  (`together`) and others in a row (`in_turn`), in semitones modulo 12.
  """
  notes = score.notes
  onset, key = notes["onset_s"], notes["key"].astype(np.int64)
  velocity = notes["velocity"].astype(np.float64)
  counts = chunk_notes(score, seconds)
  sounding = polyphony(score, seconds)
  steps = np.diff(onset)
  leaps = np.diff(key)
  together = steps < CHORD_S
  classes = _share(key % 12, 12)
  scales = [classes[np.roll(~_MAJOR, tonic)].sum() for tonic in range(12)]

  def spread(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else 0.0

  def mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0

  return np.concatenate(
    [
      [
        np.log1p(len(notes)),
        spread(counts) / max(1.0, mean(counts)),
        mean(counts == 0),
        mean(sounding),
        spread(sounding),
        sounding.max(initial=0),
        mean(key),
        spread(key),
        mean(np.abs(leaps)),
        mean(velocity),
        spread(velocity),
        mean(np.abs(np.diff(velocity))),
        _correlation(velocity[1:], velocity[:-1]),
        _correlation(velocity, key),
        _correlation(np.log(steps[1:] + 0.01), np.log(steps[:-1] + 0.01)),
        pedal_share(score, seconds),
        np.log1p(pedal_changes(score, seconds)),
        mean(together),
        min(scales),
        np.log1p(longest_repetition(Score.empty(), score, 0.0)),
      ],
      np.sort(classes)[::-1],
      _share(leaps[together] % 12, 12),
      _share(np.abs(leaps[~together]) % 12, 12),
      *(
        _share(np.searchsorted(edges, values, side="right"), len(edges) + 1)
        for (_, edges), values in zip(
          _HISTOGRAMS,
          (key, velocity, notes["duration_s"], steps),
          strict=True,
        )
      ),
    ]
  )
