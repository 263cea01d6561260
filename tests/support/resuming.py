"""Helpers for trainers that resume from saved state."""

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.train.run_store import RunStore

__all__ = ["compiled_when_resumed"]


def compiled_when_resumed(trainer, folder):
  """Functions that a restored trainer compiles for the same batches."""
  with RunStore(folder) as store:
    trainer.save(store)
    for _ in range(3):
      trainer.train_step(0.5)
    trainer.restore(store)
  with CompilationCounter() as compiled:
    for _ in range(3):
      trainer.train_step(0.5)
  return compiled.count
