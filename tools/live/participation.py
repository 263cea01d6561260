"""Does the model take part, beside a sparse and a dense partner?

    python -m tools.live.participation DIR --pieces 12

One hand of held-out pieces is the player of a duet, on a virtual clock, and the
model plays beside it. In windows of 2 s it counts how often the model plays at
all, and how many notes a second, by how dense the player is there; beside the
other hand of the real music. With POP909, `--player melody` takes the melody's
track for the player and the piano's for the real partner.
"""

import itertools
from pathlib import Path

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.corpus import midi_files
from magenta_midi.data.splits import listed_splits
from magenta_midi.limits import COUNT
from magenta_midi.midi.score import Score
from magenta_midi.plain_text import nfc
from tools.live.pulse import beside

FROM_S, SECONDS, WARM_S, WINDOW_S = 20.0, 60.0, 8.0, 2.0
# Keys of the left hand lie below it.
HANDS = 60
# Notes a second of the player: the windows of a row lie between two of them.
DENSITIES = (0.01, 2.0, 4.0, 7.0, 11.0, np.inf)
PLAYERS = ("left", "right", "melody")


def keys(score: Score, low: int, high: int) -> Score:
  """The notes of one register, without pedal."""
  notes = score.notes
  return score_of(notes[(notes["key"] >= low) & (notes["key"] < high)])


def score_of(notes: np.ndarray) -> Score:
  """Notes as a score of one part."""
  return Score.from_arrays(
    onset_s=notes["onset_s"],
    duration_s=notes["duration_s"],
    key=notes["key"],
    velocity=notes["velocity"],
  )


def duet_of(score: Score, player: str) -> tuple[Score, Score] | None:
  """Player and real partner in a stretch; None: there is no such duet."""
  if player == "melody":
    names = [name.strip().lower() for name in score.part_names]
    if "melody" not in names:
      return None
    melody = names.index("melody")
    others = [part for part in range(score.parts) if part != melody]
    two = score.select(melody), score.select(others).merged()
    low, high = (s.crop(FROM_S, FROM_S + SECONDS) for s in two)
    return score_of(low.notes), score_of(high.notes)
  stretch = score.merged().crop(FROM_S, FROM_S + SECONDS)
  left, right = keys(stretch, 0, HANDS), keys(stretch, HANDS, 128)
  return (left, right) if player == "left" else (right, left)


def counts(score: Score) -> np.ndarray:
  """Notes in each window after the start."""
  edges = np.arange(WARM_S, SECONDS + 1e-6, WINDOW_S)
  return np.histogram(score.notes["onset_s"], edges)[0]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True)
@click.option(
  "--pieces", "count", type=bounded(COUNT), default=12, show_default=True
)
@click.option(
  "--player", type=click.Choice(PLAYERS), default="left", show_default=True
)
@click.option("--free", is_flag=True, help="Without the tracked beat.")
def main(
  folder: Path,
  checkpoint: Path | None,
  split: str,
  count: int,
  player: str,
  free: bool,
) -> None:
  """Prints a row for each density of the player."""
  mm = MagentaMidi.load(checkpoint, ())
  listed = listed_splits(folder) or {}
  duets = []
  for path in midi_files(folder):
    name = nfc(path.relative_to(folder).as_posix())
    if len(duets) < count and listed.get(name) == split:
      duet = duet_of(Score.from_file(path), player)
      if duet is not None and min(map(len, duet)) >= SECONDS / 2:
        duets.append(duet)
  if not duets:
    raise click.UsageError(f"{folder}: no duet in the split {split!r}.")
  own, real, partner = [], [], []
  for played, other in duets:
    model, _ = beside(mm, played, "simultaneous", free=free, seconds=SECONDS)
    own.append(counts(model.shifted(WARM_S)))
    real.append(counts(other))
    partner.append(counts(played))
  of_model, of_real, of_player = (
    np.concatenate(rows) / WINDOW_S for rows in (own, real, partner)
  )
  print("player's notes/s | windows | model plays in, notes/s | real partner")
  edges = ((0.0, DENSITIES[0]), *itertools.pairwise(DENSITIES))
  for low, high in (*edges, (0.0, np.inf)):
    here = (of_player >= low) & (of_player < high)
    if here.any():
      columns = [
        f"{np.mean(notes[here] > 0):.2f} {notes[here].mean():.2f}"
        for notes in (of_model, of_real)
      ]
      print(f"{low:g}..{high:g} | {here.sum()} |", " | ".join(columns))


if __name__ == "__main__":
  main()
