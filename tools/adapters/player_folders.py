"""Folders of players' files: some to train an adapter on, some held out.

    python -m tools.adapters.player_folders DATA.csv... OUT

Of each player in the lists (rows whose split is `player`) a third of the titles
is held out: `OUT/PLAYER/held`. Of the others, titles in a drawn order until
there are 20 files are `OUT/PLAYER/train`. `OUT/PLAYER/others` is the control:
files of the other players of the same list, with as many notes. The folders
hold links to the files, which lie beside each list in the folder of its name.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.limits import COUNT_FROM_0, SEED
from tools.help_text import help_of

HELD_OUT_SHARE = 1 / 3


class Recording(NamedTuple):
  """A row of a list."""

  path: Path
  player: str
  title: str
  notes: int


def read_list(file: Path) -> list[Recording]:
  """The players' recordings of a list.

  Raises:
    ValueError: It has none.
  """
  folder = file.with_suffix("")
  with file.open(newline="", encoding="utf-8") as rows:
    found = [
      Recording(
        folder / row["path"],
        row["performer"],
        plain_title(row["title"]),
        int(row["notes"]),
      )
      for row in csv.DictReader(rows)
      if row["split"] == "player"
    ]
  if not found:
    raise ValueError(f"{file}: no row has the split player.")
  return found


def plain_title(title: str) -> str:
  """A title in words: `Blackbird - Live` is `blackbird`."""
  words = re.sub(r"\s*-\s*live\b.*", "", title.casefold())
  return re.sub(r"\W+", " ", words).strip()


def folder_name(player: str) -> str:
  """A player's surname in ASCII: `Carreño, Teresa` is `carreno`."""
  surname = player.split(",")[0] if "," in player else player.split()[-1]
  plain = unicodedata.normalize("NFKD", surname).encode("ascii", "ignore")
  return plain.decode().casefold()


def split_titles(
  recordings: Iterable[Recording], most: int, seed: int
) -> tuple[list[Recording], list[Recording]]:
  """Recordings for training, at most so many files, and held-out ones."""
  titles: dict[str, list[Recording]] = defaultdict(list)
  for recording in recordings:
    titles[recording.title].append(recording)
  names = sorted(titles)
  order = np.random.default_rng(seed).permutation(len(names))
  cut = round(len(names) * HELD_OUT_SHARE)
  held, train = (
    [one for index in part for one in titles[names[index]]]
    for part in (order[:cut], order[cut:])
  )
  return train[:most], held


def as_many_notes(
  recordings: list[Recording], notes: int, seed: int
) -> list[Recording]:
  """Recordings in a drawn order until there are so many notes."""
  chosen, total = [], 0
  for index in np.random.default_rng(seed).permutation(len(recordings)):
    if total >= notes:
      break
    chosen.append(recordings[index])
    total += recordings[index].notes
  return chosen


def link(recordings: Iterable[Recording], folder: Path) -> int:
  """Links to the files, named by title; their notes in all."""
  folder.mkdir(parents=True)
  notes = 0
  for number, recording in enumerate(recordings, 1):
    name = f"{recording.title[:60]} take {number}.mid"
    (folder / name).symlink_to(recording.path.resolve())
    notes += recording.notes
  return notes


@click.command(help=help_of(__doc__))
@click.argument(
  "lists",
  nargs=-1,
  required=True,
  type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
  "--most",
  type=bounded(COUNT_FROM_0),
  default=20,
  show_default=True,
  help="Largest number of files of a player to train on.",
)
@click.option(
  "--seed",
  type=bounded(SEED),
  default=0,
  show_default=True,
  help="Seed of the drawn order.",
)
def command(lists: tuple[Path, ...], out: Path, most: int, seed: int) -> None:
  """Makes the folders and reports what they hold."""
  with one_line_errors():
    for file in lists:
      recordings = read_list(file)
      players = sorted({recording.player for recording in recordings})
      parts = {
        player: split_titles(
          [one for one in recordings if one.player == player], most, seed
        )
        for player in players
      }
      for player in players:
        train, held = parts[player]
        others = [
          one for other in players if other != player for one in parts[other][0]
        ]
        notes = sum(one.notes for one in train)
        for side, chosen in (
          ("train", train),
          ("held", held),
          ("others", as_many_notes(others, notes, seed)),
        ):
          folder = out / folder_name(player) / side
          found = link(chosen, folder)
          click.echo(f"{folder}: {len(chosen)} files, {found:,} notes")


if __name__ == "__main__":
  command()
