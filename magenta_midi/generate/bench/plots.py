"""Plot of the times of the stages of a chunk."""

from pathlib import Path
from typing import Any

from magenta_midi.midi.figures import save_figure
from magenta_midi.plain_text import drawable

__all__ = ["plot_stages"]

LABELS = {
  "encoder": "encoder",
  "memory": "keys and values of the context",
  "temporal": "temporal stack",
  "depth": "depth stack",
  "head": "head",
  "draw": "drawing codes",
}


def plot_stages(facts: dict[str, Any], path: Path) -> None:
  """Draws the time of each stage of a chunk beside its lower bound.

  Args:
    facts: From `bench`, with stages.
    path: PNG file to write.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  measured, floor = facts["stages_ms"], facts["stages_floor_ms"]
  names = list(measured)
  figure = Figure(figsize=(9, 4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  rows = range(len(names))
  axes.barh(
    [row - 0.18 for row in rows],
    [measured[name] for name in names],
    height=0.36,
    label="measured",
    color="tab:blue",
  )
  axes.barh(
    [row + 0.18 for row in rows],
    [floor.get(name, 0.0) for name in names],
    height=0.36,
    label="least: bytes over bandwidth, operations over throughput",
    color="0.7",
  )
  axes.set_yticks(list(rows), [drawable(LABELS[name]) for name in names])
  axes.invert_yaxis()
  chunk_ms = facts["chunk_ms"]["p50"]
  axes.set(
    xlabel="ms a chunk of 2 s (each stage alone)",
    title=f"{drawable(facts['config'])}: {chunk_ms:.0f} ms a chunk,"
    f" {facts['roofline_fraction']:.0%} of what the machine allows",
  )
  axes.grid(axis="x", alpha=0.3)
  axes.legend(frameon=False)
  save_figure(figure, path)
