"""Transfer of a checkpoint from T5X's layout to ours and back, by array."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.magenta_rt.names import TARGET, lacked_by_t5x, to_t5x_name
from magenta_midi.magenta_rt.t5x_checkpoint import T5xCheckpoint, write_t5x
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  parameter_shapes,
  write_checkpoint,
)
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.weights_file import ArrayInfo, CheckpointError

__all__ = ["export_t5x", "import_t5x"]

OnArray = Callable[[str, int, int], None]

# More faults than this have one cause; their layers are counted, not listed.
_LISTED_FAULTS = 24


def import_t5x(
  checkpoint: T5xCheckpoint,
  config: DepthformerConfig,
  out: Path,
  *,
  codec: dict[str, Any],
  notes: dict[str, Any] | None = None,
  on_array: OnArray = lambda name, done, total: None,
) -> dict[str, Any]:
  """Writes our checkpoint of a T5X one; every array keeps its dtype and bits.

  Args:
    checkpoint: To read.
    config: Of its model.
    out: The folder to write.
    codec: Name and settings of its codec.
    notes: To keep with it.
    on_array: Called after each array with its name, the bytes done, and all.

  Returns:
    `parameters`, `arrays`, `dtype` and `bytes` of what was written.

  Raises:
    CheckpointError: Arrays are missing, unknown or of another shape (all are
      named), or one cannot be read.
  """
  names = _matched(checkpoint, config)
  infos = {ours: checkpoint.infos[theirs] for ours, theirs in names.items()}
  facts = _facts(infos)
  done = 0

  def arrays():
    nonlocal done
    for ours, theirs in names.items():
      yield ours, checkpoint.read(theirs)
      done += infos[ours].bytes
      on_array(TARGET + theirs, done, facts["bytes"])

  write_checkpoint(
    out,
    config,
    infos,
    arrays(),
    codec=codec,
    storage=facts["dtype"],
    notes=(notes or {})
    | dict(
      parameters=facts["parameters"],
      arrays=facts["arrays"],
      step=checkpoint.step,
    ),
  )
  return facts


def _matched(
  checkpoint: T5xCheckpoint, config: DepthformerConfig
) -> dict[str, str]:
  """Our names to theirs, every array of the one met by one of the other."""
  expected = parameter_shapes(config)
  names = {name: to_t5x_name(name, config) for name in expected}
  faults = []  # (name, what is wrong)
  for ours, theirs in names.items():
    info = checkpoint.infos.get(theirs)
    if info is None:
      faults.append((theirs, "is missing"))
    elif info.shape != expected[ours]:
      faults.append(
        (theirs, f"has shape {info.shape}, expected {expected[ours]}")
      )
  known = set(names.values())
  faults.extend(
    (name, "is unknown") for name in checkpoint.infos if name not in known
  )
  if faults:
    raise CheckpointError(
      f"{checkpoint.folder.name} does not fit: {_listed(faults)}."
    )
  return names


def _listed(faults: list[tuple[str, str]]) -> str:
  """All faults; where they are many, layers of one kind share an entry."""
  if len(faults) <= _LISTED_FAULTS:
    return "; ".join(f"{TARGET}{name} {what}" for name, what in faults)
  groups: dict[tuple[str, str], list[str]] = {}
  for name, what in faults:
    parts = name.split(".")
    layer = next(
      (p.rpartition("_")[2] for p in parts if p.rpartition("_")[2].isdigit()),
      None,
    )
    pattern = name if layer is None else name.replace(f"_{layer}.", "_{}.", 1)
    groups.setdefault((pattern, what), []).append(layer or "")
  listed = []
  for (pattern, what), layers in groups.items():
    index = layers[0] if len(layers) == 1 else f"{{{','.join(layers)}}}"
    listed.append(f"{TARGET}{pattern.replace('{}', index)} {what}")
  return f"{len(faults)} faults: " + "; ".join(listed)


def _facts(infos: Mapping[str, ArrayInfo]) -> dict[str, Any]:
  dtypes = {str(info.dtype) for info in infos.values()}
  return dict(
    parameters=sum(math.prod(info.shape) for info in infos.values()),
    arrays=len(infos),
    dtype=dtypes.pop() if len(dtypes) == 1 else "mixed",
    bytes=sum(info.bytes for info in infos.values()),
  )


def export_t5x(
  stored: StoredCheckpoint,
  out: Path,
  step: int,
  *,
  on_array: OnArray = lambda name, done, total: None,
) -> dict[str, Any]:
  """Writes a checkpoint of ours as T5X would, parameters only.

  Args:
    stored: To read. bfloat16 stays so; int8 is widened to float32.
    out: Receives `checkpoint_<step>`.
    step: Steps of training.
    on_array: Called after each array with its name, the bytes done, and all.

  Returns:
    `checkpoint` (its folder), `step`, `parameters`, `arrays`, `dtype`,
    `bytes`, and `added`: arrays the original's model has no place for.

  Raises:
    CheckpointError: `out` holds that step already.
  """
  config = stored.config
  wide = np.dtype(np.float32)
  infos = {
    name: info if info.dtype.itemsize == 2 else info._replace(dtype=wide)
    for name, info in stored.infos.items()
  }
  facts = _facts(infos)
  done = 0

  def arrays():
    nonlocal done
    # In the order of names, as trees of T5X are.
    for theirs, ours in sorted((to_t5x_name(n, config), n) for n in infos):
      yield theirs, stored.read(ours)
      done += infos[ours].bytes
      on_array(TARGET + theirs, done, facts["bytes"])

  # All but what is said of the file of weights.
  kept = ("format", "model", "codec", "notes")
  told = {name: stored.facts[name] for name in kept}
  notes = json.dumps(told, indent=2) + "\n"
  folder = write_t5x(out, step, arrays(), notes)
  added = [to_t5x_name(n, config) for n in lacked_by_t5x(infos, config)]
  return dict(checkpoint=str(folder), step=step, **facts, added=added)
