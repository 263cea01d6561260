"""Two-sample test: a small classifier of generated and real windows.

Logistic regression on standardized features of 10 s windows, cross-validated
by piece: windows of one piece, generated or real, are never on both sides.
The area under the curve (AUC) is 0.5 where it cannot tell them apart, 1 where
it always can. Only windows of one fold are compared: scores of two classifiers
have no common scale.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.typing import Bool, Float, Int
from tools.music.continuations import Take
from tools.music.features import (
  FEATURES,
  WINDOW_S,
  window_features,
)

__all__ = [
  "TwoSample",
  "area_under_curve",
  "two_sample",
  "two_sample_figures",
]

FOLDS = 5
# Weight of the squared coefficients, for each window learned from.
RIDGE = 0.05
DRAWS = 1000
# Halvings of the real windows: which pieces stand against which matters.
HALVINGS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoSample:
  """How well two samples can be told apart.

  Attributes:
    auc: Area under the curve on held-out pieces.
    draws: The same on bootstrap draws of the pieces.
  """

  auc: float
  draws: Float[np.ndarray, " n"]

  @property
  def interval(self) -> tuple[float, float]:
    """95 % bootstrap over pieces."""
    low, high = np.quantile(self.draws, (0.025, 0.975))
    return float(low), float(high)


def area_under_curve(
  positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " m"]
) -> float:
  """Chance that a positive scores above a negative; ties count half."""
  return float(_wins(positive, negative).mean())


def _wins(
  positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
  a, b = positive[:, None], negative[None, :]
  return (a > b) + 0.5 * (a == b)


def _logistic(
  x: Float[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " d_plus_one"]:
  """Coefficients, the last one constant, by Newton's method."""
  x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
  # Both classes weigh the same.
  weight = np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
  ridge = np.full(x.shape[1], RIDGE * len(x))
  ridge[-1] = 1e-6
  coefficients = np.zeros(x.shape[1])
  for _ in range(25):
    p = 1 / (1 + np.exp(-np.clip(x @ coefficients, -30, 30)))
    slope = x.T @ (weight * (y - p)) - ridge * coefficients
    curvature = (x.T * (weight * p * (1 - p))) @ x + np.diag(ridge)
    step = np.linalg.solve(curvature, slope)
    coefficients += step
    if np.abs(step).max() < 1e-6:
      break
  return coefficients


def _folds(
  positive: Bool[np.ndarray, " n"],
  piece: Int[np.ndarray, " n"],
  rng: np.random.Generator,
) -> tuple[Int[np.ndarray, " n"], int]:
  """A fold for each window, and their number.

  Pieces are dealt out in turn, those of one side first, so that every fold
  has windows of both sides.
  """
  pieces, index = np.unique(piece, return_inverse=True)
  sides = [np.unique(index[positive]), np.unique(index[~positive])]
  folds = min(FOLDS, *map(len, sides))
  if folds < 2:
    raise ValueError(
      "the two-sample test needs at least 2 pieces on each side, got"
      f" {len(sides[0])} and {len(sides[1])}. Continue more pieces."
    )
  shuffled = rng.permutation(len(pieces))
  order = shuffled[np.argsort(~np.isin(shuffled, sides[0]), kind="stable")]
  fold = np.empty(len(pieces), np.int64)
  fold[order] = np.arange(len(pieces)) % folds
  return fold[index], folds


