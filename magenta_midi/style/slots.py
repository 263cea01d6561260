"""What a checkpoint hears of style: which slot holds which row.

Slots of a model are the levels of its style model, then one for each control
(`controls`); one table has the rows of all, the mask's first. What is not
asked for is the mask: a part may be absent, or all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from magenta_midi.style.controls import (
  CONTROL_BUCKETS,
  CONTROLS,
  ControlTargets,
  control_rows,
)
from magenta_midi.style.model import MASK_TOKEN, StyleModel
from magenta_midi.style.registry import style_model_named
from magenta_midi.typing import Bool, Int

__all__ = ["StyleSlots", "allowed_keys", "same_style"]


def same_style(
  ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None
) -> bool:
  """Whether two entries `style` of config.json mean the same by each row.

  One of an earlier version, or of a model that is not trained, has no digest:
  it fits any.
  """
  if ours is None or theirs is None:
    return ours is theirs
  ours, theirs = dict(ours), dict(theirs)
  digests = {ours.pop("digest", None), theirs.pop("digest", None)} - {None}
  return ours == theirs and len(digests) < 2


class StyleSlots:
  """The slots of one checkpoint.

  Attributes:
    model: Name of the style model it was trained with; None: it was trained
      without.
    levels: Tokens of the style model that it reads.
    controls: Whether it reads control tokens.
  """

  def __init__(self, config: Mapping[str, Any]):
    """Reads a checkpoint's config.json.

    Raises:
      ValueError: What it says of style does not fit its model.
    """
    self._slots = int(config["model"]["style_slots"])
    style = config.get("style") or {}
    self.model: str | None = style.get("model")
    self.levels = int(style.get("levels", 0))
    self.controls = bool(style.get("controls"))
    self._digest: str = style.get("digest", "")
    self._first_row = int(style.get("rows", 1))
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
    """Makes the style model; the default where there was none in training.

    Raises:
      ValueError: It is not installed, or not the one that the checkpoint was
        trained with; one line says how to get it.
    """
    model = style_model_named(self.model, levels=self.levels or None)
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
      tokens: Of the style model; deeper levels than the checkpoint reads are
        left out. None: no style.
      targets: What is asked of the music; None: nothing.

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


def allowed_keys(targets: ControlTargets) -> Bool[np.ndarray, "128"] | None:
  """The keys between the two of the register asked for; None: all.

  The model is asked to stay there; this sees to it.
  """
  if not isinstance(targets.register, tuple):
    return None
  low, high = targets.register
  key = np.arange(128)
  return (key >= low) & (key <= high)
