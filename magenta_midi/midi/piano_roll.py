"""Picture of a piano roll: keys over seconds, and the pedal below."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from magenta_midi.midi.figures import save_figure
from magenta_midi.midi.score import Score
from magenta_midi.plain_text import drawable, line, nfc

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette, told apart by every kind of
# color-blind eye; the others follow where there are more parts.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

_INK = "#333333"
_FAINT = "#E4E4E4"
_PALEST = 0.28  # strength of color of the softest note

# Letters of a name of a part, and of the title.
_MAX_NAME, _MIN_NAME, _MAX_TITLE = 24, 8, 60
_MAX_CHUNK_LINES = 120  # more of them would be a grey wash
_DPI = 110
# More notes, or bars of the pedal, are narrower than a pixel; as shapes each
# takes 1 kB.
_MAX_SHAPES = 20_000


def plot_piano_roll(
  score: Score,
  path: str | PathLike[str],
  *,
  given_until_s: float | int | None = None,
  title: str = "",
  names: Sequence[str] | None = None,
  part_colors: Sequence[str] = COLORS,
  chunk_s: float | int | None = 2.0,
) -> None:
  """Draws a score and writes it as a PNG, whole or not at all.

  Args:
    score: All of it is drawn.
    path: Where the picture goes.
    given_until_s: What begins before is the given part and drawn in the
      first color, what begins later is the continuation, in the second.
      Without it every part of the score has its own color.
    title: Above the picture.
    names: For the legend; by default "given" and "continuation", or the
      names of the parts.
    part_colors: Used in turn.
    chunk_s: Seconds between the light lines of the chunk borders, counted
      from `given_until_s`; None for none.

  Raises:
    OSError: The file cannot be written there.
  """
  if given_until_s is None:
    note_group = score.notes["part"].astype(int)
    pedal_from_s = None
    labels = [n or f"part {i + 1}" for i, n in enumerate(score.part_names)]
  else:
    note_group = (score.notes["onset_s"] >= given_until_s).astype(int)
    pedal_from_s = given_until_s
    labels = ["given", "continuation"]
  labels = list(names or labels)
  colors = _rgb([part_colors[i % len(part_colors)] for i in range(len(labels))])

  end_s = float(max(score.end_s, given_until_s or 0.0, 1.0))
  figure, roll, pedal = _figure(end_s)
  draw = _draw_notes if len(score) <= _MAX_SHAPES else _paint_notes
  draw(roll, score, note_group, colors)
  _draw_pedal(pedal, score, colors, pedal_from_s)
  _draw_keys(roll, score)
  for axes in (roll, pedal):
    _draw_borders(axes, end_s, given_until_s, chunk_s)
    axes.set_xlim(0, end_s)
  if given_until_s is not None and 0 < given_until_s < end_s:
    roll.annotate(
      "continuation begins",
      (given_until_s, 1),
      xycoords=("data", "axes fraction"),
      xytext=(0, 3),
      textcoords="offset points",
      ha="center",
      va="bottom",
      fontsize=8,
      color=_INK,
    )
  _draw_legend(figure, roll, labels, colors, title)
  save_figure(figure, path, dpi=_DPI)


def _rgb(colors: Sequence[str]) -> np.ndarray:
  from matplotlib.colors import to_rgb

  return np.array([to_rgb(color) for color in colors])


def _shade(rgb: np.ndarray, velocity: np.ndarray) -> np.ndarray:
  """Loud notes in full color, soft ones paler, on white."""
  # Few pianists leave 30..100: spread the shades there.
  loud = np.clip((np.asarray(velocity) - 20) / 85, 0, 1)
  strength = (_PALEST + (1 - _PALEST) * loud)[..., None]
  return 1 - strength * (1 - rgb)


def _figure(end_s: float) -> tuple[Figure, Axes, Axes]:
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  width = float(np.clip(3 + 0.3 * end_s, 11, 22))
  figure = Figure(figsize=(width, 6), facecolor="white")
  FigureCanvasAgg(figure)
  left, right = 0.55 / width, 1 - 0.2 / width
  grid = figure.add_gridspec(
    2,
    1,
    height_ratios=(16, 1),
    hspace=0.04,
    left=left,
    right=right,
    bottom=0.09,
    top=0.88,
  )
  roll = figure.add_subplot(grid[0])
  pedal = figure.add_subplot(grid[1], sharex=roll)
  for axes in (roll, pedal):
    for side in axes.spines.values():
      side.set_visible(False)
    axes.tick_params(length=0, labelsize=9, colors=_INK)
    axes.set_axisbelow(True)
  roll.tick_params(labelbottom=False)
  pedal.set_yticks([0.5], ["pedal"])
  pedal.set_ylim(0, 1)
  pedal.set_xlabel("time (seconds)", fontsize=9, color=_INK)
  pedal.patch.set_facecolor("#F4F4F4")
  return figure, roll, pedal


def _draw_notes(
  axes: Axes, score: Score, group: np.ndarray, colors: np.ndarray
) -> None:
  from matplotlib.collections import PolyCollection

  notes = score.notes
  # Soft below loud: an accent is never hidden.
  order = np.argsort(notes["velocity"], kind="stable")
  notes, group = notes[order], group[order]
  start = notes["onset_s"]
  end = start + np.maximum(notes["duration_s"], 0.02)  # else not to be seen
  low, high = notes["key"] - 0.44, notes["key"] + 0.44
  corners = np.stack(
    [
      np.stack([start, start, end, end], -1),
      np.stack([low, high, high, low], -1),
    ],
    -1,
  )
  axes.add_collection(
    PolyCollection(
      list(corners),
      facecolors=_shade(colors[group % len(colors)], notes["velocity"]),
      edgecolors="white",
      linewidths=0.25,
      zorder=3,
    ),
    autolim=False,
  )


def _paint_notes(
  axes: Axes, score: Score, group: np.ndarray, colors: np.ndarray
) -> None:
  """The same as pixels: memory is that of the picture, not of the notes."""
  columns, end_s = _columns(axes), max(score.end_s, 1.0)
  order = np.argsort(score.notes["velocity"], kind="stable")
  notes, group = score.notes[order], group[order]
  first = (notes["onset_s"] / end_s * columns).astype(np.int64)
  length_s = np.maximum(notes["duration_s"], 0.02)
  last = np.ceil((notes["onset_s"] + length_s) / end_s * columns)
  shades = _shade(colors[group % len(colors)], notes["velocity"])
  pixels = np.zeros((128, columns, 4), np.uint8)
  for key, begin, end, rgb in zip(
    notes["key"],
    np.minimum(first, columns - 1),
    last.astype(np.int64),
    np.rint(255 * shades).astype(np.uint8),
    strict=True,
  ):
    pixels[key, begin:end, :3] = rgb
    pixels[key, begin:end, 3] = 255
  axes.imshow(
    pixels,
    extent=(0.0, end_s, -0.5, 127.5),
    origin="lower",
    aspect="auto",
    interpolation="nearest",
    zorder=3,
  )


def _columns(axes: Axes) -> int:
  """Pixels from the left of the axes to their right."""
  figure = axes.get_figure(root=True)
  assert figure is not None
  width = figure.get_size_inches()[0]
  return int(width * axes.get_position().width * _DPI)


def _draw_pedal(
  axes: Axes,
  score: Score,
  colors: np.ndarray,
  given_until_s: float | int | None,
) -> None:
  """Bars where the pedal is down; a row per part, or two colors in time."""
  groups = len(colors) if given_until_s is None else 1
  for part in range(score.parts):
    events = score.pedals[score.pedals["part"] == part]
    start = events["time_s"][events["down"]]
    end = np.append(events["time_s"][~events["down"]], score.end_s)
    end = end[: len(start)]
    row = part % groups
    height = 1 / groups
    where = (1 - (row + 1) * height + 0.1 * height, 0.8 * height)
    if given_until_s is None:
      spans = [(start, end, colors[row])]
    else:
      until = given_until_s
      spans = [
        (start, np.minimum(end, until), colors[0]),
        (np.maximum(start, until), end, colors[1]),
      ]
    for begin, stop, color in spans:
      seen = stop > begin
      begin, stop = begin[seen], stop[seen]
      if len(begin) > _MAX_SHAPES:
        # Bars that begin and end in the same pixels are one.
        pixel_s = score.end_s / _columns(axes)
        ends = np.stack([begin // pixel_s, -(-stop // pixel_s)], -1)
        begin, stop = np.unique(ends, axis=0).T * pixel_s
      bars = np.stack([begin, stop - begin], -1)
      axes.broken_barh(
        list(bars),
        where,
        facecolors=[tuple(_shade(color, np.array(62)))],
        linewidth=0,
        zorder=3,
      )


def _draw_keys(axes: Axes, score: Score) -> None:
  """Names the Cs, shades the black keys' rows, chooses the range."""
  keys = score.notes["key"]
  low = int(min(keys.min(initial=127), 55))
  high = int(max(keys.max(initial=0), 79))
  axes.set_ylim(low - 1.5, high + 1.5)
  cs = np.arange(0, 128, 12)
  cs = cs[(cs >= low - 1) & (cs <= high + 1)]
  axes.set_yticks(cs, [f"C{c // 12 - 1:d}" for c in cs])
  axes.set_ylabel("key", fontsize=9, color=_INK)
  for key in range(low - 1, high + 2):
    if key % 12 in (1, 3, 6, 8, 10):
      axes.axhspan(key - 0.5, key + 0.5, color="#F6F6F6", lw=0, zorder=0)
  for c in cs:
    axes.axhline(c - 0.5, color="#CFCFCF", lw=0.7, zorder=1)


