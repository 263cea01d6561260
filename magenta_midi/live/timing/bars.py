"""Bars and beats at a steady tempo, and times of clicks."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.midi.io.messages import note_off, note_on
from magenta_midi.midi.tempo import TempoMap

__all__ = [
  "BPM_RANGE",
  "CLICK_CHANNEL",
  "BarPosition",
  "Bars",
  "PlannedClick",
  "TempoChange",
  "click_messages",
  "tempo_changes",
  "tempo_map",
]

BPM_RANGE = (20.0, 400.0)
_MAX_BEATS = 32

# General MIDI's percussion, and its high and low wood block.
CLICK_CHANNEL = 10
_ACCENT_KEY, _CLICK_KEY = 76, 77
_ACCENT_VELOCITY, _CLICK_VELOCITY = 100, 70
_CLICK_NS = 50_000_000


class BarPosition(NamedTuple):
  """A place in the music.

  Attributes:
    bar: 0 is the first; the count-in has negative ones.
    beat: Beats since its start, in [0, beats_per_bar).
  """

  bar: int
  beat: float


class PlannedClick(NamedTuple):
  """A click of the metronome; the first of a bar has the accent."""

  time_ns: int
  accent: bool


@dataclasses.dataclass(frozen=True)
class Bars:
  """A steady tempo, counted from a time.

  Raises:
    ValueError: The tempo or the bar is none that people play.
  """

  bpm: float | int  # quarter notes a minute
  beats_per_bar: int
  start_ns: int  # of the first bar

  def __post_init__(self) -> None:
    low, high = BPM_RANGE
    if not low <= self.bpm <= high:  # also refuses nan
      raise ValueError(
        f"the tempo must be {low:g} to {high:g} beats a minute, got"
        f" {self.bpm:g}."
      )
    if not 1 <= self.beats_per_bar <= _MAX_BEATS:
      raise ValueError(
        f"a bar must have 1 to {_MAX_BEATS} beats, got {self.beats_per_bar}."
      )

  @property
  def beat_ns(self) -> float:
    """Length of a beat; not whole."""
    return 60 * SECOND / self.bpm

  @property
  def bar_ns(self) -> float:
    """Length of a bar; not whole."""
    return self.beat_ns * self.beats_per_bar

  def position(self, time_ns: int) -> BarPosition:
    """The bar and beat of a time.

    Times are whole nanoseconds: one on a beat may lie half a nanosecond
    before it, and still counts as on it.
    """
    beats = (time_ns - self.start_ns + 0.5) / self.beat_ns
    bar = math.floor(beats / self.beats_per_bar)
    return BarPosition(
      bar,
      min(
        max(beats - bar * self.beats_per_bar, 0.0),
        math.nextafter(self.beats_per_bar, 0),
      ),
    )

  def time_of(self, bar: int, beat: float | int = 0) -> int:
    """The time of a beat of a bar; both may be negative."""
    beats = bar * self.beats_per_bar + beat
    return self.start_ns + round(beats * self.beat_ns)

  def next_bar_ns(self, time_ns: int) -> int:
    """The first start of a bar that is not before a time."""
    bar = math.floor((time_ns - self.start_ns) / self.bar_ns)
    while self.time_of(bar) < time_ns:
      bar += 1
    return self.time_of(bar)

  def next_same_position(self, planned_ns: int, earliest_ns: int) -> int:
    """How much later a late reply begins so that it still fits the bar.

    Args:
      planned_ns: When it should have begun.
      earliest_ns: When it can.

    Returns:
      What to add to all of its times: whole bars, or 0 if it is not late.
    """
    late_ns = earliest_ns - planned_ns
    if late_ns <= 0:
      return 0
    bars = math.ceil(late_ns / self.bar_ns)
    return math.ceil(bars * self.bar_ns)

  def count_in_ns(self, bars: int = 1) -> int:
    """When the count-in begins, for `metronome`."""
    return self.time_of(-bars)

  def metronome(self, from_ns: int, to_ns: int) -> list[PlannedClick]:
    """The clicks in [from_ns, to_ns), before the first bar too."""
    beat = math.floor((from_ns - self.start_ns) / self.beat_ns) - 1
    clicks = []
    while (time_ns := self.time_of(0, beat)) < to_ns:
      if time_ns >= from_ns:
        clicks.append(PlannedClick(time_ns, beat % self.beats_per_bar == 0))
      beat += 1
    return clicks


def click_messages(
  click: PlannedClick, *, channel: int = CLICK_CHANNEL
) -> tuple[Message, Message]:
  """A click as a note of General MIDI's wood blocks, with its end."""
  key = _ACCENT_KEY if click.accent else _CLICK_KEY
  velocity = _ACCENT_VELOCITY if click.accent else _CLICK_VELOCITY
  return (
    Message(click.time_ns, note_on(channel, key, velocity)),
    Message(click.time_ns + _CLICK_NS, note_off(channel, key)),
  )


class TempoChange(NamedTuple):
  """A tempo as it is written to a file, from the start of a bar on."""

  time_ns: int
  bpm: float
  beats_per_bar: int


def tempo_changes(counted: Sequence[tuple[int, Bars]]) -> list[TempoChange]:
  """Tempos such that the bars of a file are the bars that were played.

  A file counts its bars from its beginning and knows no gaps. So each tempo
  begins at a bar line, and the one before is stretched, by half a bar at
  most, to reach it in whole bars.

  Args:
    counted: Since when which bars counted, in order of time, from 0 on.

  Returns:
    In order of time, the first at 0; empty for none.
  """
  lines: list[tuple[int, Bars]] = []
  for time_ns, bars in counted:
    # Too close to the line before there is no whole bar.
    after_ns = lines[-1][0] if lines else 0
    room_ns = round(bars.bar_ns / 2)
    line_ns = bars.next_bar_ns(max(time_ns, after_ns + room_ns))
    if not lines and bars.next_bar_ns(0) == 0:
      line_ns = 0
    lines.append((line_ns, bars))
  changes: list[TempoChange] = []
  if lines and lines[0][0] > 0:
    changes.append(_stretched(0, lines[0][0], lines[0][1]))
  followings = [*lines[1:], None][: len(lines)]
  for (line_ns, bars), following in zip(lines, followings, strict=True):
    if following is None:
      changes.append(TempoChange(line_ns, float(bars.bpm), bars.beats_per_bar))
    else:
      changes.append(_stretched(line_ns, following[0], bars))
  return changes


def _stretched(from_ns: int, to_ns: int, bars: Bars) -> TempoChange:
  whole = max(1, round((to_ns - from_ns) / bars.bar_ns))
  beats = whole * bars.beats_per_bar
  bpm = beats * 60 * SECOND / (to_ns - from_ns)
  return TempoChange(from_ns, bpm, bars.beats_per_bar)


def tempo_map(changes: Sequence[TempoChange]) -> TempoMap:
  """The tempos of a score; 120 beats a minute where there are none."""
  if not changes:
    return TempoMap.constant()
  return TempoMap(
    np.array([change.time_ns / SECOND for change in changes]),
    np.array([change.bpm for change in changes]),
  )
