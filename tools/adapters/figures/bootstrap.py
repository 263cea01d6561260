"""95 % intervals over contexts, paired: both sides have the same contexts."""

from typing import Any

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = ["DRAWS", "interval", "paired", "resampled"]

DRAWS = 1000


def resampled(count: int) -> Int[np.ndarray, "draws n"]:
  """Numbers 0 to `count` less 1, drawn with putting back; the same always."""
  return np.random.default_rng(0).integers(0, count, (DRAWS, count))


def interval(draws: Float[np.ndarray, " n"]) -> list[float]:
  """From the 2.5th to the 97.5th percentile."""
  return [round(float(x), 4) for x in np.quantile(draws, (0.025, 0.975))]


def paired(
  base: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]
) -> dict[str, Any]:
  """Both means, and the second less the first, with its interval."""
  gain = other - base
  draws = gain[resampled(len(gain))].mean(axis=1)
  return {
    "base": round(float(base.mean()), 4),
    "with": round(float(other.mean()), 4),
    "difference": round(float(gain.mean()), 4),
    "ci95": interval(draws),
  }
