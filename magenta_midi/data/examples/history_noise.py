"""Unsteady histories: the notes before *now* a little early or late.

With a true history the beat is known already, and a model never learns what to
do when it is off. Here the history strays and the targets do not, so that the
model learns to come back to the beat.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from magenta_midi.limits import AMOUNT, SHARE
from magenta_midi.settings import check_numbers
from magenta_midi.tokens.note.codec import PEDAL_DOWN
from magenta_midi.typing import Float, Shaped

__all__ = ["HistoryNoise"]

# The drift is that of a context this long, and reaches its end at *now*, ms.
_CONTEXT_MS = 10_000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryNoise:
  """How far histories stray.

  Attributes:
    share: Of the examples, 0 to 1; 0: none.
    onset_ms: Standard deviation of each onset; notes of one onset stay
      together.
    drift_ms: Standard deviation of what the history has gathered at *now*.
    seed: Of the draws.
  """

  share: float = 0.0
  onset_ms: float = 15.0
  drift_ms: float = 25.0
  seed: int = 0

  def __post_init__(self) -> None:
    """Refuses what cannot be drawn."""
    check_numbers(self)
    SHARE.check("history_noise's share", self.share)
    AMOUNT.check("history_noise's onset_ms", self.onset_ms)
    AMOUNT.check("history_noise's drift_ms", self.drift_ms)

  def moved(
    self,
    examples: Shaped[np.ndarray, " b"],
    offset_ms: Float[np.ndarray, "b w"],
    key: Shaped[np.ndarray, "b w"],
    context_ms: Float[np.ndarray, " b"],
    half_step_ms: float,
  ) -> Float[np.ndarray, "b w"]:
    """Offsets of events from *now*, those of the history moved.

    An event stays on its side of *now* and of the context's start: the numbers
    of frames do not change. Pedal changes stay where they are.

    Args:
      examples: `EXAMPLE_DTYPE`; the same example is moved in the same way.
      offset_ms: Ascending in each row.
      key: Of each event.
      context_ms: Length of each context.
      half_step_ms: Half a step of the codec, whose grid rounds.
    """
    if not self.share:
      return offset_ms
    moved = offset_ms.copy()
    for row, example in enumerate(examples):
      rng = np.random.default_rng((self.seed, zlib.crc32(example.tobytes())))
      if rng.uniform() >= self.share:
        continue
      first = -context_ms[row] - half_step_ms
      chosen = (offset_ms[row] >= first) & (offset_ms[row] < -half_step_ms)
      chosen &= key[row] < PEDAL_DOWN
      at = offset_ms[row][chosen]
      if not len(at):
        continue
      # Notes of one chord come within 30 ms.
      onset = np.cumsum(np.diff(at, prepend=at[0]) > 30.0)
      noise = rng.normal(0, self.onset_ms, onset[-1] + 1)[onset]
      drift = rng.normal(0, self.drift_ms) * (1 + at / _CONTEXT_MS)
      # The last moment that still rounds to a step before *now*.
      last = np.nextafter(-half_step_ms, -np.inf)
      moved[row, chosen] = np.clip(at + noise + drift, first, last)
    return moved
