"""Style control: prompts and sliders as rows of the style table.

Prompts glide: a change takes `Controls.style_s`. What the sliders ask is
relative to the player, so it follows how the player plays. The rows count
from the next encoder pass on, a few times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from magenta_midi.live.player import NoteHistory
from magenta_midi.live.protocol.controls import (
  HIGHEST_KEY,
  LOWEST_KEY,
  Controls,
)
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.style.controls import ControlTargets
from magenta_midi.style.motion import StyleMotion
from magenta_midi.style.prompt import embed_prompt

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi

__all__ = ["STEP_NS", "Steering", "asked_of"]

# How often rows are looked at again.
STEP_NS = 80_000_000
# The player's manner is that of so long before the last note, of so many
# notes at least; until then it is the typical one.
_MANNER_NS, _MIN_NOTES = 8 * SECOND, 6
# Share of the time that the pedal is down.
_PEDAL_SHARES = {"off": 0.0, "little": 0.2, "much": 0.95}
_TYPICAL_RATE, _TYPICAL_VELOCITY = 5.0, 64.0
# Texts whose embeddings are kept: weights move far more often than texts.
_MAX_TEXTS = 64


class Steering:
  """Style and control rows that a duet's controls request from the model.

  Args:
    mm: The model. One without style is never asked anything.
  """

  def __init__(self, mm: MagentaMidi):
    self._mm = mm
    self._controls = Controls()
    self._motion = StyleMotion(start=None, end=None)
    # What was said about each text when it was embedded, too.
    self._texts: dict[str, tuple[np.ndarray | None, list[str]]] = {}
    self._manner = (_TYPICAL_RATE, _TYPICAL_VELOCITY)
    self._rows: list[int] | None = None

  def warm_up(self) -> str | None:
    """Loads and compiles what prompts need, so that playing never does.

    Returns:
      Why prompts cannot be used; None: they can.
    """
    if not self._mm.uses_style:
      return None
    try:
      warm_up: Callable[[], None] | None = getattr(
        self._mm.style_model, "warm_up", None
      )
      if warm_up is not None:
        warm_up()
      self._mm.style_model.tokenize(self._mm.style_model.embed("slow piano"))
    except (OSError, ValueError) as error:
      return f"prompts change nothing: {error}"
    return None

  def set_controls(self, controls: Controls, now_ns: int) -> str | None:
    """Takes new controls.

    Returns:
      What the player should know of them, in a line; None: nothing.
    """
    before, self._controls = self._controls, controls
    if controls.prompts == before.prompts:
      return None
    weighted = [(text, w) for text, w in controls.prompts if w > 0]
    if weighted and not self._mm.uses_style:
      return "this checkpoint was trained without style: prompts change nothing"
    known, problems = self._known(weighted)
    embedding = None
    if known:
      try:
        embedding = self._blend(known)
      except ValueError as error:
        # Opposites: they stay where they were.
        return str(error)
    self._motion = self._motion.redirected(
      embedding, now_ns / SECOND, controls.style_s
    )
    # Remarks on a text are news once.
    told = {text for text, weight in before.prompts if weight > 0}
    remarks = [
      line
      for text, _ in weighted
      if text not in told and text in self._texts
      for line in self._texts[text][1]
    ]
    return "; ".join([*problems, *remarks]) or None

  def _known(
    self, weighted: list[tuple[str, float]]
  ) -> tuple[list[tuple[str, np.ndarray, float]], list[str]]:
    """The prompts that say something, and why others cannot be used."""
    known, problems = [], []
    for text, weight in weighted:
      try:
        if text not in self._texts:
          remarks: list[str] = []
          found = self._mm.embed_style(text, on_remark=remarks.append)
          if len(self._texts) >= _MAX_TEXTS:
            self._texts.pop(next(iter(self._texts)))
          self._texts[text] = (found, remarks)
        embedding, _ = self._texts[text]
        if embedding is not None:
          known.append((text, embedding, weight))
      except (OSError, ValueError) as error:
        problems.append(str(error))
    return known, problems

  def _blend(self, known: list[tuple[str, np.ndarray, float]]) -> np.ndarray:
    vectors = [embedding for _, embedding, _ in known]
    # If all vectors have unit length, so has their blend.
    lengths = [float(np.linalg.norm(vector)) for vector in vectors]
    unit = bool(np.allclose(lengths, 1.0, atol=1e-3))
    # Not by their texts, of which one may be a file's name.
    weighted = [(embedding, weight) for _, embedding, weight in known]
    return embed_prompt(weighted, self._mm.style_model.embed, unit=unit)

  def changed_rows(
    self, player: NoteHistory, now_ns: int
  ) -> tuple[bool, list[int] | None]:
    """The rows now, and whether they are others than at the last call.

    Args:
      player: What the player did lately.
      now_ns: The session's time.

    Returns:
      Whether they changed, and a row for each slot, None where all are the
      mask.
    """
    targets = None
    if self._mm.uses_controls:
      self._manner = _manner_of(player) or self._manner
      targets = asked_of(self._controls, *self._manner)
    style = self._motion.at(now_ns / SECOND)
    found = self._mm.style_rows(style, targets)
    rows = [int(row) for row in found] if found.any() else None
    changed, self._rows = rows != self._rows, rows
    return changed, rows


def asked_of(
  controls: Controls, rate: float, velocity: float
) -> ControlTargets:
  """Control targets of the sliders; a slider at rest sets none.

  Args:
    controls: Where they stand.
    rate: Of the player's notes, notes/s.
    velocity: Of the player's notes, their mean.
  """
  whole = controls.register == (LOWEST_KEY, HIGHEST_KEY)
  low, high = controls.register
  loudness = min(max(velocity + controls.loudness, 1.0), 127.0)
  return ControlTargets(
    density=None if controls.density == 1.0 else controls.density * rate,
    loudness=None if controls.loudness == 0 else loudness,
    register=None if whole else (float(low), float(high)),
    pedal=_PEDAL_SHARES.get(controls.pedal),
  )


def _manner_of(player: NoteHistory) -> tuple[float, float] | None:
  """The rate, notes/s, and mean velocity of what was played last."""
  if len(player.notes) < _MIN_NOTES:
    return None
  last_ns = player.notes[-1].onset_ns
  notes = [n for n in player.notes if n.onset_ns > last_ns - _MANNER_NS]
  if len(notes) < _MIN_NOTES:
    return None
  span_ns = max(last_ns - notes[0].onset_ns, SECOND)
  velocity = sum(note.velocity for note in notes) / len(notes)
  return (len(notes) - 1) * SECOND / span_ns, velocity
