"""Bars of a MIDI file: tempos and meters such that its bars are the music's.

A file counts its bars from its beginning. So what lies before the first bar
line is a bar of its own, as short as it has to be, and the first beat of the
file is longer or shorter than the others where the music does not begin on
one. No note is moved for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from magenta_midi.midi.clicks import Click
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.tempo import TempoMap

__all__ = ["BarMap", "TimedBeat"]

# Beats that lie so near to a steady tempo have it, s: half a tick and less.
_STEADY_S = 5e-5
# A beat so near to the beginning is on it, s.
_AT_ONCE_S = 1e-4


class TimedBeat(NamedTuple):
  """A beat of the music.

  Attributes:
    time_s: In seconds.
    place: In its bar, from 0.
    meter: Of its bar.
  """

  time_s: float
  place: int
  meter: Meter = Meter()


class BarMap(NamedTuple):
  """What a file says of its bars, beside its notes.

  Attributes:
    tempo: From the beginning on.
    meters: When each meter begins, s, and the meter; the first at 0.
    chords: When each chord symbol stands, s, and the symbol.
    clicks: Of a count-in.
  """

  tempo: TempoMap
  meters: tuple[tuple[float, Meter], ...] = ()
  chords: tuple[tuple[float, str], ...] = ()
  clicks: tuple[Click, ...] = ()

  @classmethod
  def of_beats(
    cls,
    beats: Sequence[TimedBeat],
    *,
    chords: Sequence[tuple[float, str]] = (),
    clicks: Sequence[Click] = (),
  ) -> BarMap:
    """The bars in which beats stand where they are played.

    Args:
      beats: Two and more, in order of time; those before 0 are left out. The
        last two say how the tempo goes on.
      chords: Times and symbols; those before 0 stand at 0.
      clicks: Of a count-in.

    Raises:
      ValueError: They are fewer than two.
    """
    beats = _from_begin(beats)
    if len(beats) < 2:
      raise ValueError(
        f"bars need two beats after the beginning, got {len(beats)}."
      )
    stand: dict[float, str] = {}
    for time_s, name in chords:
      stand[max(float(time_s), 0.0)] = name
    return cls(
      _tempo(beats), _meters(beats), tuple(stand.items()), tuple(clicks)
    )


def _from_begin(beats: Sequence[TimedBeat]) -> list[TimedBeat]:
  """The beats from 0 on, one of them at 0."""
  kept = [beat for beat in beats if beat.time_s > -_AT_ONCE_S]
  if len(kept) < 2:
    return kept
  period_s = kept[1].time_s - kept[0].time_s
  while kept[0].time_s > period_s:
    kept.insert(0, _before(kept[0], kept[0].time_s - period_s))
  first = kept[0]
  if first.time_s < 0.45 * period_s:
    # Too short for a beat of its own: the first one begins sooner.
    kept[0] = first._replace(time_s=0.0)
  else:
    kept.insert(0, _before(first, 0.0))
  return kept


def _before(beat: TimedBeat, time_s: float) -> TimedBeat:
  return TimedBeat(time_s, (beat.place - 1) % beat.meter.beats, beat.meter)


def _tempo(beats: Sequence[TimedBeat]) -> TempoMap:
  """One tempo for all beats of a stretch that is steady."""
  time_s = np.array([beat.time_s for beat in beats])
  quarters = [beat.meter.quarters for beat in beats]
  starts, bpm, at = [], [], 0
  while at < len(beats) - 1:
    end = at + 1
    while end + 1 < len(beats) and quarters[end] == quarters[at]:
      even = np.linspace(time_s[at], time_s[end + 1], end + 2 - at)
      if np.abs(even - time_s[at : end + 2]).max() > _STEADY_S:
        break
      end += 1
    starts.append(time_s[at])
    length_s = time_s[end] - time_s[at]
    bpm.append(60 * (end - at) * quarters[at] / length_s)
    at = end
  return TempoMap(np.array(starts), np.array(bpm))


def _meters(beats: Sequence[TimedBeat]) -> tuple[tuple[float, Meter], ...]:
  """A meter where bars have other lengths than before.

  So has what the file begins with, and a bar in which the count began anew.
  """
  starts = [i for i, beat in enumerate(beats) if i == 0 or beat.place == 0]
  found: list[tuple[float, Meter]] = []
  for start, end in zip(starts, [*starts[1:], None], strict=True):
    meter = beats[start].meter
    # The last bar goes on.
    count = meter.beats if end is None else end - start
    if count != meter.beats:
      parts = 3 if meter.triplets else 1
      meter = Meter(count * parts, meter.unit)
    if not found or found[-1][1] != meter:
      found.append((beats[start].time_s, meter))
  return tuple(found)
