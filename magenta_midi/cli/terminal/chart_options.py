"""Options of a chart: `--chords`, `--chord-weight`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.limits import CHORD_WEIGHT
from magenta_midi.plain_text import line

if TYPE_CHECKING:
  from magenta_midi.midi.harmony.chart import Chart

__all__ = [
  "chart_options",
  "comp_option",
  "harmony_option",
  "chart_words",
  "parse_chart",
]

# Named here: --help imports nothing that plays.
WEIGHT = 0.75
HARMONIES = ("off", "follow")


def chart_options(command: Callable) -> Callable:
  """Adds --chords and --chord-weight."""
  for option in (
    click.option(
      "--chord-weight",
      type=bounded(CHORD_WEIGHT),
      default=WEIGHT,
      show_default=True,
      help="How strictly the chords are kept, 0 to 2; 1: as songs keep theirs.",
    ),
    click.option(
      "--chords",
      metavar="CHART|FILE|LINK",
      help='Play over these chords, round and round: bars as "| Em7 | A7 |"'
      " (several chords a bar, % for the bar before, |: :| repeats), a text or"
      " MusicXML file, or an iReal Pro link.",
    ),
  ):
    command = option(command)
  return command


def comp_option(command: Callable) -> Callable:
  """Adds --comp."""
  return click.option(
    "--comp",
    is_flag=True,
    help="Play the chart plainly beside the music: a bass and the chords, on a"
    " track and MIDI channel of their own.",
  )(command)


def harmony_option(command: Callable) -> Callable:
  """Adds --harmony."""
  return click.option(
    "--harmony",
    type=click.Choice(HARMONIES),
    default=HARMONIES[0],
    show_default=True,
    help="Where there is no chart: `follow` keeps weakly to the chord that your"
    " notes make.",
  )(command)


def parse_chart(source: str | None, meter: str | None) -> "Chart | None":
  """The value of --chords, with that of --meter.

  Raises:
    UserError: It is no chart, or its file cannot be read.
  """
  from magenta_midi.midi.harmony.charts import read_chart
  from magenta_midi.midi.meter import Meter

  if source is None:
    return None
  try:
    with one_line_errors():
      first = None if meter is None else Meter.parse(meter)
      return read_chart(source, meter=first)
  except UserError as error:
    raise UserError(f"--chords: {error.message}") from None


def chart_words(chart: "Chart") -> str:
  """A chart in a few words: its title, bars and meter."""
  meter = chart.meter
  facts: list[Any] = [f"{len(chart.bars)} bars of {meter.count}/{meter.unit}"]
  if chart.title:
    facts.insert(0, f'"{line(chart.title, longest=40)}"')
  return ", ".join(facts)