def _draw_borders(
  axes: Axes,
  end_s: float | int,
  given_until_s: float | int | None,
  chunk_s: float | int | None,
) -> None:
  origin = given_until_s or 0.0
  if chunk_s and end_s / chunk_s <= _MAX_CHUNK_LINES:
    first = origin - chunk_s * np.floor(origin / chunk_s)
    for time_s in np.arange(first, end_s, chunk_s):
      axes.axvline(time_s, color=_FAINT, lw=0.8, zorder=1)
  if given_until_s is not None:
    axes.axvline(given_until_s, color=_INK, lw=1.2, ls=(0, (4, 2)), zorder=4)


def _draw_legend(
  figure: Figure,
  roll: Axes,
  labels: Sequence[str],
  colors: np.ndarray,
  title: str,
) -> None:
  """Title at the left; at the right a ramp from soft to loud per color."""
  title = line(nfc(title or "piano roll"), longest=_MAX_TITLE)
  box = roll.get_position()
  width, height = figure.get_size_inches()
  figure.text(
    box.x0,
    1 - 0.32 / height,
    drawable(title),
    fontsize=13,
    fontweight="bold",
    color=_INK,
    va="center",
  )
  ramp_in, gap_in = 0.9, 0.1
  # What the title and the last words leave.
  free_in = (box.x1 - box.x0) * width - 0.13 * _width(title) - 1.8
  labels = labels[: len(COLORS)]
  longest = _longest(labels, free_in, ramp_in + 2 * gap_in + 0.2)
  shown = [drawable(name, longest=longest) for name in labels]
  velocity = np.linspace(1, 127, 64)
  right_in = box.x1 * width
  text: dict[str, Any] = {"fontsize": 9, "color": _INK, "va": "center"}
  y = 1 - 0.32 / height
  for i in reversed(range(len(shown))):
    # Text has no width before it is drawn; 0.075 in a letter is enough.
    label_in = 0.085 * _width(shown[i]) + 2 * gap_in
    figure.text((right_in - label_in + gap_in) / width, y, shown[i], **text)
    ramp = figure.add_axes(
      (
        (right_in - label_in - ramp_in) / width,
        y - 0.07 / height,
        ramp_in / width,
        0.14 / height,
      )
    )
    ramp.imshow(_shade(colors[i], velocity)[None], aspect="auto")
    ramp.set_axis_off()
    right_in -= label_in + ramp_in + 0.2
  figure.text(
    (right_in + 0.1) / width, y, "velocity: soft to loud", ha="right", **text
  )


def _longest(labels: Sequence[str], free_in: float, each_in: float) -> int:
  """Letters of a name for which the legend has room."""
  for longest in range(_MAX_NAME, _MIN_NAME, -1):
    shown = [line(nfc(name), longest=longest) for name in labels]
    if sum(each_in + 0.085 * _width(name) for name in shown) <= free_in:
      return longest
  return _MIN_NAME


def _width(label: str) -> int:
  """Width in Latin letters; those of East Asia are twice as wide."""
  wide = sum(unicodedata.east_asian_width(c) in "WF" for c in label)
  return len(label) + wide
