"""Library of MIDI files with style embeddings, and their cache."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from magenta_midi.bounded_files import MIDI_BYTES, read_bytes
from magenta_midi.midi.io.files import SUFFIXES
from magenta_midi.midi.score import Score
from magenta_midi.style.model import EMBEDDING_DIM, StyleModel
from magenta_midi.typing import Float

__all__ = ["EmbeddingCache", "Library", "embed_library", "midi_files"]


class Library(NamedTuple):
  """Embedded files.

  Attributes:
    paths: The files that were read.
    vectors: float32 `[n, 768]`, the embeddings of these files.
    refused: Path and reason of each file that was not read.
    cached: Number of embeddings from the cache.
  """

  paths: tuple[Path, ...]
  vectors: Float[np.ndarray, "n 768"]
  refused: tuple[tuple[Path, str], ...]
  cached: int

  def ranked(
    self, query: Float[np.ndarray, " 768"]
  ) -> list[tuple[Path, float]]:
    """Paths with their cosines to a query, highest first."""
    norms = np.linalg.norm(self.vectors, axis=1) * np.linalg.norm(query)
    cosines = self.vectors @ query / np.maximum(norms, 1e-12)
    order = np.argsort(-cosines, kind="stable")
    return [(self.paths[place], float(cosines[place])) for place in order]


class EmbeddingCache:
  """Cache of embeddings by file content; a context manager.

  Errors of reading or writing the database are ignored.

  Args:
    path: The database file; None: no cache.
    model: Key of the style model; see `model_key`.
  """

  def __init__(self, path: Path | None, model: str):
    self._model = model
    self._database = None if path is None else _open_database(path)

  def __enter__(self) -> EmbeddingCache:
    return self

  def __exit__(self, *_: object) -> None:
    if self._database is not None:
      self._database.close()

  def get(self, content: str) -> np.ndarray | None:
    """The embedding of a content, by its hash, or None."""
    if self._database is None:
      return None
    try:
      row = self._database.execute(
        "SELECT vector FROM embeddings WHERE model = ? AND content = ?",
        (self._model, content),
      ).fetchone()
    except sqlite3.Error:
      return None
    vector = None if row is None else np.frombuffer(row[0], np.float32)
    return vector if vector is not None and len(vector) else None

  def put(self, content: str, vector: np.ndarray) -> None:
    """Stores an embedding."""
    if self._database is None:
      return
    try:
      with self._database:
        self._database.execute(
          "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
          (self._model, content, vector.astype(np.float32).tobytes()),
        )
    except sqlite3.Error:
      self._database = None


def _open_database(path: Path) -> sqlite3.Connection | None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=5.0)
    # A crash may lose entries; they can be computed again.
    database.execute("PRAGMA synchronous = OFF")
    database.execute(
      "CREATE TABLE IF NOT EXISTS embeddings (model TEXT, content TEXT,"
      " vector BLOB, PRIMARY KEY (model, content)) WITHOUT ROWID"
    )
  except (OSError, sqlite3.Error):
    return None
  return database


def model_key(model: StyleModel) -> str:
  """A key that is equal for models with equal embeddings.

  It contains the name of the model and its embedding of a fixed 40 s of music.
  """
  step = np.arange(160)
  probe = Score.from_arrays(
    onset_s=0.25 * step,
    duration_s=0.2 + 0.1 * (step % 5),
    key=40 + step * 7 % 45,
    velocity=40 + step * 11 % 60,
    pedal=[(1.0, True), (9.0, False), (15.0, True), (30.0, False)],
  )
  vector = np.round(model.embed(probe).astype(np.float64), 3) + 0.0
  digest = hashlib.sha256(vector.astype(np.float32).tobytes()).hexdigest()
  return f"{model.name}-{digest[:16]}"


def midi_files(folder: Path) -> list[Path]:
  """All MIDI files in a folder and its subfolders, sorted.

  Raises:
    ValueError: The folder does not exist or has no MIDI file.
  """
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder. Give one with MIDI files.")
  paths = [
    path
    for path in sorted(folder.rglob("*"))
    if path.suffix.lower() in SUFFIXES and path.is_file()
  ]
  if not paths:
    raise ValueError(
      f"{folder}: holds no MIDI files ({', '.join(SUFFIXES)}). Give a folder"
      " with music."
    )
  return paths


def embed_library(
  model: StyleModel,
  paths: Iterable[Path],
  cache: EmbeddingCache,
  *,
  on_file: Callable[[Path], None] = lambda path: None,
) -> Library:
  """Embeds files; uses the cache where possible.

  Args:
    model: The style model.
    paths: MIDI files.
    cache: A cache for this model.
    on_file: Called after each file.
  """
  found: list[tuple[Path, np.ndarray]] = []
  refused: list[tuple[Path, str]] = []
  cached = 0
  for path in paths:
    try:
      data = read_bytes(path, MIDI_BYTES)
      content = hashlib.sha256(data).hexdigest()
      vector = cache.get(content)
      cached += vector is not None
      if vector is None:
        vector = model.embed(_music(data))
        cache.put(content, vector)
      found.append((path, vector))
    except (OSError, ValueError) as error:
      reason = getattr(error, "strerror", None) or str(error)
      refused.append((path, " ".join(reason.split())))
    on_file(path)
  vectors = np.zeros((len(found), EMBEDDING_DIM), np.float32)
  for place, (_, vector) in enumerate(found):
    vectors[place] = vector
  return Library(
    tuple(path for path, _ in found), vectors, tuple(refused), cached
  )


def _music(data: bytes) -> Score:
  score = Score.from_bytes(data)
  if not len(score):
    raise ValueError("holds no notes")
  return score
