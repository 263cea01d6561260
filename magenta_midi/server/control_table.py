"""Table of the controls for clients, from the one that the engine checks by."""

from typing import Any

from magenta_midi.limits import PROMPT_WEIGHT
from magenta_midi.live.protocol.controls import (
  CHOICES,
  HIGHEST_KEY,
  LOWEST_KEY,
  MAX_PROMPT_BYTES,
  MAX_PROMPTS,
  OCTAVE,
  RANGES,
  TOGGLES,
  Controls,
)

__all__ = ["NOT_SERVED", "control_table"]

# What they sound goes to a port of this machine, which a browser has not.
NOT_SERVED = ("comp", "comp_loudness")

# Ends of the register are moved together.
_PARTIAL = ("register_low", "register_high")


def control_table() -> list[dict[str, Any]]:
  """Name, kind, default and range of each control; see the guide."""
  defaults = Controls()._asdict()
  rows: list[dict[str, Any]] = []
  for name, choices in CHOICES.items():
    kind = "groove" if name == "groove" else "choice"
    rows.append({"name": name, "kind": kind, "choices": list(choices)})
  for name, numbers in RANGES.items():
    if name in (*_PARTIAL, *NOT_SERVED):
      continue
    low, high = numbers.bounds.low, numbers.bounds.high
    row = {
      "name": name,
      "kind": "number",
      # A tempo of 0 is the player's own.
      "low": 0 if name == "tempo" else low,
      "high": high,
      "top": numbers.top,
      "step": numbers.step,
      "whole": numbers.bounds.whole,
      "unit": numbers.bounds.unit,
    }
    rows.append(row)
  rows += [
    {"name": name, "kind": "toggle"}
    for name in TOGGLES
    if name not in NOT_SERVED
  ]
  rows += [
    {
      "name": "register",
      "kind": "register",
      "low": LOWEST_KEY,
      "high": HIGHEST_KEY,
      "least": OCTAVE,
    },
    {
      "name": "prompts",
      "kind": "prompts",
      "most": MAX_PROMPTS,
      "bytes": MAX_PROMPT_BYTES,
      "weight_high": PROMPT_WEIGHT.high,
    },
    {"name": "chords", "kind": "text"},
    {"name": "adapter", "kind": "adapter"},
  ]
  return [row | {"default": defaults[row["name"]]} for row in rows]
