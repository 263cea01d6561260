"""Does the model play in time with the player, live?

    python -m tools.live.pulse POP909 ANNOTATIONS --songs 12

The left hand of songs with annotated beats (keys below 60) is the player of a
duet, on a virtual clock: once with the beat that is followed in its notes, once
freely. Counts, from the eighth second on: how strongly the model's onsets
concentrate at the sixteenths of the true beat (1: all stand there, about 0.1:
chance), the share of them within 50 ms of an onset of the player, beside
players of other songs, and notes a second. Folders as in
`tools.music.beat_tracking`.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT
from magenta_midi.live.engine.timekeeper import Timekeeper
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.score_messages import duet_score, messages_of
from magenta_midi.live.recording.serialization import (
  make_engine,
  make_performer,
)
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.midi.score import Score
from tools.live.likeness import agreements
from tools.music.beat_tracking import Song, read_songs
from tools.music.pulse import concentration

FROM_S, SECONDS, WARM_S = 20.0, 40.0, 8.0
# The player's keys lie below it.
HANDS = 60
WAYS = ("in time", "free")


def left_hand(song: Song) -> Score:
  """The player's part of a stretch."""
  score = song.score.merged().crop(FROM_S, FROM_S + SECONDS)
  notes = score.notes[score.notes["key"] < HANDS]
  return Score.from_arrays(
    onset_s=notes["onset_s"],
    duration_s=notes["duration_s"],
    key=notes["key"],
    velocity=notes["velocity"],
  )


def beside(
  mm: MagentaMidi,
  player: Score,
  mode: str,
  *,
  free: bool,
  seconds: float = SECONDS,
) -> tuple[Score, float]:
  """What the model plays after the start, and the share of it with a beat."""
  controls = Controls(mode=mode, free=free)
  keeper = Timekeeper(controls)
  replay = Replay(
    make_engine(mm, controls),
    make_performer(),
    CostTable.load(),
    timekeeper=keeper,
  )
  result = replay.run(messages_of(player), tail_ns=SECOND)
  model = duet_score(result.received, result.sent).select(1)
  return model.crop(WARM_S, seconds), float(keeper.beat.bars is not None)


def figures(
  songs: list[Song], players: list[Score], models: list[Score]
) -> dict[str, Any]:
  """Means over the songs."""
  pulse, rate = [], []
  for song, model in zip(songs, models, strict=True):
    onset_s = np.unique(np.round(model.notes["onset_s"].astype(float), 3))
    rate.append(len(model) / (SECONDS - WARM_S))
    if len(onset_s) >= 8:
      beat_s = song.beat_s - FROM_S - WARM_S
      pulse.append(concentration(onset_s, beat_s))
  late = [player.crop(WARM_S, SECONDS) for player in players]
  together = agreements(models, late, range(len(songs)))["synchrony"]
  return dict(
    concentration=round(float(np.mean(pulse)), 3),
    songs=len(pulse),
    synchrony=together["partner"],
    with_others=together["others"],
    gain_ci95=together["gain_ci95"],
    notes_per_s=round(float(np.mean(rate)), 2),
  )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option("--songs", "count", type=bounded(COUNT), default=12)
@click.option(
  "--mode",
  type=click.Choice(["simultaneous", "call-response"]),
  default="simultaneous",
)
def main(
  folder: Path,
  annotations: Path,
  checkpoint: Path | None,
  count: int,
  mode: str,
) -> None:
  """Prints a row of means for each way of playing."""
  mm = MagentaMidi.load(checkpoint, ())
  songs = read_songs(folder, annotations, "test")[:count]
  players = [left_hand(song) for song in songs]
  for way in WAYS:
    found = [beside(mm, p, mode, free=way == "free") for p in players]
    models = [model for model, _ in found]
    kept = float(np.mean([beat for _, beat in found]))
    print(way, figures(songs, players, models), f"beat: {kept:.2f}", flush=True)


if __name__ == "__main__":
  main()
