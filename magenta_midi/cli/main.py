"""The `magenta-midi` command; each command imports late what it needs."""

import importlib
import sys
from typing import NoReturn

import click

from magenta_midi.cli.terminal.errors import (
  interrupt_between_imports,
  one_line_errors,
)
from magenta_midi.cli.terminal.output import remark
from magenta_midi.cli.terminal.streams import plain_streams
from magenta_midi.plain_text import line

__all__ = ["COMMANDS", "main"]

# Command -> (module with a click command of that name, short help).
COMMANDS = {
  "info": "Show the checkpoint, the device and the versions.",
  "tokenize": "Turn a MIDI file into tokens and back; report differences.",
  "generate": "Continue a MIDI file, or play from silence.",
  "render": "Turn a MIDI file into sound and a piano roll.",
  "transcribe": "Turn recordings of a piano into MIDI files.",
  "style": "Compare texts and music in style; rank a folder.",
  "evaluate": "Score held-out music in nats a note.",
  "prepare": "Pack a corpus into shards for train and evaluate.",
  "train": "Train a model on folders of MIDI files.",
  "finetune": "Train an adapter that plays like your recordings.",
  "adapters": "List, show, merge, remove, export and import adapters.",
  "jam": "Play a live duet with the model over MIDI ports.",
  "serve": "Play duets in the browser.",
  "replay": "Play a recording to the model on a virtual clock.",
  "sessions": "List, play, rate and export saved sessions.",
  "ports": "List MIDI ports; calibrate a keyboard.",
  "bench": "Measure encoder, events and real-time factor.",
  "import-magenta-rt": "Convert a checkpoint of Magenta RealTime.",
  "export-t5x": "Write a checkpoint in the layout of T5X.",
  "import-encodec": "Convert the weights of EnCodec, an audio codec.",
}


# Commands whose module is not directly in magenta_midi/cli.
_MODULES = {
  "jam": "jam.command",
  "import-magenta-rt": "magenta_rt.import_magenta_rt",
  "export-t5x": "magenta_rt.export_t5x",
  "import-encodec": "codec.import_encodec",
}


class _LateGroup(click.Group):
  """Imports a command's module only when it runs or prints its help."""

  def list_commands(self, ctx: click.Context) -> list[str]:
    del ctx
    return list(COMMANDS)

  def get_command(
    self, ctx: click.Context, cmd_name: str
  ) -> click.Command | None:
    del ctx
    if cmd_name not in COMMANDS:
      return None
    name = _MODULES.get(cmd_name, cmd_name)
    return importlib.import_module(f"magenta_midi.cli.{name}").command

  def format_commands(
    self, ctx: click.Context, formatter: click.HelpFormatter
  ) -> None:
    del ctx
    with formatter.section("Commands"):
      formatter.write_dl(list(COMMANDS.items()))


@click.group(
  cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="magenta-midi")
def cli() -> None:
  """Play a live MIDI duet with a model that plays like you."""


def main(args: list[str] | None = None) -> None:
  """Runs the command line; a user's mistake is one line and exit 2."""
  with plain_streams():
    try:
      with interrupt_between_imports(), one_line_errors():
        cli.main(args=args, prog_name="magenta-midi", standalone_mode=False)
    except click.UsageError as error:
      path = error.ctx.command_path if error.ctx else "magenta-midi"
      _end(f"{error.format_message()} (try {path} --help)", 2)
    except click.ClickException as error:
      _end(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
      _end("stopped.", 130)


def _end(message: str, code: int) -> NoReturn:
  remark(f"magenta-midi: {line(message)}")
  sys.exit(code)


if __name__ == "__main__":
  main()
