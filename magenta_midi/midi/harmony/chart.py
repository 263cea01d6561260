"""Charts: the chords of a tune, bar by bar, as they are played."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.chord_symbols import NO_CHORD, ChordSymbol
from magenta_midi.midi.meter import Meter
from magenta_midi.typing import Float, Int

__all__ = [
  "EARLY_S",
  "MAX_BARS",
  "Bar",
  "Chart",
  "ChartPlace",
  "ChordTimeline",
  "spread_chords",
]

# As played, with all repeats: an hour of fast bars.
MAX_BARS = 4096
# A note that comes so little early belongs to the next chord.
EARLY_S = 0.03


class Bar(NamedTuple):
  """A bar of a chart.

  Attributes:
    meter: Its meter.
    changes: Beat in the bar and chord, by beat; empty: the chord before goes
      on.
  """

  meter: Meter
  changes: tuple[tuple[float, ChordSymbol], ...]


class ChartPlace(NamedTuple):
  """Where in a chart something is.

  Attributes:
    bar: From 0.
    beat: In the bar, from 0.
    chord: What is played there.
  """

  bar: int
  beat: float
  chord: ChordSymbol


class ChordTimeline(NamedTuple):
  """Chords in time.

  Attributes:
    start_s: When each chord begins, ascending.
    chords: As many.
    loop_s: After so long from the first on they come again; None: the last
      one stays.
  """

  start_s: Float[np.ndarray, " n"]
  chords: tuple[ChordSymbol, ...]
  loop_s: float | None = None

  def numbers(self, time_s: Float[np.ndarray, " t"]) -> Int[np.ndarray, " t"]:
    """Which chord each onset belongs to; -1: it comes before the first."""
    time_s = np.asarray(time_s, float) + EARLY_S
    if not len(self.start_s):
      return np.full(len(time_s), -1)
    if self.loop_s is not None:
      first = self.start_s[0]
      inside = first + (time_s - first) % self.loop_s
      time_s = np.where(time_s < first, time_s, inside)
    return np.searchsorted(self.start_s, time_s, "right") - 1

  def between(
    self, from_s: float | int, until_s: float | int
  ) -> list[tuple[float, ChordSymbol]]:
    """Chords that begin in a stretch, and the one that sounds at its start."""
    found: list[tuple[float, ChordSymbol]] = []
    if not len(self.start_s):
      return found
    turn, loop_s = 0, self.loop_s or 0.0
    if loop_s:
      turn = max(0, int((from_s - float(self.start_s[0])) // loop_s) - 1)
    while True:
      for start_s, chord in zip(self.start_s, self.chords, strict=True):
        at_s = float(start_s) + turn * loop_s
        if at_s >= until_s:
          return found
        if at_s <= from_s:
          found.clear()
        found.append((at_s, chord))
      if not loop_s:
        return found
      turn += 1

  def chord_at(self, time_s: float | int) -> ChordSymbol:
    """The chord of an onset; `NO_CHORD` before the first."""
    number = int(self.numbers(np.array([float(time_s)]))[0])
    return self.chords[number] if number >= 0 else NO_CHORD


@dataclasses.dataclass(frozen=True)
class Chart:
  """The chords of a tune.

  Attributes:
    bars: As they are played, repeats written out; at least one with a chord.
    title: Of the tune, or empty; written by anybody.
    bpm: Beats a minute that the chart asks for; None: any.

  Raises:
    ValueError: It has no bars, no chord, or more than `MAX_BARS` bars.
  """

  bars: tuple[Bar, ...]
  title: str = ""
  bpm: float | None = None

  def __post_init__(self) -> None:
    if not self.bars:
      raise ValueError('a chart must have bars, such as "| Em7 | A7 |".')
    if len(self.bars) > MAX_BARS:
      raise ValueError(
        f"a chart must have at most {MAX_BARS} bars with its repeats, got"
        f" {len(self.bars)}."
      )
    if not any(bar.changes for bar in self.bars):
      raise ValueError("a chart must have a chord, and this one has none.")

  @property
  def meter(self) -> Meter:
    """Of the first bar."""
    return self.bars[0].meter

  @functools.cached_property
  def bar_starts(self) -> Int[np.ndarray, " n"]:
    """Beat at which each bar begins, and the beats of all last."""
    return np.cumsum([0, *(bar.meter.beats for bar in self.bars)])

  @property
  def beats(self) -> int:
    """Beats of all bars together."""
    return int(self.bar_starts[-1])

  @functools.cached_property
  def _changes(self) -> tuple[np.ndarray, tuple[ChordSymbol, ...]]:
    """Beats at which the chord changes, the first 0, and the chords.

    A chart that begins without a chord begins with its last one, as in a
    chorus that goes round.
    """
    beats, chords = [], []
    for start, bar in zip(self.bar_starts[:-1], self.bars, strict=True):
      for beat, chord in bar.changes:
        beats.append(float(start) + beat)
        chords.append(chord)
    if beats[0] > 0:
      beats, chords = [0.0, *beats], [chords[-1], *chords]
    return np.array(beats), tuple(chords)

  def place(self, beat: float | int) -> ChartPlace:
    """Where a beat is, counted from the first bar; the chart goes round."""
    inside = float(beat) % self.beats
    starts, chords = self._changes
    chord = chords[int(np.searchsorted(starts, inside, "right")) - 1]
    bar = int(np.searchsorted(self.bar_starts, inside, "right")) - 1
    return ChartPlace(bar, inside - float(self.bar_starts[bar]), chord)

  def after(self, place: ChartPlace) -> ChordSymbol | None:
    """The next other chord, round and round; None: there is none."""
    starts, chords = self._changes
    beat = float(self.bar_starts[place.bar]) + place.beat
    at = int(np.searchsorted(starts, beat, "right")) - 1
    for step in range(1, len(chords)):
      chord = chords[(at + step) % len(chords)]
      if chord != place.chord:
        return chord
    return None

  def timeline(self, grid: BeatGrid, start_s: float | int) -> ChordTimeline:
    """The chords in time, over and over.

    Args:
      grid: Gives the length of a beat.
      start_s: When the first bar begins.
    """
    beats, chords = self._changes
    return ChordTimeline(
      start_s + beats * grid.period_s, chords, self.beats * grid.period_s
    )


def spread_chords(
  chords: Sequence[ChordSymbol], beats: int
) -> tuple[tuple[float, ChordSymbol], ...]:
  """The beats at which the chords of a bar come.

  Beats are shared out evenly, and what is left goes to the first ones: two
  chords in 3/4 have 2 and 1 beats, three in 4/4 have 2, 1 and 1. More chords
  than beats come at even distances.
  """
  count = len(chords)
  if count > beats:
    starts = [beats * index / count for index in range(count)]
  else:
    share, more = divmod(beats, max(count, 1))
    starts = [index * share + min(index, more) for index in range(count)]
  return tuple(
    (float(at), chord) for at, chord in zip(starts, chords, strict=True)
  )
