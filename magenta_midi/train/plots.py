"""Plots of a run: the loss curve, and the loss on held-out music."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magenta_midi.bounded_files import parse_json, read_lines
from magenta_midi.limits import MAGNITUDE
from magenta_midi.midi.figures import save_figure
from magenta_midi.plain_text import drawable, nfc

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

__all__ = ["plot_evaluation", "plot_finetune", "plot_losses", "read_log"]

# More pieces are not named.
_NAMED_PIECES = 24
_SELF, _OTHER = "tab:blue", "0.6"


def read_log(path: Path) -> list[dict[str, Any]]:
  """The rows of a run's log; lines that are none are left out.

  Raises:
    OSError: It cannot be read, or is no regular file of bounded size.
  """
  rows = []
  for text in read_lines(path):
    with contextlib.suppress(ValueError):
      row = parse_json(text or b"")
      if isinstance(row, dict) and type(row.get("step")) is int:
        rows.append(row)
  return rows


def _training(
  rows: list[dict[str, Any]], levels: int | None = None
) -> list[dict[str, Any]]:
  """The rows of training steps; with `levels` those of so many levels."""
  return [
    row
    for row in rows
    if isinstance(row.get("levels"), list)
    and _can_be_drawn(row["step"], row.get("minutes"), row.get("nats"))
    and _can_be_drawn(*row["levels"])
    and levels in (None, len(row["levels"]))
  ]


def _held_out(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """The rows of evaluations."""
  return [
    row
    for row in rows
    if isinstance(row.get("held_out"), dict)
    and _can_be_drawn(row["step"], row.get("minutes"))
    and _can_be_drawn(row["held_out"].get("nats_per_note"))
  ]


def _can_be_drawn(*values: Any) -> bool:
  """Whether all are numbers that matplotlib takes; also NaN and infinities."""
  return all(
    type(value) is float or (type(value) is int and abs(value) <= MAGNITUDE)
    for value in values
  )


def plot_losses(log: Path, path: Path, level_names: tuple[str, ...]) -> None:
  """Draws a run's `log.jsonl` as a PNG: training by level, and held out."""
  if not log.is_file():
    return
  rows = read_log(log)
  steps = _training(rows, len(level_names))
  held = _held_out(rows)
  figure = _figure()
  axes = figure.add_subplot()
  minutes = [row["minutes"] for row in steps]
  axes.plot(minutes, [row["nats"] for row in steps], "0.75", label="training")
  for level, name in enumerate(level_names):
    axes.plot(
      minutes,
      [row["levels"][level] for row in steps],
      lw=0.8,
      label=drawable(name),
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
  save_figure(figure, path)


def plot_finetune(log: Path, path: Path) -> None:
  """Draws a fine-tuning run's `log.jsonl` as a PNG.

  Held-out nats against those of what the run started from, the evaluation at
  step 0, on an axis that shows a gain of a few per cent; beside them those of
  training.
  """
  rows = read_log(log)
  held = [
    (row["step"], row["held_out"]["nats_per_note"]) for row in _held_out(rows)
  ]
  training = [(row["step"], row["nats"]) for row in _training(rows)]
  figure = _figure()
  left, right = figure.subplots(1, 2, width_ratios=(3, 2))
  step, nats = [row[0] for row in held], [row[1] for row in held]
  left.plot(step, nats, "o-", color=_SELF, ms=4, label="adapter")
  if held:
    left.axhline(nats[0], color="0.4", lw=1, ls="--", label="before")
    best = min(range(len(nats)), key=nats.__getitem__)
    gain = (nats[best] - nats[0]) / nats[0]
    left.plot(step[best], nats[best], "o", color=_SELF, ms=10, mfc="none")
    left.set_title(
      f"best: {nats[best]:.3f} at step {step[best]:d} ({gain:+.1%})"
    )
    left.legend(frameon=False)
  left.set(xlabel="step", ylabel="nats a note, held-out windows")
  right.plot([row[0] for row in training], [row[1] for row in training], "0.5")
  right.set(xlabel="step", ylabel="nats an event", title="training")
  for axes in (left, right):
    axes.grid(alpha=0.3)
  save_figure(figure, path)


def plot_evaluation(figures: dict[str, Any], path: Path) -> None:
  """Draws nats a note by piece, and what the parts of notes cost.

  Args:
    figures: Of `evaluate`; with `against`, pieces are drawn against those of
      the other checkpoint.
    path: PNG to write.
  """
  figure = _figure()
  pieces, parts = figure.subplots(1, 2, width_ratios=(3, 2))
  against = figures.get("against")
  if against is None:
    _draw_pieces(pieces, figures)
  else:
    _draw_pairs(pieces, figures, against)
  _draw_parts(parts, figures, against)
  for axes in (pieces, parts):
    axes.set_axisbelow(True)
  if against is not None:
    figure.legend(
      *parts.get_legend_handles_labels(),
      frameon=False,
      fontsize=8,
      ncols=2,
      loc="outside lower center",
    )
  save_figure(figure, path)


def _draw_pieces(axes: "Axes", figures: dict[str, Any]) -> None:
  """Every piece's nats a note, the most expected first."""
  rows = [r for r in figures["by_piece"] if r["nats_per_note"] is not None]
  rows.sort(key=lambda row: row["nats_per_note"])
  low, high = figures["ci95"]
  mean = figures["nats_per_note"]
  axes.axvspan(low, high, color=_SELF, alpha=0.15, lw=0)
  axes.axvline(mean, color=_SELF, lw=1, ls="--")
  axes.scatter(
    [row["nats_per_note"] for row in rows],
    range(1, len(rows) + 1),
    s=_areas([row["notes"] for row in rows]),
    color=_SELF,
    alpha=0.7,
  )
  axes.set(
    xlabel="nats a note (line: of all notes, with its 95 % interval)",
    title=f"{mean:.3f} nats a note in {figures['pieces']:d} pieces",
  )
  if len(rows) <= _NAMED_PIECES:
    axes.set_yticks(
      range(1, len(rows) + 1),
      [_short(Path(row["piece"]).stem, 28) for row in rows],
      fontsize=8,
    )
  else:
    axes.set_ylabel("pieces, the most expected first")
  axes.invert_yaxis()
  axes.grid(axis="x", alpha=0.3)


def _draw_pairs(
  axes: "Axes", figures: dict[str, Any], against: dict[str, Any]
) -> None:
  """Every piece's nats a note against the other checkpoint's."""
  pairs = [
    (theirs["nats_per_note"], ours["nats_per_note"], ours["notes"])
    for ours, theirs in zip(
      figures["by_piece"], against["by_piece"], strict=True
    )
    if None not in (ours["nats_per_note"], theirs["nats_per_note"])
  ]
  theirs, ours, notes = zip(*pairs, strict=True) if pairs else ((), (), ())
  axes.axline((0, 0), slope=1, color="0.4", lw=1, ls="--")
  axes.scatter(theirs, ours, s=_areas(notes), color=_SELF, alpha=0.7)
  ends = [*theirs, *ours] or [0.0]
  margin = 0.05 * (max(ends) - min(ends)) + 0.01
  limits = (min(ends) - margin, max(ends) + margin)
  axes.set(xlim=limits, ylim=limits, aspect="equal")
  # The words first: a name may be cut.
  axes.set_xlabel(f"nats a note, {_short(against['checkpoint'], 40)}")
  axes.set_ylabel(f"nats a note, {_short(figures['checkpoint'], 40)}")
  difference = figures["difference"]
  low, high = difference["ci95"]
  axes.set_title(
    f"{difference['nats_per_note']:+.3f} nats a note"
    f" (95 % {low:+.3f} to {high:+.3f})\nbelow the line: fewer than the other",
    fontsize=10,
  )
  axes.grid(alpha=0.3)


def _draw_parts(
  axes: "Axes", figures: dict[str, Any], against: dict[str, Any] | None
) -> None:
  """Bars by level, pedal and END; those of one name side by side."""
  found = [(figures, _SELF)]
  if against is not None:
    found.append((against, _OTHER))
  parts = [
    {**f["levels"], "pedal": f["pedal"], "end": f["end"]} for f, _ in found
  ]
  if len(parts) == 2 and list(parts[0]) != list(parts[1]):
    # Another codec's: no part of the one is a part of the other.
    parts = [
      {(name, place): nats for name, nats in part.items()}
      for place, part in enumerate(parts)
    ]
  else:
    parts = [{(n, 0): nats for n, nats in part.items()} for part in parts]
  rows = list(dict.fromkeys(key for part in parts for key in part))
  paired = len(rows) < sum(map(len, parts))
  height = 0.38 if paired else 0.7
  for place, (part, (facts, color)) in enumerate(
    zip(parts, found, strict=True)
  ):
    shift = (place - 0.5) * height if paired else 0.0
    axes.barh(
      [rows.index(key) + shift for key in part],
      list(part.values()),
      height=height,
      color=color,
      label=_in_legend(facts["checkpoint"]),
    )
  axes.set_yticks(range(len(rows)), [drawable(name) for name, _ in rows])
  axes.invert_yaxis()
  axes.set(xlabel="nats a note", title="what they are spent on")
  axes.grid(axis="x", alpha=0.3)


def _areas(notes: Any) -> list[float]:
  """The areas of dots: longer pieces weigh more."""
  most = max(notes, default=1)
  return [8 + 52 * count / most for count in notes]


def _in_legend(name: str) -> str:
  """A name for a legend, which leaves out what begins with "_"."""
  shown = _short(name, 32)
  return f" {shown}" if shown.startswith("_") else shown


def _short(text: str, most: int) -> str:
  """End of a name, drawable, as names differ more at the end."""
  text = " ".join(nfc(text).split())
  return drawable(text if len(text) <= most else f"…{text[1 - most :]}")


def _figure() -> "Figure":
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9, 5), layout="constrained")
  FigureCanvasAgg(figure)
  return figure
