"""Bars and beats at a steady tempo, and times of clicks."""

import dataclasses
import math
from typing import NamedTuple

from magenta_midi.limits import TEMPO
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.clicks import CLICK_CHANNEL, CLICK_S, Click
from magenta_midi.midi.io.messages import note_off, note_on

__all__ = [
  "BPM_RANGE",
  "BarPosition",
  "Bars",
  "PlannedClick",
  "click_messages",
  "is_another",
]

BPM_RANGE = (TEMPO.low, TEMPO.high)
_MAX_BEATS = 32

# A recording takes other bars than these: in tempo, and as a share of a beat.
_OTHER_TEMPO, _OTHER_BEAT = 0.02, 0.25

_CLICK_NS = round(CLICK_S * SECOND)


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

  bpm: float | int  # beats a minute
  beats_per_bar: int
  start_ns: int  # of the first bar

  def __post_init__(self) -> None:
    TEMPO.check("the tempo", self.bpm)
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

  @property
  def grid(self) -> BeatGrid:
    """The same beats, in seconds."""
    return BeatGrid(
      self.start_ns / SECOND, 60 / self.bpm, 0, self.beats_per_bar
    )

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

  def next_beat_ns(self, time_ns: int) -> int:
    """The first beat that is not before a time."""
    beat = math.floor((time_ns - self.start_ns) / self.beat_ns)
    while self.time_of(0, beat) < time_ns:
      beat += 1
    return self.time_of(0, beat)

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
  sound = Click(click.time_ns / SECOND, click.accent)
  return (
    Message(click.time_ns, note_on(channel, sound.key, sound.velocity)),
    Message(click.time_ns + _CLICK_NS, note_off(channel, sound.key)),
  )


def is_another(bars: Bars, before: Bars | None, now_ns: int) -> bool:
  """Whether bars are worth a line of a recording: another tempo or place.

  Whole beats count too: bar lines, and the place in a chart, are others.
  """
  if before is None or abs(bars.bpm / before.bpm - 1) > _OTHER_TEMPO:
    return True
  beats = (now_ns - bars.start_ns) / bars.beat_ns
  return abs(beats - (now_ns - before.start_ns) / before.beat_ns) > _OTHER_BEAT
