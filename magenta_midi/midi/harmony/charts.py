"""Charts from whatever a musician has: text, a file, a link."""

from __future__ import annotations

import os
from pathlib import Path

from magenta_midi import plain_text
from magenta_midi.bounded_files import read_text
from magenta_midi.midi.harmony.chart import Chart
from magenta_midi.midi.harmony.ireal_link import is_ireal_link, read_ireal_link
from magenta_midi.midi.harmony.musicxml_chart import read_musicxml_chart
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.midi.meter import Meter

__all__ = ["read_chart"]

_XML = (".musicxml", ".xml", ".mxl")


def read_chart(source: str, *, meter: Meter | None = None) -> Chart:
  """Reads a chart.

  Args:
    source: A chart as text (`read_chart_text`), an iReal Pro link, or the path
      of a file: MusicXML (`.musicxml`, `.xml`, `.mxl`), or text that holds a
      chart or a link, as iReal Pro's exported `.html`.
    meter: Of a chart as text before any meter of its own; None: 4/4.

  Raises:
    OSError: The file cannot be read.
    ValueError: It is no chart; one line says why, and names the file or bar.
  """
  if is_ireal_link(source):
    return read_ireal_link(source)
  if "|" in source or "\n" in source:
    return read_chart_text(source, meter=meter)
  path = Path(source)
  if not source.strip() or not (path.suffix or os.path.exists(path)):
    raise ValueError(
      'a chart must be bars such as "| Em7 | A7 |", a file, or an iReal Pro'
      f" link, got {plain_text.line(source, longest=40)!r}."
    )
  try:
    if path.suffix.lower() in _XML:
      return read_musicxml_chart(path)
    text = read_text(path)
    if is_ireal_link(text):
      return read_ireal_link(text)
    return read_chart_text(text, meter=meter)
  except ValueError as error:
    raise ValueError(f"{plain_text.line(path)}: {error}") from None
