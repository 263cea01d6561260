"""`magenta-midi render`: a MIDI file as sound and piano roll."""

from pathlib import Path

import click

from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import read_music
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  print_line,
)

__all__ = ["command"]


@click.command("render")
@click.argument("source", metavar="IN.mid", type=FilePath())
@click.option("--wav", type=FilePath(), help="WAV file to write, 44.1 kHz.")
@click.option(
  "--plot",
  type=FilePath(),
  help="Piano roll to write (PNG), one color for each part.",
)
@click.option(
  "--engine",
  type=click.Choice(["auto", "numpy", "fluidsynth"]),
  default="auto",
  show_default=True,
  help="Synthesizer. auto: FluidSynth if it and a soundfont are installed,"
  " otherwise NumPy.",
)
@click.option(
  "--soundfont",
  type=FilePath(),
  help="Soundfont (SF2) for FluidSynth [default: the first one found].",
)
@json_option
def command(
  source: Path,
  wav: Path | None,
  plot: Path | None,
  engine: str,
  soundfont: Path | None,
  as_json: bool,
) -> None:
  """Turn a MIDI file into sound and a piano roll."""
  if wav is None and plot is None:
    raise UserError("nothing to write. Give --wav OUT.wav or --plot OUT.png.")
  for path in (wav, plot):
    if path is not None:
      writable(path)
  score = read_music(source, "IN.mid")
  facts: dict = dict(notes=len(score), seconds=score.end_s)
  if wav is not None:
    from magenta_midi.audio.render import render

    with console().status("rendering"):
      facts["engine"] = render(score, wav, engine=engine, soundfont=soundfont)
    facts["wav"] = str(wav)
  if plot is not None:
    from magenta_midi.midi.piano_roll import plot_piano_roll

    plot_piano_roll(score, plot)
    facts["plot"] = str(plot)
  print_line(f"wrote {', '.join(str(p) for p in (wav, plot) if p)}")
  if as_json:
    print_json(facts)
