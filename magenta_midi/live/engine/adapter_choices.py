"""Choice of adapters that a player can switch between while playing.

Each choice is a text, as sessions store it: `NAME[:SCALE]`, a blend of such
joined by ` + `, or empty for the checkpoint alone.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.model.checkpoint import embedded_path, read_config
from magenta_midi.model.lora.adapter_file import SUFFIX, Adapter, check_base
from magenta_midi.model.lora.adapter_library import load_adapters, parse_scaled
from magenta_midi.plain_text import existing_path

__all__ = [
  "BASE",
  "adapter_choices",
  "check_choices",
  "parts_of",
]

BASE = ""
_PLUS = " + "


def adapter_choices(
  start: Sequence[str | tuple[str, float]], switchable: Sequence[str] = ()
) -> tuple[str, ...]:
  """Names of the switchable choices, in the order of stepping through them.

  First the choice at the start; if it is a blend, then each of its adapters
  alone at full strength; then the switchable ones; last the checkpoint alone.

  Args:
    start: `NAME[:SCALE]`, or name and scale, all of which blend; none: the
      checkpoint.
    switchable: Each `NAME[:SCALE]`, or a blend of such joined by `+`.

  Returns:
    Choices without repetition; empty if no adapter is named.

  Raises:
    ValueError: A scale is not a number, or there are too many choices.
  """
  if not start and not switchable:
    return ()
  blend = [_spelled(item) for item in start]
  choices = [_PLUS.join(blend)]
  if len(blend) > 1:
    choices += [parse_scaled(item)[0] for item in blend]
  choices += [
    _PLUS.join(_spelled(part.strip()) for part in text.split("+"))
    for text in switchable
  ]
  unique = tuple(dict.fromkeys((*choices, BASE)))
  return changed(Controls(), "adapters", unique).adapters


def parts_of(choice: str) -> list[str]:
  """The adapters of a choice, in the form of `load_adapters`."""
  return choice.split(_PLUS) if choice else []


def check_choices(
  choices: Sequence[str], checkpoint: Path | None
) -> dict[str, str]:
  """Reads every adapter of every choice, before anything is opened.

  Args:
    choices: From `adapter_choices`.
    checkpoint: Folder of the base; None: the embedded one.

  Returns:
    By each adapter's name, as it is in the choices, a digest of its numbers.

  Raises:
    AdapterError: One is absent, damaged, named twice in a blend, or of
      another base.
    CheckpointError: There is no such checkpoint.
  """
  if not any(choices):
    return {}
  folder = embedded_path() if checkpoint is None else checkpoint
  sha256 = read_config(folder).get("sha256", "")
  base = "embedded" if checkpoint is None else str(checkpoint)
  digests: dict[str, str] = {}
  for choice in choices:
    parts = parts_of(choice)
    for part, (adapter, _) in zip(parts, load_adapters(parts), strict=True):
      check_base(adapter, sha256, base)
      digests[parse_scaled(part)[0]] = _digest(adapter)
  return digests


def _spelled(item: str | tuple[str, float]) -> str:
  """As another process, or another day, can load it."""
  name, scale = parse_scaled(item) if isinstance(item, str) else item
  if name.endswith(SUFFIX):
    name = str(existing_path(name).resolve())
  return name if scale == 1 else f"{name}:{scale:g}"


def _digest(adapter: Adapter) -> str:
  digest = hashlib.sha256(repr(adapter.scale).encode())
  for name, pair in sorted(adapter.factors.items()):
    digest.update(name.encode())
    for array in pair:
      digest.update(np.ascontiguousarray(array, np.float32).tobytes())
  return digest.hexdigest()
