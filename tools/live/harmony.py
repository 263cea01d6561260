"""Does it gain anything to follow the player's chord, live?

    python -m tools.live.harmony POP909 --songs 10 --part MELODY

A track of songs is the player of a duet, on a virtual clock: once with the
control `harmony` off, once with `follow`. Counts the share of the model's
onsets that are consonant with the player's sounding notes, beside players of
other songs; the share that is consonant with the whole song, which the model
does not hear; and notes a second. `NAME.csv` beside the folder says which songs
are of the test split.
"""

import csv
from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT
from magenta_midi.live.engine.timekeeper import Timekeeper
from magenta_midi.live.protocol.controls import HARMONIES, Controls
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.score_messages import duet_score, messages_of
from magenta_midi.live.recording.serialization import (
  make_engine,
  make_performer,
)
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.midi.score import Score
from tools.live.likeness import agreement, agreements

FROM_S, SECONDS, WARM_S = 20.0, 20.0, 3.0
DRAWS = 2000


def read_players(
  folder: Path, part: str, count: int
) -> list[tuple[Score, Score]]:
  """Stretches of test songs: the player's track, and all tracks."""
  with open(f"{folder}.csv", encoding="utf-8") as file:
    names = [r["path"] for r in csv.DictReader(file) if r["split"] == "test"]
  found = []
  for name in names:
    score = Score.from_file(folder / Path(name).name)
    if part not in score.part_names:
      continue
    whole = score.crop(FROM_S, FROM_S + SECONDS)
    player = whole.select(score.part_names.index(part))
    if len(player) >= SECONDS:
      found.append((player, whole.merged()))
    if len(found) == count:
      break
  return found


def beside(mm: MagentaMidi, player: Score, mode: str, harmony: str) -> Score:
  """What the model plays after the start."""
  controls = Controls(mode=mode, harmony=harmony)
  replay = Replay(
    make_engine(mm, controls),
    make_performer(),
    CostTable.load(),
    timekeeper=Timekeeper(controls),
  )
  result = replay.run(messages_of(player), tail_ns=SECOND)
  model = duet_score(result.received, result.sent).select(1)
  return model.crop(WARM_S, SECONDS)


def figures(
  models: list[Score], players: list[Score], wholes: list[Score]
) -> dict[str, Any]:
  """Means over the songs."""
  found = agreements(models, players, range(len(players)))["consonance"]
  whole = [
    agreement(model, score)[0]
    for model, score in zip(models, wholes, strict=True)
  ]
  rates = [len(model) / (SECONDS - WARM_S) for model in models]
  return dict(
    consonance=found["partner"],
    with_others=found["others"],
    gain_ci95=found["gain_ci95"],
    with_the_song=round(float(np.nanmean(whole)), 3),
    notes_per_s=round(float(np.mean(rates)), 2),
  )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option("--songs", "count", type=bounded(COUNT), default=10)
@click.option("--part", default="MELODY", show_default=True)
@click.option(
  "--mode",
  type=click.Choice(["simultaneous", "call-response"]),
  default="simultaneous",
)
def main(
  folder: Path, checkpoint: Path | None, count: int, part: str, mode: str
) -> None:
  """Prints a row of means for each way, and what following gains."""
  mm = MagentaMidi.load(checkpoint, ())
  songs = read_players(folder, part, count)
  players = [player.crop(WARM_S, SECONDS) for player, _ in songs]
  wholes = [whole.crop(WARM_S, SECONDS) for _, whole in songs]
  shares: dict[str, np.ndarray] = {}
  for way in HARMONIES:
    models = [beside(mm, player, mode, way) for player, _ in songs]
    shares[way] = np.array(
      [agreement(m, p)[0] for m, p in zip(models, players, strict=True)]
    )
    row = figures(models, players, wholes)
    print(way, row, flush=True)
  gain = shares["follow"] - shares["off"]
  gain = gain[np.isfinite(gain)]
  rng = np.random.default_rng(0)
  draws = [rng.choice(gain, len(gain)).mean() for _ in range(DRAWS)]
  low, high = np.percentile(draws, [2.5, 97.5])
  print(f"gain {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}], {len(gain)} songs")


if __name__ == "__main__":
  main()
