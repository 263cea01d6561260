"""Checkpoints of tiny models; what they play was never learnt."""

from pathlib import Path

from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator


def save_tiny(folder: Path, *, parts: int = 9) -> Path:
  """Writes one, for two players by default; parts 0: for one."""
  model = tiny_generator(parts=parts).model
  save_checkpoint(folder, model, codec={"name": "note"})
  return folder
