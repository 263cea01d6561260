"""Style slots of a checkpoint: which slot has which row of the table.

A model has one slot for each level of its style model, then one for each
control (`controls`). One table has the rows of all slots; row 0 is the mask.
Slots without style or target have the mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from magenta_midi.settings import convert
from magenta_midi.style.controls import (
  CONTROL_BUCKETS,
  CONTROLS,
  ControlTargets,
  control_rows,
)
from magenta_midi.style.model import MASK_TOKEN, StyleModel
from magenta_midi.style.registry import get_style_model
from magenta_midi.typing import Bool, Int

__all__ = ["StyleSlots", "allowed_keys", "same_style"]


# Of levels or rows in a checkpoint's entry.
_MAX_COUNT = 2**20


def same_style(
  first: Mapping[str, Any] | None, second: Mapping[str, Any] | None
) -> bool:
  """Whether two `style` entries of config.json have rows of equal meaning.

  An entry of an earlier version, or of a style model without weights, has no
  digest and fits any digest.
  """
  if first is None or second is None:
    return first is second
  first, second = dict(first), dict(second)
  digests = {first.pop("digest", None), second.pop("digest", None)} - {None}
  return first == second and len(digests) < 2


class StyleSlots:
  """The slots of one checkpoint.

  Attributes:
    model: Name of the style model of the checkpoint; None: no style.
    levels: Number of style tokens that the checkpoint reads.
    controls: Whether the checkpoint reads control tokens.
  """

  def __init__(self, config: Mapping[str, Any]):
    """Reads a checkpoint's config.json.

    Raises:
      ValueError: Its `style` entry does not fit its model.
    """
    self._slots = int(config["model"].get("style_slots", 0))
    style = config.get("style") or {}
    if not isinstance(style, dict):
      raise ValueError("config.json: style must be an object.")
    self.model: str | None = convert(
      str | None, style.get("model"), "style.model", source="json"
    )
    self.levels = _count(style, "levels", 0)
    self.controls = bool(style.get("controls"))
    self._digest: str | None = convert(
      str | None, style.get("digest"), "style.digest", source="json"
    )
    self._first_row = _count(style, "rows", 1)
    if self.controls and style["controls"] != CONTROL_BUCKETS:
      raise ValueError(
        "config.json: its controls have other buckets than this version's."
        " Install the version that trained it."
      )
    used = self.levels + len(CONTROLS) * self.controls
    if style and used != self._slots:
      raise ValueError(
        f"config.json: {self.levels} style levels and"
        f" {used - self.levels} controls need {used} style slots, but its"
        f" model has {self._slots}. It is damaged, or of another version."
      )

  def style_model(self) -> StyleModel:
    """Makes the style model; the default for checkpoints without style.

    Raises:
      ValueError: It is not installed, or is not the one of the checkpoint; one
        line states how to get it.
    """
    model = get_style_model(self.model, levels=self.levels or None)
    digest = getattr(model, "digest", "")
    if self._digest and digest and digest != self._digest:
      raise ValueError(
        f"config.json: it was trained with a {self.model} of other weights"
        f" ({self._digest}, here {digest}): texts would mean something else."
        " Install the version that trained it."
      )
    return model

  def rows(
    self,
    tokens: Int[np.ndarray, " l"] | None = None,
    targets: ControlTargets | None = None,
  ) -> Int[np.ndarray, " m"]:
    """The row of each slot, int32.

    Args:
      tokens: Tokens of the style model; levels that the checkpoint does not
        read are dropped. None: no style.
      targets: Targets for the music; None: no targets.

    Raises:
      ValueError: A target is out of range, or there are too few tokens.
    """
    rows = np.full(self._slots, MASK_TOKEN, np.int32)
    if tokens is not None and self.levels:
      if len(tokens) < self.levels:
        raise ValueError(
          f"the checkpoint reads {self.levels} style tokens, got"
          f" {len(tokens)}. Use the style model {self.model!r}."
        )
      rows[: self.levels] = tokens[: self.levels]
    if targets is not None and self.controls:
      rows[self.levels :] = control_rows(targets, self._first_row)
    return rows


def _count(style: Mapping[str, Any], name: str, default: int) -> int:
  """A count in the entry of a checkpoint's config, 0 to `_MAX_COUNT`."""
  count = convert(int, style.get(name, default), f"style.{name}", source="json")
  if not 0 <= count <= _MAX_COUNT:
    raise ValueError(f"style.{name} must be in 0..{_MAX_COUNT}, got {count}.")
  return count


def allowed_keys(targets: ControlTargets) -> Bool[np.ndarray, "128"] | None:
  """The keys inside the register target, if it is a pair; None: all.

  The control token only asks the model for these keys; this mask ensures it.
  """
  if not isinstance(targets.register, tuple):
    return None
  low, high = targets.register
  key = np.arange(128)
  return (key >= low) & (key <= high)
