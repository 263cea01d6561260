r"""Matrix of nats: every adapter on every player's held-out music.

    python -m tools.adapters.matrix PLAYER_DIR... --adapter NAME... \
      --control PLAYER=NAME --json out.json

A row is a player, the files in `PLAYER_DIR/held` (see
`tools/adapters/player_folders.py`); a column is an adapter, the base first.
Figures are nats a note, the same windows for all, and the change from the base
in percent. An adapter with the name of a folder, or NAME of
`--own PLAYER=NAME`, belongs to that player. It is compared with each of the
others, and with the `--control`s, adapters of other players of the same
source: differences with 95 % intervals, paired over pieces.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.cli.terminal.output import progress_bar
from magenta_midi.data.corpus import Corpus
from magenta_midi.data.recordings import read_recordings, recordings_corpus
from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from tools.help_text import help_of

BASE = "base"


def held_out(folder: Path) -> Corpus:
  """A player's held-out music.

  Raises:
    ValueError: There is none.
  """
  recordings, _ = read_recordings([folder / "held"])
  if not recordings:
    raise ValueError(f"{folder / 'held'}: no recording can be used.")
  return recordings_corpus(recordings)


def pairs(options: tuple[str, ...], flag: str) -> list[tuple[str, str]]:
  """Splits `PLAYER=NAME` options.

  Raises:
    ValueError: One is not written so.
  """
  found = []
  for text in options:
    player, equals, name = text.partition("=")
    if not (player and equals and name):
      raise ValueError(f"{flag} {text}: expected PLAYER=NAME.")
    found.append((player, name))
  return found


def compared(
  scores: Mapping[str, Evaluation], own: str | None
) -> dict[str, dict[str, Any]]:
  """A row: each adapter against the base, and the own one against each."""
  base = scores[BASE]
  row = {}
  for name, score in scores.items():
    change = Comparison(score, base)
    row[name] = dict(
      nats_per_note=score.nats_per_note,
      percent=100 * change.nats_per_note / base.nats_per_note,
      ci95_percent=[100 * x / base.nats_per_note for x in change.interval],
    )
    if own is not None and name != own:
      less = Comparison(scores[own], score)
      row[name]["own_less_this"] = dict(
        nats_per_note=less.nats_per_note, ci95=list(less.interval)
      )
  return row


def table(rows: Mapping[str, Mapping[str, Any]], own: Mapping[str, str]) -> str:
  """Markdown: nats of the base, changes in percent of the others."""
  columns = list(dict.fromkeys(name for row in rows.values() for name in row))
  columns.remove(BASE)
  lines = [
    " | ".join(("| held-out music of", BASE, *columns)) + " |",
    "|---" * (len(columns) + 2) + "|",
  ]
  for player, row in rows.items():
    cells = [player, f"{row[BASE]['nats_per_note']:.3f}"]
    for name in columns:
      cell = f"{row[name]['percent']:+.1f} %" if name in row else ""
      cells.append(f"**{cell}**" if own.get(player) == name else cell)
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


@click.command(help=help_of(__doc__))
@click.argument(
  "folders",
  nargs=-1,
  required=True,
  type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
  "--adapter",
  "names",
  multiple=True,
  metavar="NAME",
  help="Adapter of a column; repeatable.",
)
@click.option(
  "--own",
  "owners",
  multiple=True,
  metavar="PLAYER=NAME",
  help="Adapter that belongs to the player; repeatable.",
)
@click.option(
  "--control",
  "controls",
  multiple=True,
  metavar="PLAYER=NAME",
  help="Adapter of another player to compare with; repeatable.",
)
@click.option(
  "--windows",
  type=bounded(COUNT_FROM_0),
  help="Windows of each player to score [default: all].",
)
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint [default: the embedded checkpoint].",
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  folders: tuple[Path, ...],
  names: tuple[str, ...],
  owners: tuple[str, ...],
  controls: tuple[str, ...],
  windows: int | None,
  checkpoint: Path | None,
  file: Path | None,
) -> None:
  """Scores all, prints a table and, as the last line, JSON."""
  with one_line_errors():
    own = {folder.name: folder.name for folder in folders}
    own |= dict(pairs(owners, "--own"))
    own = {player: name for player, name in own.items() if name in names}
    wanted = pairs(controls, "--control")
    mm = MagentaMidi.load(checkpoint)
    music = {folder.name: held_out(folder) for folder in folders}
    rows = {}
    with progress_bar() as bar:
      task = bar.add_task("scoring", total=len(folders), note="")
      for player, corpus in music.items():
        scores = {}
        mine = [name for of, name in wanted if of == player]
        for name in (BASE, *names, *mine):
          bar.update(task, note=f"{player} by {name}")
          mm.use_adapters([] if name == BASE else [name])
          scores[name] = evaluate(
            mm.generator.model, mm.codec, corpus, windows=windows
          )
        rows[player] = compared(scores, own.get(player))
        bar.advance(task)
    click.echo(table(rows, own))
    report = dict(checkpoint=mm.checkpoint, own=own, players=rows)
    if file is not None:
      write_atomically(file, json.dumps(report, indent=1) + "\n")
    click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
