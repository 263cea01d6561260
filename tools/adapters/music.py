r"""Change of the music by an adapter: probe, collapse, texture.

    python -m tools.adapters.music PLAYER_DIR... --adapter PLAYER=NAME... \
      [--full PLAYER=CHECKPOINT_DIR...] [--probe-only PLAYER_DIR...] \
      [--neutral DIR] [--cache DIR] --json out.json

A player is a folder with `train` and `held` (see
`tools/adapters/player_folders.py`). The base, the adapter and, where given, a
fully fine-tuned checkpoint continue 10 s of the player's held-out music, and
of neutral music, for 20 s, with the same seeds. Figures:

- probe: how often a linear classifier of MidiCoCa's embeddings, trained on the
  players' own recordings alone, names the right player
- collapse: how many different voicings and melodic figures are played, beside
  the base's and the player's own continuation
- texture: how many more voices replies have to chords than to a single line,
  the top line of the same 8 s

Continuations are kept in `--cache`; a run that was stopped continues there.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import (
  UserError,
  one_line_errors,
  writable,
)
from magenta_midi.cli.terminal.output import progress_bar
from magenta_midi.generate.generator import CONTEXT_S
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import Codec
from tools.adapters.figures.chords import collapse
from tools.adapters.figures.continuer import Continuer, Source
from tools.adapters.figures.passages import (
  as_passages,
  neutral_files,
  read_pieces,
  stretches,
)
from tools.adapters.figures.probe import (
  Probe,
  embeddings,
  held_accuracy,
  named,
  train,
)
from tools.adapters.figures.table import BASE, in_words
from tools.adapters.figures.texture import CALL_S, as_call, is_chordal, texture
from tools.adapters.matrix import pairs
from tools.help_text import help_of
from tools.music.continuations import Passage

MUSIC_S = 20.0
# Of 10 s, so that there is something to play on from.
MIN_NOTES = 10
ADAPTER, FULL = "adapter", "full"


class Probing(NamedTuple):
  """The classifier, and whom it knows."""

  probe: Probe
  players: tuple[str, ...]


class Bar:
  """Shows what is done; a name for each part of the work."""

  def __init__(self, bar: Any):
    self.bar = bar

  def part(self, name: str, total: int) -> Callable[[], None]:
    """Begins a part; call what it returns after each piece of it."""
    task = self.bar.add_task(name, total=total, note="")
    return lambda: self.bar.update(task, advance=1)


def contexts(
  files: Sequence[Path], count: int, codec: Codec
) -> tuple[list[Score], list[Passage]]:
  """Pieces, and places in them that are played on from.

  Raises:
    UserError: There is none.
  """
  pieces = read_pieces(files, codec)
  found = as_passages(
    pieces,
    count,
    MUSIC_S,
    fits=lambda context: len(context) >= MIN_NOTES,
    codec=codec,
  )
  if not found:
    raise UserError(
      f"{files[0]}: expected music of {CONTEXT_S + MUSIC_S:g} s to play on"
      " from, got none. Give longer pieces."
    )
  return pieces, found


def learn_probe(
  mm: MagentaMidi, folders: Sequence[Path], most: int, bar: Bar
) -> tuple[Probing, dict[str, Any]]:
  """A classifier of the players' `train`, and how right it is of `held`."""
  sides = {}
  for side in ("train", "held"):
    scores, player, piece = [], [], []
    for number, folder in enumerate(folders):
      pieces = read_pieces([folder / side], mm.codec)
      for index, score in stretches(pieces, MUSIC_S, most):
        scores.append(score)
        player.append(number)
        piece.append(1000 * number + index)
    step = bar.part(f"embedding {side}", len(scores))
    x = embeddings(mm.style_model, scores, step)
    heard = np.isfinite(x).all(axis=1)
    sides[side] = (x[heard], np.array(player)[heard], np.array(piece)[heard])
  players = tuple(folder.name for folder in folders)
  for side, (_, player, _) in sides.items():
    missing = [
      str(folder / side)
      for number, folder in enumerate(folders)
      if number not in player
    ]
    if missing:
      raise UserError(f"{missing[0]}: holds no {MUSIC_S:g} s of music.")
  probe, ridge = train(*sides["train"])
  x, player, piece = sides["held"]
  report = {
    "style_model": mm.style_model.name,
    "players": players,
    "ridge": ridge,
    "stretches": {side: len(x) for side, (x, *_) in sides.items()},
    "held": held_accuracy(probe, x, player, piece, players),
  }
  return Probing(probe, players), report


class Measuring(NamedTuple):
  """Tools of measurement for all players."""

  play: Continuer
  probing: Probing
  neutral: list[Passage]
  count: int
  bar: Bar


