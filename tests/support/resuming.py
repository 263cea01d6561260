"""Trainers that go on from what they saved."""

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.train.run_store import RunStore

__all__ = ["compiled_when_resumed"]


def compiled_when_resumed(trainer, folder):
  """What a trainer compiles for the same batches once it is restored."""
  with RunStore(folder) as store:
    trainer.save(store)
    for _ in range(3):
      trainer.train_step(0.5)
    trainer.restore(store)
  with CompilationCounter() as compiled:
    for _ in range(3):
      trainer.train_step(0.5)
  return compiled.count
