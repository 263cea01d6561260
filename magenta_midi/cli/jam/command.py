"""Command `magenta-midi jam`: a live session in the terminal."""

from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.options import adapter_option, checkpoint_option
from magenta_midi.cli.terminal.output import json_option, print_json

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
  type=click.IntRange(1, 16),
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
  help="Style, in words, or @NAME of an installed adapter; repeatable.",
)
@click.option(
  "--set",
  "settings",
  multiple=True,
  metavar="NAME=VALUE",
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
  type=click.FloatRange(30, 300),
  help="Beats a minute, with count-in and metronome [default: free time].",
)
@click.option(
  "--clock",
  type=click.Choice(["in", "out"]),
  help="Follow MIDI clock, or send it (out needs --tempo).",
)
@click.option(
  "--osc", type=int, metavar="PORT", help="Listen for OSC on this UDP port."
)
@click.option(
  "--seed",
  type=int,
  default=0,
  show_default=True,
  help="Of the model's draws.",
)
@checkpoint_option
@adapter_option
@click.option(
  "--switchable",
  "switchable",
  multiple=True,
  metavar="NAME[:SCALE][+...]",
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
  type=click.Path(path_type=Path),
  help="Folder of the sessions [default: your data folder].",
)
@click.option("--no-save", is_flag=True, help="Do not save the session.")
@click.option(
  "--seconds",
  type=float,
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
    click.echo("--at-hand is deprecated: use --switchable.", err=True)
    options["switchable"] += old
  if options["clock"] == "out" and not options["tempo"]:
    raise UserError("--clock out needs a --tempo to send.")
  if options["trade"] and not (options["tempo"] or options["clock"]):
    raise UserError("--trade needs bars: give --tempo BPM or --clock in.")
  seconds = options["seconds"]
  if seconds is not None and not seconds > 0:
    raise UserError(f"--seconds must be above 0, got {seconds:g}.")
  options["quiet"] = options["quiet"] or as_json
  report = JamSession(options).run()
  if as_json:
    print_json(report)
  if report["problem"]:
    raise click.ClickException(report["problem"])
