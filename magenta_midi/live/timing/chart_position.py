"""Where in the chart a live session is."""

import dataclasses
import functools

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.harmony.chart import Chart, ChartPlace, ChordTimeline
from magenta_midi.midi.harmony.text_chart import chart_text, read_chart_text

__all__ = [
  "MAX_CHART_BYTES",
  "chart_place",
  "chart_timeline",
  "live_chart",
  "live_text",
]

# It is in every report of the controls; 64 bars of two chords have so many.
MAX_CHART_BYTES = 1000


@functools.lru_cache(maxsize=8)
def live_chart(text: str) -> Chart | None:
  """The chart of a control's text; None: it is empty.

  Raises:
    ValueError: It is no chart; see `read_chart_text`.
  """
  return read_chart_text(text) if text else None


def live_text(chart: Chart) -> str:
  """A chart as the text of a control.

  Raises:
    ValueError: It is too long to be sent to the processes that play.
  """
  text = chart_text(dataclasses.replace(chart, title="", bpm=None))
  size = len(text.encode())
  if size > MAX_CHART_BYTES:
    raise ValueError(
      f"a chart for live play must have at most {MAX_CHART_BYTES} letters, got"
      f" {size} with its repeats. Give one chorus: it goes round by itself."
    )
  return text


def chart_timeline(chart: Chart, bars: Bars) -> ChordTimeline:
  """The chords of a session, in its seconds; the chart begins with bar 0."""
  return chart.timeline(bars.grid, bars.start_ns / SECOND)


def chart_place(chart: Chart, bars: Bars, time_ns: int) -> ChartPlace | None:
  """Where in the chart a time is; None: the count-in."""
  beat = (time_ns - bars.start_ns) / bars.beat_ns
  return chart.place(beat) if beat >= 0 else None
