"""Value of a player's style vector without the player's adapter.

    python -m tools.adapters.player_style CONTEXTS PLAYER_DIR... --json out.json

Learns the vector from each folder of recordings (the first ones; others are
held out), and scores held-out windows in nats a note with no style, with the
mean embedding, and with the learned vector. Then continues 10 s of CONTEXTS,
other music, for 20 s, with no style and with each player's, at several
guidances. It measures whether the continuation comes nearer to the player: the
area that densities share (of notes a second, polyphony, keys, velocities,
durations and steps), over all continuations, and the change from no style for
each context.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.data.corpus import Corpus
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.data.recordings import join_split, read_recordings
from magenta_midi.finetune.player_style import window_embeddings
from magenta_midi.limits import COUNT_FROM_0, GUIDANCE
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import PlayerStyle
from tools.help_text import help_of
from tools.music.likeness import QUANTITIES, measured, overlap_area
from tools.style.obedience import MUSIC_S, contexts

# Of a player's music, so many stretches of 20 s stand for it.
STRETCHES = 40


class Player(NamedTuple):
  """A player's style, and their held-out music."""

  name: str
  style: PlayerStyle
  mean: np.ndarray
  played: dict[str, np.ndarray]


def read_player(mm: MagentaMidi, folder: Path, count: int) -> Player:
  """Learns from two thirds of `count` recordings; the rest is held out."""
  files = sorted(folder.glob("*.mid"))
  order = np.random.default_rng(0).permutation(len(files))[:count]
  recordings, _ = read_recordings([files[index] for index in order])
  cut = 2 * len(recordings) // 3
  split = join_split(recordings[:cut], recordings[cut:])
  style = mm.learn_style(split)
  assert style is not None
  mean = window_embeddings(mm.style_model, split.train).mean(axis=0)
  return Player(folder.name, style, mean, pooled(stretches(split.held_out)))


def stretches(corpus: Corpus) -> list[Score]:
  """Stretches of 20 s, evenly spread."""
  found = []
  for piece in range(len(corpus)):
    score = unpack_piece(corpus.piece(piece))
    found += [
      score.crop(start, start + MUSIC_S)
      for start in np.arange(0.0, score.end_s - MUSIC_S, MUSIC_S).tolist()
    ]
  chosen = np.linspace(0, len(found) - 1, min(STRETCHES, len(found)))
  return [found[int(index)] for index in chosen]


def pooled(scores: Sequence[Score]) -> dict[str, np.ndarray]:
  """Every quantity of all scores."""
  values = [measured(score, MUSIC_S) for score in scores]
  return {
    quantity.name: np.concatenate([found[quantity.name] for found in values])
    for quantity in QUANTITIES
  }


def overlaps(played: dict[str, np.ndarray], player: Player) -> dict[str, float]:
  """The area that each density shares with the player's, and their mean."""
  found = {
    quantity.name: overlap_area(
      played[quantity.name], player.played[quantity.name], quantity.edges
    )
    for quantity in QUANTITIES
  }
  found["mean"] = float(np.mean(list(found.values())))
  return {name: round(value, 4) for name, value in found.items()}


def continued(
  mm: MagentaMidi,
  given: Sequence[Score],
  style: np.ndarray | None = None,
  guidance: float | None = None,
) -> list[Score]:
  """20 s after each context; the seed is the context's number."""
  return [
    mm.generate(
      MUSIC_S, context=context, style=style, seed=seed, guidance=guidance
    )[0]
    for seed, context in enumerate(given)
  ]


def nearer(
  music: Sequence[Score], plain: Sequence[Score], player: Player
) -> dict[str, Any]:
  """How much more of its densities music shares with a player's than plain."""
  gains = [
    overlaps(pooled([told]), player)["mean"]
    - overlaps(pooled([untold]), player)["mean"]
    for told, untold in zip(music, plain, strict=True)
  ]
  return {
    "overlap": overlaps(pooled(music), player),
    "gain": round(float(np.mean(gains)), 4),
    "nearer": round(float(np.mean(np.array(gains) > 0)), 3),
  }


@click.command(help=help_of(__doc__))
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument(
  "players",
  nargs=-1,
  required=True,
  type=click.Path(exists=True, path_type=Path),
)
@click.option(
  "--takes",
  type=bounded(COUNT_FROM_0),
  default=15,
  show_default=True,
  help="Recordings of each player to learn from.",
)
@click.option(
  "--count",
  type=bounded(COUNT_FROM_0),
  default=6,
  show_default=True,
  help="Number of contexts to continue.",
)
@click.option(
  "--guidance",
  "guidances",
  type=bounded(GUIDANCE),
  multiple=True,
  default=(0.0, 0.75, 1.5),
  help="Guidance of the continuations; repeatable.",
  show_default=True,
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
  folder: Path,
  players: tuple[Path, ...],
  takes: int,
  count: int,
  guidances: tuple[float, ...],
  checkpoint: Path | None,
  file: Path | None,
) -> None:
  """Measures; the last line is JSON."""
  with one_line_errors():
    mm = MagentaMidi.load(checkpoint)
    given = contexts(folder, count)
    plain = continued(mm, given)
    report: dict[str, Any] = {"checkpoint": mm.checkpoint, "players": {}}
    for path in players:
      player = read_player(mm, path, takes)
      mean = mm.embed_style([(player.mean, 1.0)])
      found: dict[str, Any] = {
        "nats": player.style.figures,
        "untold": overlaps(pooled(plain), player),
      }
      for guidance in guidances:
        for how, style in (("mean", mean), ("learned", player.style.vector)):
          music = continued(mm, given, style, guidance)
          found[f"{how} at {guidance:g}"] = nearer(music, plain, player)
      report["players"][player.name] = found
      click.echo(f"{player.name}: {json.dumps(found)}")
  if file is not None:
    write_atomically(file, json.dumps(report, indent=1) + "\n")
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
