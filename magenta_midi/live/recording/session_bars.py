"""Bars and chords of a session: rows of its facts, and marks in its files."""

import bisect
import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import chart_timeline, live_chart
from magenta_midi.midi.bar_map import BarMap, TimedBeat
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.tempo import TempoMap

__all__ = [
  "bars_of_rows",
  "beats_of",
  "session_bars",
  "tempo_rows",
]

# Times that are nearer are the same, beats.
_SAME = 1e-6
# Beats of two tempos that are nearer are one, s.
_TOGETHER_S = 1e-3
# Most rows of tempo in the facts of a session.
_MAX_ROWS = 100_000
# More than an hour of a chord a beat.
_MAX_CHORDS = 20_000


def beats_of(
  counted: Sequence[tuple[int, Bars]], end_ns: int, meter: Meter | None
) -> list[TimedBeat]:
  """The beats of a session, in order of time.

  Args:
    counted: Since when which bars counted, in order of time; the first also
      before.
    end_ns: Of the session.
    meter: Of the bars; None: their beats are quarter notes.
  """
  beats: list[TimedBeat] = []
  untils = [time_ns for time_ns, _ in counted[1:]]
  for index, (from_ns, bars) in enumerate(counted):
    shown = meter or Meter(bars.beats_per_bar, 4)
    until_ns = untils[index] if index < len(untils) else None
    beat = math.ceil(
      (from_ns - bars.start_ns) / bars.beat_ns
      - _TOGETHER_S * SECOND / bars.beat_ns
    )
    if index == 0:
      beat = min(beat, math.ceil(-bars.start_ns / bars.beat_ns - _SAME))
    elif beats:
      # Bars that move earlier have the next beat before the change, where the
      # old ones had it after: it comes once all the same.
      last_ns = beats[-1].time_s * SECOND - bars.start_ns
      beat = min(beat, math.floor(last_ns / bars.beat_ns + 0.5) + 1)
    if until_ns is None:
      # Two beats more: a file without bars to come has a tempo too.
      until_ns = max(end_ns, from_ns) + round(2.5 * bars.beat_ns)
    while (time_ns := bars.time_of(0, beat)) < until_ns:
      time_s = time_ns / SECOND
      found = TimedBeat(time_s, beat % bars.beats_per_bar, shown)
      # Where bars change, a beat may come twice: at the same time it is the
      # first of the new ones.
      if not beats or time_s - beats[-1].time_s > bars.beat_ns / SECOND / 2:
        beats.append(found)
      elif abs(time_s - beats[-1].time_s) < _TOGETHER_S:
        beats[-1] = found
      beat += 1
  return beats


def tempo_rows(bars: BarMap) -> list[dict[str, Any]]:
  """Tempo and meters as rows, in quarter notes."""
  starts = [time_s for time_s, _ in bars.meters]
  times = sorted({*bars.tempo.time_s.tolist(), *starts})
  rows = []
  for time_s in times[:_MAX_ROWS]:
    tempo = int(np.searchsorted(bars.tempo.time_s, time_s, "right")) - 1
    meter = bars.meters[bisect.bisect_right(starts, time_s) - 1][1]
    rows.append(
      {
        "time_s": time_s,
        "bpm": float(bars.tempo.bpm[tempo]),
        "beats_per_bar": max(1, round(meter.beats * meter.quarters)),
        "meter": f"{meter.count}/{meter.unit}",
      }
    )
  return rows


def chord_rows(
  charts: Sequence[tuple[int, str]],
  counted: Sequence[tuple[int, Bars]],
  end_ns: int,
  tempo: TempoMap,
  meter: Meter | None,
) -> list[dict[str, Any]]:
  """The chord symbols of a session's charts, on the beats of its file.

  Args:
    charts: Since when which chart counted, as text, in order of time.
    counted: Since when which bars counted, in order of time.
    end_ns: Of the session.
    tempo: Of the file, in quarter notes.
    meter: Of the session; None: beats are quarter notes.
  """
  found: dict[float, str] = {}
  text, bars, last = "", None, ""
  changes: list[tuple[int, str | Bars]] = [*charts, *counted]
  changes.sort(key=lambda change: change[0])
  untils = [time_ns for time_ns, _ in changes[1:]] + [end_ns]
  for (from_ns, change), until_ns in zip(changes, untils, strict=False):
    if isinstance(change, str):
      text = change
    else:
      bars = change
    chart = None
    with contextlib.suppress(ValueError):
      chart = live_chart(text)
    if chart is None or bars is None or until_ns <= from_ns:
      continue
    from_s, until_s = from_ns / SECOND, until_ns / SECOND
    timeline = chart_timeline(chart, bars)
    half_s = bars.beat_ns / SECOND / 2
    for time_s, chord in timeline.between(from_s, until_s):
      # Of a chord that began before, what is left is the same chord; but bars
      # that move earlier may take one along that was still to come.
      moved = time_s >= from_s - half_s and chord.name != last
      if time_s >= from_s - 1e-6 or isinstance(change, str) or moved:
        at_s = time_s if moved else max(time_s, from_s)
        found[_on_beat(at_s, tempo, meter)] = last = chord.name
      if len(found) > _MAX_CHORDS:
        break
  return [
    {"time_s": round(time_s, 6), "chord": found[time_s]}
    for time_s in sorted(found)
  ]


def _on_beat(time_s: float, tempo: TempoMap, meter: Meter | None) -> float:
  """The nearest half beat: bars move a little while they are followed."""
  half = (1.0 if meter is None else meter.quarters) / 2
  quarters = float(tempo.beats_at(np.array([max(time_s, 0.0)]))[0])
  on_beat = half * round(quarters / half)
  return float(tempo.seconds_at(np.array([on_beat]))[0])


def session_bars(
  counted: Sequence[tuple[int, Bars]],
  charts: Sequence[tuple[int, str]],
  end_ns: int,
  meter: Meter | None,
) -> BarMap | None:
  """The bars of a session; None: it had no beat.

  Args:
    counted: Since when which bars counted, in order of time.
    charts: Since when which chart counted, as text, likewise.
    end_ns: Of the session.
    meter: Of the bars; None: their beats are quarter notes.
  """
  beats = beats_of(counted, end_ns, meter)
  if not beats:
    return None
  bars = BarMap.of_beats(beats)
  chords = chord_rows(charts, counted, end_ns, bars.tempo, meter)
  return bars._replace(
    chords=tuple((row["time_s"], row["chord"]) for row in chords)
  )


def bars_of_rows(facts: Mapping[str, Any], tempo: TempoMap) -> BarMap:
  """What a session's files say of its bars.

  Args:
    facts: With checked rows.
    tempo: Of the session's music.
  """
  meters: list[tuple[float, Meter]] = []
  for row in facts["tempo"]:
    meter = Meter(row["beats_per_bar"], 4)
    with contextlib.suppress(ValueError):
      meter = Meter.parse(row.get("meter", ""))
    if not meters or meters[-1][1] != meter:
      meters.append((float(row["time_s"]), meter))
  chords = [
    (float(row["time_s"]), str(row["chord"])) for row in facts["chords"]
  ]
  return BarMap(tempo, tuple(meters), tuple(chords))
