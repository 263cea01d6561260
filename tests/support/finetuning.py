"""Tiny base, recordings of scales, and short runs for tests."""

from typing import Any

import numpy as np

from magenta_midi.data.recordings import (
  Split,
  recordings_of_scores,
  split_recordings,
)
from magenta_midi.finetune.config import FinetuneConfig, finetune_config
from magenta_midi.finetune.finetune import Base
from magenta_midi.midi.score import Score
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.note.codec import NoteCodec

__all__ = ["CODEC", "run_config", "same", "scale", "scales", "tiny_base"]

CODEC = NoteCodec()


def tiny_base() -> Base:
  """A tiny base with random weights."""
  return Base(
    model=tiny_generator(codec=CODEC).model,
    codec=CODEC,
    name="tiny",
    sha256="ab" * 32,
    codec_entry={"name": "note", "settings": {}},
  )


def scale(seconds: float = 60.0, start: int = 60) -> Score:
  """A scale up and down in eighths, always the same."""
  onset = np.arange(0, seconds, 0.25)
  degrees = np.array([0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2])
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=start + degrees[np.arange(len(onset)) % len(degrees)],
    velocity=np.full(len(onset), 66),
  )


def scales(**starts: int) -> Split:
  """Recordings of 24 s each, by name; one of them is held out."""
  recordings, refused = recordings_of_scores(
    (f"scale {name}.mid", scale(24.0, start)) for name, start in starts.items()
  )
  assert not refused
  return split_recordings(recordings)


def run_config(**changes: Any) -> FinetuneConfig:
  """Six steps with three evaluations, without samples."""
  values: dict[str, Any] = dict(
    rank=2,
    steps=6,
    evaluations=3,
    learning_rate=0.02,
    warmup_steps=1,
    frames_per_batch=300,
    held_out_windows=8,
    tempos=(1.0,),
    continuations_s=0.0,
  )
  return finetune_config(**(values | changes))


def same(first: Any, second: Any) -> None:
  """Asserts that factors are equal bit for bit."""
  assert first.keys() == second.keys()
  for name, pair in first.items():
    np.testing.assert_array_equal(pair.a, second[name].a, err_msg=name)
    np.testing.assert_array_equal(pair.b, second[name].b, err_msg=name)
