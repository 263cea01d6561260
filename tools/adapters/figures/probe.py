"""Linear classifier that names the player of a recording or a continuation.

Multinomial logistic regression on standardized embeddings of real playing, all
players with the same weight; the penalty on the squared weights is chosen by
cross-validation over pieces. It never sees a continuation before it is asked.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from magenta_midi.midi.score import Score
from magenta_midi.style.model import StyleModel
from magenta_midi.typing import Float, Int

from .bootstrap import DRAWS, interval, paired

__all__ = ["Probe", "embeddings", "fit", "held_accuracy", "named", "train"]

# Weights of the squared coefficients that are tried.
RIDGES = (0.0003, 0.003, 0.03, 0.3)
FOLDS = 5


class Probe(NamedTuple):
  """A classifier: the standardisation, and weights, the last row constant."""

  centre: Float[np.ndarray, " d"]
  spread: Float[np.ndarray, " d"]
  weights: Float[np.ndarray, "d_plus_one k"]

  def chances(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Of each player; where there is no embedding (NaN) of nobody, 0."""
    x = (x - self.centre) / self.spread
    heard = np.isfinite(x).all(axis=1, keepdims=True)
    scores = np.where(heard, x, 0.0) @ self.weights[:-1] + self.weights[-1]
    return np.where(heard, softmax(scores, axis=1), 0.0)


def embeddings(
  model: StyleModel,
  scores: Sequence[Score],
  on_done: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "n 768"]:
  """The mean embedding of each score's windows of 10 s; NaN for silence."""
  found = np.full((len(scores), 768), np.nan)
  for row, score in enumerate(scores):
    if len(np.unique(score.notes["onset_s"])) > 1:
      found[row] = model.embed(score)
    on_done()
  return found


def fit(
  x: Float[np.ndarray, "n d"],
  y: Int[np.ndarray, " n"],
  ridge: float,
) -> Probe:
  """The classifier of embeddings `x` by players `y`, 0 and up."""
  centre, spread = x.mean(axis=0), x.std(axis=0)
  spread = np.where(spread < 1e-9, 1.0, spread)
  inside = np.append((x - centre) / spread, np.ones((len(x), 1)), axis=1)
  count = np.bincount(y)
  right = np.eye(len(count))[y]
  # Players weigh the same, however much they have played.
  weight = (1 / (len(count) * count[y]))[:, None]
  penalty = np.full((inside.shape[1], 1), ridge)
  penalty[-1] = 0.0

  def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
    weights = flat.reshape(inside.shape[1], -1)
    logs = log_softmax(inside @ weights, axis=1)
    value = -(weight * right * logs).sum() + (penalty * weights**2).sum() / 2
    slope = inside.T @ (weight * (np.exp(logs) - right)) + penalty * weights
    return float(value), slope.ravel()

  start = np.zeros(inside.shape[1] * len(count))
  found = minimize(loss, start, jac=True, method="L-BFGS-B")
  return Probe(centre, spread, found.x.reshape(inside.shape[1], -1))


def train(
  x: Float[np.ndarray, "n d"],
  y: Int[np.ndarray, " n"],
  piece: Int[np.ndarray, " n"],
) -> tuple[Probe, float]:
  """The classifier with the best ridge, and that.

  Args:
    x: Embeddings.
    y: Players.
    piece: Which piece each is of, in all: one is never on both sides.
  """
  fold = np.empty(len(x), np.int64)
  for player in np.unique(y):
    # Dealt out player by player, so that a fold has some of each.
    _, index = np.unique(piece[y == player], return_inverse=True)
    fold[y == player] = index % FOLDS

  def cost(ridge: float) -> float:
    total = 0.0
    for out in np.unique(fold):
      inside = fold != out
      if len(np.unique(y[inside])) < len(np.unique(y)):
        continue  # a player of one piece
      chances = fit(x[inside], y[inside], ridge).chances(x[~inside])
      own = chances[np.arange(len(chances)), y[~inside]]
      total -= float(np.log(np.maximum(own, 1e-12)).sum())
    return total

  best = min(RIDGES, key=cost)
  return fit(x, y, best), best


def held_accuracy(
  probe: Probe,
  x: Float[np.ndarray, "n d"],
  y: Int[np.ndarray, " n"],
  piece: Int[np.ndarray, " n"],
  players: Sequence[str],
) -> dict[str, Any]:
  """How often it is right of real playing, the mean over players.

  Returns:
    `accuracy` with an interval over pieces, and `named`: of each player's
    stretches, how many are named whom.
  """
  right = (probe.chances(x).argmax(axis=1) == y).astype(float)
  rng = np.random.default_rng(0)
  total = np.zeros(DRAWS)
  for player in range(len(players)):
    own, index = np.unique(piece[y == player], return_inverse=True)
    hits = np.bincount(index, right[y == player])
    sizes = np.bincount(index)
    drawn = rng.integers(0, len(own), (DRAWS, len(own)))
    total += hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
  shares = [right[y == player].mean() for player in range(len(players))]
  return {
    "accuracy": round(float(np.mean(shares)), 4),
    "ci95": interval(total / len(players)),
    "named": {
      player: _shares(probe, x[y == number], players)
      for number, player in enumerate(players)
    },
  }


def named(
  probe: Probe,
  base: Float[np.ndarray, "n d"],
  other: Float[np.ndarray, "n d"],
  player: int,
  players: Sequence[str],
) -> dict[str, Any]:
  """How often continuations are named a player's, without and with something.

  Args:
    probe: From `train`.
    base: Embeddings of the base's continuations.
    other: Of others from the same contexts.
    player: Which player is right.
    players: Names, by number.

  Returns:
    `share` that is named so and `chance`, the mean probability of it, both
    paired; and whom they are named, `base_named` and `with_named`.
  """
  chances = [probe.chances(x) for x in (base, other)]
  right = [
    ((one.argmax(axis=1) == player) & (one.sum(axis=1) > 0)).astype(float)
    for one in chances
  ]
  return {
    "contexts": len(base),
    "share": paired(*right),
    "chance": paired(*(one[:, player] for one in chances)),
    "base_named": _shares(probe, base, players),
    "with_named": _shares(probe, other, players),
  }


def _shares(
  probe: Probe, x: Float[np.ndarray, "n d"], players: Sequence[str]
) -> dict[str, float]:
  """Of each player, how many are named theirs."""
  chances = probe.chances(x)
  whom = chances.argmax(axis=1)[chances.sum(axis=1) > 0]
  count = np.bincount(whom, minlength=len(players)) / max(len(x), 1)
  return {
    name: round(float(share), 3)
    for name, share in zip(players, count, strict=True)
    if share
  }
