"""Command `magenta-midi serve`: the jam in the browser."""

import os
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.bounded_number import (
  bounded,
  scaled,
  seed_option,
)
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import adapter_option, checkpoint_option
from magenta_midi.cli.terminal.output import print_line
from magenta_midi.limits import ADAPTER_SCALE, COUNT, PORT

__all__ = ["command"]

_LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command("serve")
@click.option(
  "--host",
  default="127.0.0.1",
  show_default=True,
  help="Address to listen on; any other than this machine's own needs a token.",
)
@click.option(
  "--port",
  type=bounded(PORT._replace(unit="TCP port; 0: any free one")),
  default=8765,
  show_default=True,
  help="TCP port to listen on; 0: any free one.",
)
@click.option("--open", "opened", is_flag=True, help="Open the page.")
@click.option(
  "--token",
  metavar="TEXT",
  envvar="MAGENTA_MIDI_TOKEN",
  help="What a visitor must know, 16 letters or more; also the variable"
  " MAGENTA_MIDI_TOKEN [default: none on this machine, else a new one].",
)
@click.option(
  "--allow-host",
  "names",
  multiple=True,
  metavar="NAME",
  help="Another name of this server, as visitors type it; repeatable.",
)
@click.option(
  "--sessions",
  type=bounded(COUNT),
  help="Most players at once [default: as many as the machine can play, by a"
  " measurement at the start].",
)
@click.option(
  "--takes",
  type=FilePath(file_okay=False),
  help="Folder of the takes [default: the folder of the sessions].",
)
@checkpoint_option
@adapter_option
@click.option(
  "--switchable",
  multiple=True,
  metavar="NAME[:SCALE][+...]",
  callback=scaled(ADAPTER_SCALE, "the scale", between="+"),
  help="Another adapter, or a blend of some, to switch to while playing;"
  " repeatable.",
)
@seed_option("Of the model's draws.")
def command(
  host: str,
  port: int,
  opened: bool,
  token: str | None,
  names: tuple[str, ...],
  sessions: int | None,
  takes: Path | None,
  checkpoint: Path | None,
  adapters: tuple[Any, ...],
  switchable: tuple[str, ...],
  seed: int,
) -> None:
  """Plays duets in the browser: prints one address to open.

  Mouse, computer keyboard, touch screen and MIDI keyboard play. Each tab is a
  session of its own, and is saved. Ctrl-C ends it.
  """
  if token is not None and (len(token) < 16 or not _plain(token)):
    raise UserError(
      "--token must have 16 letters or more: A-Z, a-z, 0-9, - and _."
    )
  from magenta_midi.cli.phrases import PHRASES, phrase_path
  from magenta_midi.live.engine.adapter_choices import (
    adapter_choices,
    check_choices,
  )
  from magenta_midi.live.protocol.controls import Controls
  from magenta_midi.model.checkpoint import embedded_path, read_config
  from magenta_midi.server.serving import Server, new_token
  from magenta_midi.server.settings import ServerSettings

  # A wrong checkpoint or adapter is refused before anybody comes.
  choices = adapter_choices(adapters, switchable)
  if any(".safetensors" in choice for choice in choices):
    raise UserError(
      "serve takes installed adapters: magenta-midi adapters import FILE."
    )
  read_config(embedded_path() if checkpoint is None else checkpoint)
  check_choices(choices, checkpoint)
  if token is None and host not in _LOCAL:
    token = new_token()

  # Players share an accelerator; JAX else takes its memory for the first.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

  def ready(address: str) -> None:
    print_line(address)
    if opened:
      import webbrowser

      webbrowser.open(address)

  server = Server(
    ServerSettings(
      host=host,
      port=port,
      token=token,
      names=names,
      sessions=sessions,
      checkpoint=str(checkpoint) if checkpoint else None,
      controls=Controls(adapters=choices),
      seed=seed,
      takes=takes,
      phrases={name: phrase_path(name) for name in PHRASES},
    ),
    ready,
  )
  server.run()


def _plain(token: str) -> bool:
  return token.isascii() and all(c.isalnum() or c in "-_" for c in token)
