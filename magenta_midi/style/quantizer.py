"""Embeddings as a few tokens: a residual vector quantizer.

Each level names the nearest of its codes to what the levels before have left
over. It works in the directions in which embeddings vary most.

Source: SoundStream, arXiv 2107.03312; MusicCoCa's 12 levels of 1024 are one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.typing import Float, Int

__all__ = ["Quantizer", "level_cosines"]


class Quantizer(NamedTuple):
  """Codes of each level, in a space of fewer dimensions."""

  mean: Float[np.ndarray, " d"]
  projection: Float[np.ndarray, "d c"]  # orthonormal columns
  codes: Float[np.ndarray, "l v c"]

  @property
  def levels(self) -> int:
    """Tokens of an embedding."""
    return self.codes.shape[0]

  @property
  def size(self) -> int:
    """Codes of a level."""
    return self.codes.shape[1]

  def encode(
    self, embeddings: Float[np.ndarray, "n d"]
  ) -> Int[np.ndarray, "n l"]:
    """The nearest code of each level, from 0, int32."""
    rest = (embeddings - self.mean) @ self.projection
    found = np.zeros((len(embeddings), self.levels), np.int32)
    for level, codes in enumerate(self.codes):
      # Of the squared distance, what depends on the code.
      distance = np.sum(codes**2, axis=1) - 2 * rest @ codes.T
      found[:, level] = distance.argmin(axis=1)
      rest = rest - codes[found[:, level]]
    return found

  def decode(self, codes: Int[np.ndarray, "n l"]) -> Float[np.ndarray, "n d"]:
    """Unit vectors; fewer levels than there are give coarser ones."""
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
    """Codes by k-means, level after level.

    Args:
      embeddings: Unit vectors, many more than `size`.
      levels: Tokens of an embedding.
      size: Codes of a level.
      dims: Dimensions that are kept.
      rounds: Of k-means.
      seed: Of its start.
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
  """Mean cosine of embeddings and what 1, 2, ... levels keep of them."""
  codes = quantizer.encode(embeddings)
  return [
    float(np.mean(np.sum(embeddings * quantizer.decode(codes[:, :n]), axis=1)))
    for n in range(1, quantizer.levels + 1)
  ]
