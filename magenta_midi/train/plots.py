"""The loss curve."""

import json
import os
from pathlib import Path

__all__ = ["plot_losses"]


def plot_losses(log: Path, path: Path, level_names: tuple[str, ...]) -> None:
  """Draws a run's `log.jsonl` as a PNG: training by level, and held out."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  if not log.is_file():
    return
  rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
  steps = [row for row in rows if "levels" in row]
  held = [row for row in rows if "held_out" in row]
  figure = Figure(figsize=(9, 5), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  minutes = [row["minutes"] for row in steps]
  axes.plot(minutes, [row["nats"] for row in steps], "0.75", label="training")
  for level, name in enumerate(level_names):
    axes.plot(
      minutes, [row["levels"][level] for row in steps], lw=0.8, label=name
    )
  if held:
    axes.plot(
      [row["minutes"] for row in held],
      [row["held_out"]["nats_per_note"] for row in held],
      "ko-",
      ms=4,
      label="held out (nats a note)",
    )
  axes.set(xlabel="minutes", ylabel="nats an event", title="Loss")
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  axes.legend(frameon=False, ncols=2)
  temporary = path.with_name(f".{os.getpid()}.{path.name}")
  try:
    figure.savefig(temporary, dpi=110)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
