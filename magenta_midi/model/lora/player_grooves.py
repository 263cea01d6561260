"""Grooves of players, kept in their adapters: `@NAME`."""

from pathlib import Path

from magenta_midi.bounded_files import ADAPTER_BYTES
from magenta_midi.midi.analysis.played_groove import PlayedGroove
from magenta_midi.midi.groove import GROOVES, Groove, groove_named, split_groove
from magenta_midi.model.lora.adapter_file import read_groove
from magenta_midi.model.lora.adapter_library import installed_adapters
from magenta_midi.model.weights_file import WeightsFile
from magenta_midi.plain_text import nfc

__all__ = ["find_groove", "player_grooves"]


def player_grooves(folder: Path | None = None) -> dict[str, PlayedGroove]:
  """Grooves of the installed adapters that have one, by `@NAME`.

  Reads the head of each file; those that cannot be read are left out.

  Args:
    folder: Of the installed adapters; None: the default.
  """
  found: dict[str, PlayedGroove] = {}
  for path in installed_adapters(folder):
    try:
      head = WeightsFile(path, limit=ADAPTER_BYTES).metadata
      groove = read_groove(path, head)
    except (ValueError, OSError):
      continue
    if groove is not None:
      found[f"@{nfc(path.stem)}"] = groove
  return found


def find_groove(
  text: str, bpm: float, *, folder: Path | None = None
) -> tuple[Groove, float]:
  """The groove that `NAME[:WEIGHT]` asks for, and its weight.

  Raises:
    ValueError: There is none of that name, or the weight is out of range; one
      line says which there are.
  """
  name, weight = split_groove(text)
  if not name.startswith("@"):
    return groove_named(name, bpm), weight
  known = player_grooves(folder)
  if nfc(name) not in known:
    raise ValueError(
      f"there is no groove {name[:60]!r}. There are"
      f" {', '.join((*GROOVES, *known))}; finetune measures a player's own."
    )
  return known[nfc(name)].groove(nfc(name)), weight
