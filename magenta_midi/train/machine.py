"""What training asks of the machine: memory that is kept, an accelerator used.

Memory: by default every large array is mapped and unmapped anew, and the kernel
fills it with zeros a page at a time: on 2 cores that was a third of a step
(`docs/decisions.md`).

Where JAX finds a GPU or a TPU, a step of a small model is over before one
process has cut its batch, and compiling costs more than many steps. So: larger
batches, few shapes of them, processes that cut them, and a GPU's compiler that
does not search.
"""

import ctypes
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

import jax

from magenta_midi.bounded_files import read_json
from magenta_midi.train.run_settings import RUN, TrainConfig, has_state

__all__ = [
  "for_accelerator",
  "keep_memory",
  "quick_compiler",
  "uses_accelerator",
]

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
LARGEST = 2**31 - 1
# Without it the first step of three shapes took 115 s on an H200, with it 24 s,
# and steps were as fast.
_QUICK = {
  "xla_gpu_autotune_level": "0",
  "xla_gpu_enable_triton_gemm": "false",
}
# Packages of `jax[cuda12]` and `jax[cuda13]`.
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")
# About 94 examples.
_FRAMES = 14_336
_MOST_WORKERS = 14


def keep_memory() -> bool:
  """Makes malloc reuse freed memory for the rest of the process.

  Returns:
    Whether it worked; on other systems nothing happens.
  """
  if not sys.platform.startswith("linux"):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return False
  settings = (
    (M_MMAP_MAX, 0),
    (M_TRIM_THRESHOLD, LARGEST),
    (M_ARENA_MAX, 1),
  )
  return all(mallopt(*setting) == 1 for setting in settings)


def quick_compiler() -> None:
  """Makes XLA compile for a GPU at once; must come before JAX's first use.

  What `XLA_FLAGS` says already, stays. Nothing changes where JAX was installed
  without CUDA.
  """
  if not any(map(importlib.util.find_spec, _CUDA)):
    return
  flags = os.environ.get("XLA_FLAGS", "")
  added = [
    f"--{name}={value}" for name, value in _QUICK.items() if name not in flags
  ]
  os.environ["XLA_FLAGS"] = " ".join([flags, *added]).strip()


def uses_accelerator(out: Path) -> bool:
  """Whether a run takes the settings for accelerators.

  A run that is continued does if it was begun so; a new one, if JAX finds an
  accelerator.
  """
  if has_state(out):
    try:
      begun = read_json(out / RUN)
    except (OSError, ValueError):
      begun = None
    return isinstance(begun, dict) and begun.get("shapes") == "few"
  return jax.default_backend() != "cpu"


def for_accelerator(
  config: TrainConfig, given: Container[str] = (), cores: int | None = None
) -> TrainConfig:
  """Settings with those of accelerators in place of defaults.

  Args:
    config: Of a run.
    given: Fields that were given and stay, though they are at the default.
    cores: Of the machine's processor; None: those that this process may use.
      Two are left to the training process.
  """
  cores = _usable_cores() if cores is None else cores
  wanted: dict[str, Any] = dict(
    frames_per_batch=_FRAMES,
    shapes="few",
    workers=max(0, min(_MOST_WORKERS, cores - 2)),
  )
  if importlib.util.find_spec("grain") is None:
    # As on a bare machine that trains from a bundle (tools/training/bundle.py).
    wanted["source"] = "numpy"
  changes = {
    name: value
    for name, value in wanted.items()
    if name not in given and getattr(config, name) == getattr(TrainConfig, name)
  }
  return dataclasses.replace(config, **changes)


def _usable_cores() -> int:
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
