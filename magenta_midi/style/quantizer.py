"""Residual vector quantizer of style embeddings.

Each level has the code that is nearest to the residual of the previous levels.
It works in the directions with the most variance.

Source: SoundStream, arXiv 2107.03312; MusicCoCa has one with 12 levels of 1024
codes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = ["Quantizer", "level_cosines"]


class Quantizer(NamedTuple):
  """Codes of each level, in a projected space."""

  mean: Float[np.ndarray, " d"]
  projection: Float[np.ndarray, "d c"]  # orthonormal columns
  codes: Float[np.ndarray, "l v c"]

  @property
  def levels(self) -> int:
    """Number of tokens of an embedding."""
    return self.codes.shape[0]

  @property
  def size(self) -> int:
    """Number of codes of a level."""
    return self.codes.shape[1]

  def encode(
    self, embeddings: Float[np.ndarray, "n d"]
  ) -> Int[np.ndarray, "n l"]:
    """The nearest code of each level, 0 or more, int32."""
    rest = (embeddings - self.mean) @ self.projection
    found = np.zeros((len(embeddings), self.levels), np.int32)
    for level, codes in enumerate(self.codes):
      # The part of the squared distance that depends on the code.
      distance = np.sum(codes**2, axis=1) - 2 * rest @ codes.T
      found[:, level] = distance.argmin(axis=1)
      rest = rest - codes[found[:, level]]
    return found

  def decode(self, codes: Int[np.ndarray, "n l"]) -> Float[np.ndarray, "n d"]:
    """Unit vectors of codes; fewer levels give less precise vectors."""
    total = np.zeros((len(codes), self.codes.shape[2]), np.float32)
    for level in range(codes.shape[1]):
      total += self.codes[level][codes[:, level]]
    vectors = self.mean + total @ self.projection.T
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-9)).astype(np.float32)

  @classmethod
  def fit(
    cls,
    embeddings: Float[np.ndarray, "n d"],
    *,
    levels: int = 6,
    size: int = 256,
    dims: int = 64,
    rounds: int = 20,
    seed: int = 0,
  ) -> Quantizer:
    """Fits codes by k-means, level after level.

    Args:
      embeddings: Unit vectors, many more than `size`.
      levels: Number of tokens of an embedding.
      size: Number of codes of a level.
      dims: Number of dimensions of the projected space.
      rounds: Number of rounds of k-means.
      seed: Random seed of k-means.
    """
    from scipy.cluster.vq import kmeans2

    mean = embeddings.mean(axis=0)
    centered = embeddings - mean
    _, axes = np.linalg.eigh(centered.T @ centered)
    projection = np.ascontiguousarray(axes[:, ::-1][:, :dims])
    rest = centered @ projection
    found = []
    for level in range(levels):
      codes, nearest = kmeans2(
        rest, size, iter=rounds, minit="++", rng=seed + level
      )
      found.append(codes)
      rest = rest - codes[nearest]
    return cls(
      mean.astype(np.float32),
      projection.astype(np.float32),
      np.stack(found).astype(np.float32),
    )


def level_cosines(
  quantizer: Quantizer, embeddings: Float[np.ndarray, "n d"]
) -> list[float]:
  """Mean cosine of embeddings to their decoding with 1, 2, ... levels."""
  codes = quantizer.encode(embeddings)
  return [
    float(np.mean(np.sum(embeddings * quantizer.decode(codes[:, :n]), axis=1)))
    for n in range(1, quantizer.levels + 1)
  ]
