"""Helpers for trainers that resume from saved state."""

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.train.run_store import (
  RunStore,
  restore_state,
  save_state,
)

__all__ = ["compiled_when_resumed"]


def compiled_when_resumed(trainer, folder):
  """Functions that a restored trainer compiles for the same batches."""
  with RunStore(folder) as store:
    save_state(store, trainer)
    for _ in range(3):
      trainer.train_step(0.5)
    restore_state(store, trainer)
  with CompilationCounter() as compiled:
    for _ in range(3):
      trainer.train_step(0.5)
  return compiled.count
