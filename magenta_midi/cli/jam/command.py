"""Command `magenta-midi jam`: a live session in the terminal."""

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from magenta_midi.cli.terminal.bounded_number import (
  bounded,
  scaled,
  seed_option,
)
from magenta_midi.cli.terminal.chart_options import (
  chart_options,
  comp_option,
  harmony_option,
  parse_chart,
)
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import (
  adapter_option,
  checkpoint_option,
  control_settings,
  groove_options,
  meter_option,
)
from magenta_midi.cli.terminal.output import json_option, print_json, remark
from magenta_midi.limits import (
  ADAPTER_SCALE,
  CHANNEL,
  PORT,
  PROMPT_WEIGHT,
  SESSION_S,
  TEMPO,
)

if TYPE_CHECKING:
  from magenta_midi.midi.harmony.chart import Chart

__all__ = ["command"]


@click.command("jam")
@click.option(
  "--in",
  "input_name",
  metavar="PORT",
  help="Keyboard, by a unique part of its name [default: the obvious one].",
)
@click.option(
  "--out",
  "output_name",
  metavar="PORT",
  help="Where the model plays [default: a virtual port, magenta-midi:out].",
)
@click.option(
  "--virtual",
  is_flag=True,
  help="Open virtual ports, in and out, for a DAW to connect to.",
)
@click.option(
  "--thru", metavar="PORT", help="Pass the keyboard on to this port too."
)
@click.option("--control", metavar="PORT", help="A second controller.")
@click.option(
  "--channel",
  type=bounded(CHANNEL),
  default=2,
  show_default=True,
  help="MIDI channel of the model's notes.",
)
@click.option(
  "--shared",
  is_flag=True,
  help="Player and model play one instrument: keys you hold are yours.",
)
@click.option(
  "--sound",
  is_flag=True,
  help="Play through FluidSynth or a built-in piano: no DAW needed.",
)
@click.option(
  "--demo", is_flag=True, help="No keyboard: a bundled phrase is the player."
)
@click.option(
  "--mode",
  type=click.Choice(["call-response", "simultaneous", "listen"]),
  default="call-response",
  show_default=True,
  help="Who plays when.",
)
@click.option(
  "--prompt",
  "prompts",
  multiple=True,
  metavar="TEXT[:WEIGHT]",
  callback=scaled(PROMPT_WEIGHT, "the weight"),
  help="Style, in words, or @NAME of an installed adapter; repeatable.",
)
@click.option(
  "--set",
  "settings",
  multiple=True,
  metavar="NAME=VALUE",
  callback=control_settings,
  help="A control at the start: density=0.5, injection=harmonic,"
  " register=48-72, temperature=1.1 ...; repeatable.",
)
@click.option("--solo", is_flag=True, help="Play on when the player stops.")
@click.option(
  "--trade",
  type=click.Choice(["4", "8"]),
  help="Trade so many bars (needs --tempo).",
)
@click.option(
  "--first",
  type=click.Choice(["me", "ai"]),
  default="me",
  show_default=True,
  help="Who begins.",
)
@click.option(
  "--tempo",
  type=bounded(TEMPO),
  help="Beats a minute, with count-in and metronome [default: your own tempo,"
  " where your notes have a clear beat].",
)
@click.option(
  "--no-click",
  is_flag=True,
  help="No count-in and metronome: your first note is the first beat of the"
  " --tempo, and the beat goes along with you.",
)
@meter_option("4/4", "4/4")
@groove_options
@chart_options
@comp_option
@harmony_option
@click.option(
  "--clock",
  type=click.Choice(["in", "out"]),
  help="Follow MIDI clock, or send that of the beat.",
)
@click.option(
  "--osc",
  type=bounded(PORT),
  metavar="PORT",
  help="Listen for OSC on this UDP port.",
)
@seed_option("Of the model's draws.")
@checkpoint_option
@adapter_option
@click.option(
  "--switchable",
  "switchable",
  multiple=True,
  metavar="NAME[:SCALE][+...]",
  callback=scaled(ADAPTER_SCALE, "the scale", between="+"),
  help="Another adapter, or a blend of some, to switch to while playing (key"
  " a); repeatable.",
)
@click.option(
  "--at-hand",
  "at_hand",
  multiple=True,
  hidden=True,
)
@click.option(
  "--take",
  metavar="NAME",
  help="Name of the session, added to its date and time.",
)
@click.option(
  "--sessions",
  type=FilePath(),
  help="Folder of the sessions [default: your data folder].",
)
@click.option("--no-save", is_flag=True, help="Do not save the session.")
@click.option(
  "--seconds",
  type=bounded(SESSION_S),
  help="End by itself after so many seconds [default: play on].",
)
@click.option("--quiet", is_flag=True, help="No display, only messages.")
@json_option
def command(**options: Any) -> None:
  """Plays a duet: you at a keyboard, the model answering.

  Ready within a minute the first time, a few seconds later. What you play
  before that is received and recorded too. Keys while playing: ? lists them.
  """
  from magenta_midi.cli.jam.session import JamSession

  as_json = options.pop("as_json")
  if old := options.pop("at_hand"):
    remark("--at-hand is deprecated: use --switchable.")
    options["switchable"] += old
  chart = parse_chart(options["chords"], options["meter"])
  if chart is not None:
    options |= _of_chart(chart, options)
  if options["no_click"] and not options["tempo"]:
    raise UserError("--no-click is about a --tempo: give one.")
  if options["free"] and options["tempo"] and options["no_click"]:
    raise UserError("give either --tempo or --free, not both.")
  if options["trade"] and not (options["tempo"] or options["clock"] == "in"):
    raise UserError("--trade needs bars: give --tempo BPM or --clock in.")
  options["quiet"] = options["quiet"] or as_json
  report = JamSession(options).run()
  if as_json:
    print_json(report)
  if report["problem"]:
    raise click.ClickException(report["problem"])


def _of_chart(chart: "Chart", options: dict[str, Any]) -> dict[str, Any]:
  """Options that a chart sets, where they were not given themselves."""
  from magenta_midi.live.timing.chart_position import live_text

  with one_line_errors():
    found: dict[str, Any] = dict(chords=live_text(chart))
  source = click.get_current_context().get_parameter_source("meter")
  if source is ParameterSource.DEFAULT:
    found["meter"] = f"{chart.meter.count}/{chart.meter.unit}"
  timed = options["tempo"] or options["clock"] == "in" or options["free"]
  if chart.bpm is not None and not timed:
    found["tempo"] = chart.bpm
  return found
