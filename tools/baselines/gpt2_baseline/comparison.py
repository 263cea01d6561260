"""Nats a second of music and a note, of several models on the same pieces."""

from typing import Any

import numpy as np

from magenta_midi.evaluation.evaluate import Evaluation, resampled_pieces

__all__ = ["compare"]


def compare(found: dict[str, Evaluation], reference: str) -> dict[str, Any]:
  """Figures of each model, with 95 % bootstrap intervals over pieces.

  Args:
    found: By name; the pieces are the same, in the same order.
    reference: Whose figures are subtracted from the others'.

  Returns:
    By name. `notes` may differ by the few that a model had no room for, or
    had on another grid; each model's nats a note are of its own.

  Raises:
    ValueError: The seconds of a piece differ.
  """
  base = found[reference]
  for name, one in found.items():
    if not np.array_equal(base.seconds, one.seconds):
      raise ValueError(
        f"{reference} scored {base.seconds.sum()} s and {name}"
        f" {one.seconds.sum()} s: they must be the same, piece by piece."
      )
  # The first row is all pieces; the same draws for all.
  pieces = len(base.seconds)
  chosen = np.vstack([np.arange(pieces), resampled_pieces(pieces)])
  ratios = {
    name: {
      label: _ratios(one.nats.sum(axis=1), unit, chosen)
      for label, unit in (
        ("nats_per_second", one.seconds),
        ("nats_per_note", one.notes),
      )
    }
    for name, one in found.items()
  }
  figures = {}
  for name, one in found.items():
    parts = one.nats.sum(axis=0) / max(1, int(one.notes.sum()))
    columns = (*one.names, "pedal", "end")
    figures[name] = dict(
      {label: _figures(values) for label, values in ratios[name].items()},
      notes=int(one.notes.sum()),
      seconds=float(one.seconds.sum()),
      pieces=pieces,
      # Of `nats_per_note`.
      parts=dict(zip(columns, map(float, parts), strict=True)),
    )
    if name != reference:
      figures[name]["difference"] = {
        label: _figures(values - ratios[reference][label])
        for label, values in ratios[name].items()
      }
  return figures


def _ratios(nats: np.ndarray, unit: np.ndarray, chosen: np.ndarray) -> Any:
  return nats[chosen].sum(axis=1) / np.maximum(1, unit[chosen].sum(axis=1))


def _figures(values: np.ndarray) -> dict[str, Any]:
  low, high = np.quantile(values[1:], (0.025, 0.975))
  return dict(value=float(values[0]), ci95=[float(low), float(high)])