def measure(
  folder: Path, sources: dict[str, Source], by: Measuring
) -> dict[str, Any]:
  """All figures of one player."""
  codec = by.play.mm.codec
  pieces, own = contexts([folder / "held"], by.count, codec)
  found = as_passages(pieces, by.count, CALL_S, fits=is_chordal, codec=codec)
  calls = {
    side: [as_call(passage, single=side == "single") for passage in found]
    for side in ("single", "chordal")
  }
  each = len(own) + len(by.neutral) + sum(map(len, calls.values()))
  step = by.bar.part(f"playing as {folder.name}", each * len(sources))
  played: dict[str, list[Score]] = {}
  replies: dict[str, dict[str, list[Score]]] = {}
  neutral: dict[str, list[Score]] = {}
  for name, source in sources.items():
    played[name] = by.play(source, own, step)
    neutral[name] = by.play(source, by.neutral, step)
    replies[name] = {
      side: by.play(source, passages, step) for side, passages in calls.items()
    }
  real = [passage.real for passage in own]
  report: dict[str, Any] = {
    "probe": {"own": probed(folder.name, played, by, real)},
    "collapse": collapse(played | {"real": real}),
    "texture": texture(
      {
        side: [passage.history for passage in passages]
        for side, passages in calls.items()
      },
      replies,
    ),
  }
  if by.neutral:
    report["probe"]["neutral"] = probed(folder.name, neutral, by)
    report["collapse_neutral"] = collapse(neutral)
  return report


def probed(
  player: str,
  music: dict[str, list[Score]],
  by: Measuring,
  real: list[Score] | None = None,
) -> dict[str, Any]:
  """How often each source's music is named the player's, beside the base's."""
  others = {name: scores for name, scores in music.items() if name != BASE}
  if real is not None:
    others["real"] = real
  total = sum(map(len, others.values())) + len(music[BASE])
  step = by.bar.part(f"embedding {player}", total)
  model = by.play.mm.style_model
  base = embeddings(model, music[BASE], step)
  probe, players = by.probing
  return {
    name: named(
      probe,
      base,
      embeddings(model, scores, step),
      players.index(player),
      players,
    )
    for name, scores in others.items()
  }


def sources_of(
  player: str, adapters: dict[str, str], full: dict[str, Path]
) -> dict[str, Source]:
  """Sources that imitate a player, the base first."""
  found = {BASE: Source(), ADAPTER: Source(adapters[player])}
  if player in full:
    found[FULL] = Source(checkpoint=full[player])
  return found


def check_players(
  names: Sequence[str], adapters: dict[str, str], full: dict[str, Path]
) -> None:
  """Each player has one adapter, and each option a player.

  Raises:
    UserError: Says which has not.
  """
  for flag, given in (("--adapter", adapters), ("--full", full)):
    for name in given:
      if name not in names:
        raise UserError(
          f"{flag} {name}=...: expected one of {', '.join(names)}, the folders'"
          " names."
        )
  for name in names:
    if name not in adapters:
      raise UserError(
        f"{name}: has no adapter. Give --adapter {name}=NAME, or the folder to"
        " --probe-only."
      )


folders_type = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
  help=help_of(__doc__),
  context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("players", nargs=-1, required=True, type=folders_type)
@click.option(
  "--adapter",
  "adapters",
  multiple=True,
  metavar="PLAYER=NAME",
  help="Adapter of a player; repeatable.",
)
@click.option(
  "--full",
  "full",
  multiple=True,
  metavar="PLAYER=DIR",
  help="Fully fine-tuned checkpoint of a player; repeatable.",
)
@click.option(
  "--probe-only",
  "more",
  multiple=True,
  type=folders_type,
  help="Player without an adapter that the probe learns too; repeatable.",
)
@click.option(
  "--neutral", type=folders_type, help="Folder of other music to continue."
)
@click.option(
  "--count",
  type=bounded(COUNT_FROM_0),
  default=40,
  show_default=True,
  help="Number of contexts to continue.",
)
@click.option(
  "--stretches",
  "most",
  type=bounded(COUNT_FROM_0),
  default=200,
  show_default=True,
  help="Stretches of 20 s of each player to train and to test the probe.",
)
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="The base [default: the embedded checkpoint].",
)
@click.option(
  "--cache",
  default=Path("runs/adapter_music"),
  help="Folder that keeps the continuations.",
  show_default=True,
  type=click.Path(file_okay=False, path_type=Path),
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  players: tuple[Path, ...],
  adapters: tuple[str, ...],
  full: tuple[str, ...],
  more: tuple[Path, ...],
  neutral: Path | None,
  count: int,
  most: int,
  checkpoint: Path | None,
  cache: Path,
  file: Path | None,
) -> None:
  """Measures; prints a table, and JSON as the last line."""
  with one_line_errors():
    own = dict(pairs(adapters, "--adapter"))
    whole = {name: Path(folder) for name, folder in pairs(full, "--full")}
    known = [*players, *more]
    check_players([folder.name for folder in players], own, whole)
    if len({folder.name for folder in known}) < len(known):
      raise UserError("two players' folders have one name. Give each once.")
    if file is not None:
      writable(file)
    mm = MagentaMidi.load(checkpoint)
    with progress_bar() as shown:
      bar = Bar(shown)
      passages: list[Passage] = []
      if neutral is not None:
        files = neutral_files(neutral, known)
        passages = contexts(files, count, mm.codec)[1]
      probing, report = learn_probe(mm, known, most, bar)
      by = Measuring(Continuer(mm, cache), probing, passages, count, bar)
      found: dict[str, Any] = {
        "checkpoint": mm.checkpoint,
        "contexts": count,
        "probe": report,
        "players": {},
      }
      for folder in players:
        sources = sources_of(folder.name, own, whole)
        found["players"][folder.name] = measure(folder, sources, by)
        if file is not None:
          text = json.dumps(found, indent=1) + "\n"
          write_atomically(file, text.encode())
    click.echo(in_words(found))
  click.echo(json.dumps(found))


if __name__ == "__main__":
  command()
