"""Control tokens: numeric targets for the music.

Each control has one slot, after the slots of the style, and rows in the same
table, one for each bucket. The rows of density, loudness, register and pedal
come after the rows of the style model. Row 0, the mask, means "no target".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.limits import DENSITY, KEY, LOUDNESS, SHARE
from magenta_midi.style.model import MASK_TOKEN
from magenta_midi.typing import Float, Int

__all__ = [
  "CONTROLS",
  "CONTROL_BUCKETS",
  "CONTROL_ROWS",
  "ControlTargets",
  "Measures",
  "control_positions",
  "control_rows",
  "measured_rows",
]

CONTROLS = ("density", "loudness", "register", "pedal")

# Limits between buckets. In windows of 4 s of piano music the 2 % and 98 %
# quantiles are about 1 and 22 notes a second, velocities 29 and 113, centers 43
# and 84. The middle half of the windows spans 13 to 27 semitones.
_DENSITY = (0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20)
_LOUDNESS = tuple(range(24, 113, 8))
_CENTER = tuple(range(40, 85, 4))
_WIDTH = (10, 18, 26)
_PEDAL = (0.05, 0.3, 0.55, 0.75, 0.9)

# Stored in config.json: the meaning of a checkpoint's rows.
CONTROL_BUCKETS: dict[str, Any] = dict(
  density=list(_DENSITY),
  loudness=list(_LOUDNESS),
  register=dict(centre=list(_CENTER), width=list(_WIDTH)),
  pedal=list(_PEDAL),
)

# Number of rows of each control. The register has one row for any width, then
# one for each width, for each center.
_ROWS = (
  len(_DENSITY) + 1,
  len(_LOUDNESS) + 1,
  (len(_CENTER) + 1) * (len(_WIDTH) + 2),
  len(_PEDAL) + 1,
)
CONTROL_ROWS = sum(_ROWS)


class ControlTargets(NamedTuple):
  """Targets for the music; None: no target."""

  # Notes a second, 0 and up.
  density: float | None = None
  # Mean MIDI velocity, 1..127.
  loudness: float | None = None
  # MIDI key 0..127 at the center of the music, or a pair (lowest, highest) that
  # contains most of it.
  register: float | tuple[float, float] | None = None
  # Share of the time with the sustain pedal down, 0..1.
  pedal: float | None = None


class Measures(NamedTuple):
  """The same values of several windows, float `[n]`; nan: no target."""

  density: np.ndarray
  loudness: np.ndarray
  center: np.ndarray  # of the register, MIDI key
  width: np.ndarray  # of the register, semitones; nan: any
  pedal: np.ndarray


def control_rows(
  targets: ControlTargets, first_row: int
) -> Int[np.ndarray, " 4"]:
  """The rows of all controls, int32.

  Args:
    targets: Targets for the music.
    first_row: The first row after the rows of the style model.

  Raises:
    ValueError: A target is out of range.
  """
  register = targets.register
  if register is None:
    low = high = None
  elif isinstance(register, tuple):
    if len(register) != 2 or not register[0] <= register[1]:
      raise ValueError(
        "register must be a key or a pair (lowest, highest), got"
        f" {'-'.join(f'{key:g}' for key in register)}. Give the lower first."
      )
    low, high = register
  else:
    low = high = register
  for name, value, bounds in (
    ("density", targets.density, DENSITY),
    ("loudness", targets.loudness, LOUDNESS),
    ("register", low, KEY),
    ("register", high, KEY),
    ("pedal", targets.pedal, SHARE),
  ):
    if value is not None:
      bounds.check(name, value)

  def as_array(value: float | None) -> np.ndarray:
    return np.array([np.nan if value is None else value], np.float64)

  paired = isinstance(register, tuple)
  return measured_rows(
    Measures(
      density=as_array(targets.density),
      loudness=as_array(targets.loudness),
      center=(as_array(low) + as_array(high)) / 2,
      width=as_array(high) - as_array(low) if paired else as_array(None),
      pedal=as_array(targets.pedal),
    ),
    first_row,
  )[0]


def control_positions() -> tuple[
  Int[np.ndarray, " rows"], Float[np.ndarray, "rows 5"]
]:
  """The control of each row, and its position on five axes, -1 to 1.

  The axes are density, loudness, center and width of the register, pedal. Axes
  of other controls, and any width, are 0.
  """
  control = np.repeat(np.arange(len(CONTROLS)), _ROWS)
  position = np.zeros((CONTROL_ROWS, len(CONTROLS) + 1))
  for index, (axis, rows) in enumerate(zip((0, 1, 2, 4), _ROWS, strict=True)):
    place = np.arange(rows)
    if axis == 2:
      center, width = np.divmod(place, len(_WIDTH) + 2)
      wide = np.linspace(-1, 1, len(_WIDTH) + 1)
      position[control == index, 3] = np.append(0.0, wide)[width]
      place = center
    position[control == index, axis] = 2 * place / place.max() - 1
  return control, position


def measured_rows(measures: Measures, first_row: int) -> Int[np.ndarray, "n 4"]:
  """The rows of several windows of music, int32; 0 for nan."""
  width = np.where(
    np.isnan(measures.width), 0, 1 + np.digitize(measures.width, _WIDTH)
  )
  center = np.digitize(measures.center, _CENTER)
  codes = (
    np.digitize(measures.density, _DENSITY),
    np.digitize(measures.loudness, _LOUDNESS),
    center * (len(_WIDTH) + 2) + width,
    np.digitize(measures.pedal, _PEDAL),
  )
  firsts = first_row + np.cumsum((0, *_ROWS[:-1]))
  asked = (measures.density, measures.loudness, measures.center, measures.pedal)
  rows = [
    np.where(np.isnan(value), MASK_TOKEN, first + code)
    for value, first, code in zip(asked, firsts, codes, strict=True)
  ]
  return np.stack(rows, axis=-1).astype(np.int32)