def two_sample(
  features: Float[np.ndarray, "n d"],
  positive: Bool[np.ndarray, " n"],
  piece: Int[np.ndarray, " n"],
  *,
  seed: int = 0,
  draws: int = DRAWS,
) -> TwoSample:
  """Tells windows apart on held-out pieces.

  Args:
    features: One row a window.
    positive: Which sample each is of.
    piece: Which piece each comes from.
    seed: Of folds and bootstrap.
    draws: Bootstrap draws.

  Raises:
    ValueError: A sample has fewer than 2 pieces.
  """
  rng = np.random.default_rng(seed)
  fold, folds = _folds(positive, piece, rng)
  pieces, index = np.unique(piece, return_inverse=True)
  # Wins and comparisons between the windows of each two pieces.
  wins = np.zeros((len(pieces), len(pieces)))
  pairs = np.zeros_like(wins)
  for held_out in range(folds):
    train, test = fold != held_out, fold == held_out
    centre, spread = features[train].mean(axis=0), features[train].std(axis=0)
    spread[spread < 1e-9] = 1.0
    # Rare features are far out in a few windows; they should not decide.
    x = np.clip((features - centre) / spread, -4, 4)
    coefficients = _logistic(x[train], positive[train])
    scores = x @ coefficients[:-1]
    a, b = test & positive, test & ~positive
    at = (index[a][:, None], index[b][None, :])
    np.add.at(wins, at, _wins(scores[a], scores[b]))
    np.add.at(pairs, at, 1.0)
  counts = rng.multinomial(
    len(pieces), np.full(len(pieces), 1 / len(pieces)), size=draws
  ).astype(np.float64)
  compared = np.einsum("np,pq,nq->n", counts, pairs, counts, optimize=True)
  won = np.einsum("np,pq,nq->n", counts, wins, counts, optimize=True)
  # A draw may leave out a whole side.
  kept = compared > 0
  return TwoSample(
    auc=float(wins.sum() / pairs.sum()), draws=won[kept] / compared[kept]
  )


def two_sample_figures(
  takes: Sequence[Take], *, seed: int = 0
) -> dict[str, Any]:
  """Generated against real windows, and real against real.

  Args:
    takes: Continuations of any length; every whole 10 s is a window.
    seed: Of folds, halvings and bootstrap.

  Returns:
    `auc` with `ci95`; `control_auc` (mean over random halvings of the real
    windows by piece) with `control_ci95`; and `tells`, the features that
    differ most, generated minus real in standard deviations.

  Raises:
    ValueError: There are fewer than 4 pieces.
  """
  generated, real, pieces = [], [], []
  for take in takes:
    for window in range(int(take.passage.seconds / WINDOW_S)):
      start, end = window * WINDOW_S, (window + 1) * WINDOW_S
      generated.append(window_features(_window(take.music, start, end)))
      real.append(window_features(_window(take.passage.real, start, end)))
      pieces.append(take.passage.piece)
  piece = np.array(pieces)
  a, b = np.array(generated), np.array(real)
  found = two_sample(
    np.concatenate([a, b]),
    np.arange(2 * len(a)) < len(a),
    np.concatenate([piece, piece]),
    seed=seed,
  )
  controls = _controls(b, piece, seed)
  low, high = np.quantile(
    np.concatenate([control.draws for control in controls]), (0.025, 0.975)
  )
  spread = np.concatenate([a, b]).std(axis=0)
  apart = (a.mean(axis=0) - b.mean(axis=0)) / np.where(spread > 0, spread, 1)
  widest = np.argsort(-np.abs(apart), kind="stable")[:8]
  return dict(
    windows=len(a),
    pieces=len(set(pieces)),
    auc=found.auc,
    ci95=list(found.interval),
    control_auc=float(np.mean([control.auc for control in controls])),
    control_ci95=[float(low), float(high)],
    tells={FEATURES[i]: float(apart[i]) for i in widest},
  )


def _controls(
  features: Float[np.ndarray, "n d"], piece: Int[np.ndarray, " n"], seed: int
) -> list[TwoSample]:
  """Real against real: random halves of the pieces."""
  pieces = np.unique(piece)
  controls = []
  for halving in range(HALVINGS):
    rng = np.random.default_rng([seed, halving])
    half = rng.permutation(pieces)[: len(pieces) // 2]
    controls.append(
      two_sample(
        features,
        np.isin(piece, half),
        piece,
        seed=halving,
        draws=DRAWS // HALVINGS,
      )
    )
  return controls


def _window(score: Score, start_s: float, end_s: float) -> Score:
  # A little earlier: rounding errors must not move a note.
  early_s = 0.0025
  return score.crop(max(0.0, start_s - early_s), end_s - early_s)
