"""Retrieval figures of MidiCoCa: text to music, and music to text."""

from collections.abc import Sequence

import numpy as np

from magenta_midi.model.depthformer import Frames
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.text.captions import caption
from magenta_midi.train.style.data import Window

__all__ = ["embed_windows", "recall"]

# Frames that windows are padded to, to be embedded.
_SIZES = (96, 160, 256)


def embed_windows(model: MidiCoCa, windows: Sequence[Window]) -> np.ndarray:
  """Unit vectors of windows, embedded in groups of like size, 16 at a time."""
  found = np.zeros((len(windows), 768), np.float32)
  sizes = _SIZES
  for low, width in zip([-1, *sizes], sizes, strict=False):
    chosen = [
      row
      for row, window in enumerate(windows)
      if low < window.frames <= width
      or (width == sizes[-1] and window.frames > width)
    ]
    for start in range(0, len(chosen), 16):
      rows = chosen[start : start + 16]
      ids = np.stack([windows[row].ids[:width] for row in rows])
      time_ = np.stack([windows[row].time[:width] for row in rows])
      pad = ((0, 16 - len(rows)),)
      ids = np.pad(ids, (*pad, (0, 0), (0, 0)))
      time_ = np.pad(time_, (*pad, (0, 0)))
      vectors = model.embed_batch_frames(
        Frames(ids, time_, np.zeros_like(time_))
      )
      found[rows] = vectors[: len(rows)]
  return found


def recall(
  model: MidiCoCa, windows: Sequence[Window], seed: int = 0
) -> dict[str, float]:
  """Share of captions and windows whose match is among the nearest 1, 5, 10."""
  rng = np.random.default_rng(seed)
  music = embed_windows(model, windows)
  texts = model.embed_texts(
    [caption(w.facts, w.description, rng) for w in windows]
  )
  alike = texts @ music.T
  report = {}
  for name, table in (("text_to_midi", alike), ("midi_to_text", alike.T)):
    rank = (table > np.diagonal(table)[:, None]).sum(axis=1)
    for most in (1, 5, 10):
      report[f"{name}@{most}"] = round(float(np.mean(rank < most)), 4)
  return report
