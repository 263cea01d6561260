"""Are beats found where annotators heard them?

Learns the rates of `midi/analysis/beat_tables.json` from songs with annotated
beats (`--write`), and scores the tracker on others: the F-measure within 70 ms
that is usual for beats: of beats and of first beats of bars, found in the whole
song, and of beats followed while the song goes on.
"""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT
from magenta_midi.midi import read_score
from magenta_midi.midi.analysis.beat_follower import BeatFollower
from magenta_midi.midi.analysis.beat_model import (
  BEATS_PER_BAR,
  KINDS,
  PLACES,
  Strikes,
  find_strikes,
)
from magenta_midi.midi.analysis.beats import track_beats
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score

TOLERANCE_S = 0.07
# How often a follower is asked.
LOOK_S = 0.02
TABLES = (
  Path(__file__).parents[2] / "magenta_midi/midi/analysis/beat_tables.json"
)


class Song(NamedTuple):
  """A song and where its beats are."""

  name: str
  score: Score
  beat_s: np.ndarray  # [n]
  down: np.ndarray  # bool [n] first beats of bars


def read_songs(folder: Path, annotations: Path, split: str) -> list[Song]:
  """Songs of a split with annotated beats, as POP909 has them.

  Args:
    folder: Of MIDI files; its table `NAME.csv` lies beside it.
    annotations: One folder a song with `beat_midi.txt`: time, and marks of
      downbeats by two readings, of which the second one are bars.
    split: Of the table.
  """
  with open(f"{folder}.csv", encoding="utf-8") as file:
    names = [r["path"] for r in csv.DictReader(file) if r["split"] == split]
  songs = []
  for name in names:
    marks = annotations / Path(name).stem / "beat_midi.txt"
    if marks.is_file():
      rows = np.loadtxt(marks)
      songs.append(
        Song(name, read_score(folder / name), rows[:, 0], rows[:, 2] > 0)
      )
  return songs


def strikes_of(song: Song) -> Strikes:
  """A song's strikes."""
  notes = song.score.merged().notes
  return find_strikes(notes["onset_s"].astype(float), notes["key"])


def count(song: Song) -> tuple[np.ndarray, np.ndarray] | None:
  """Strikes by kind, beat and place, and beats; None: its bars have not 4."""
  bars = np.flatnonzero(song.down)
  if len(bars) < 4 or np.median(np.diff(bars)) != BEATS_PER_BAR:
    return None
  strikes = strikes_of(song)
  at = np.interp(
    strikes.time_s, song.beat_s, np.arange(len(song.beat_s)), -1, -1
  )
  inside = at >= 0
  at = at[inside] + 0.5 / PLACES
  beat = at.astype(np.int64)
  bar = np.searchsorted(bars, beat, "right") - 1
  since = (beat - np.where(bar >= 0, bars[bar], bars[0])) % BEATS_PER_BAR
  place = ((at - beat) * PLACES).astype(np.int64)
  strikes_at = np.zeros((KINDS, BEATS_PER_BAR, PLACES))
  np.add.at(strikes_at, (strikes.kind[inside], since, place), 1)
  beats = np.full(BEATS_PER_BAR, (len(song.beat_s) - 1) / BEATS_PER_BAR)
  return strikes_at, beats


def learn(songs: list[Song]) -> np.ndarray:
  """Strikes a beat of straight songs and of triplet ones, `[2, c, b, q]`."""
  counted = [found for song in songs if (found := count(song)) is not None]
  profile = np.array([strikes.sum(axis=(0, 1)) for strikes, _ in counted])
  profile /= profile.sum(axis=1, keepdims=True)
  third, quarter = PLACES // 3, PLACES // 4

  def around(place: int) -> np.ndarray:
    return profile[:, [place - 1, place, place + 1]].sum(axis=1)

  feel = (
    around(third) + around(2 * third) > around(quarter) + around(3 * quarter)
  ).astype(int)
  for _ in range(8):
    means = np.array(
      [0.97 * profile[feel == k].mean(axis=0) + 0.03 / PLACES for k in (0, 1)]
    )
    feel = (profile @ np.log(means).T).argmax(axis=1)
  tables = []
  for k in (0, 1):
    chosen = [pair for pair, f in zip(counted, feel, strict=True) if f == k]
    strikes, beats = (np.sum(x, axis=0) for x in zip(*chosen, strict=True))
    tables.append(strikes / beats[None, :, None])
  return np.array(tables)


def f_measure(found_s: np.ndarray, true_s: np.ndarray) -> float:
  """Of found and true times: matched within 70 ms, each once; 0..1."""
  if not len(found_s) + len(true_s):
    return 1.0
  taken = np.zeros(len(true_s), bool)
  hits = 0
  for time_s in found_s:
    after = int(np.searchsorted(true_s, time_s))
    for index in (after - 1, after):
      if (
        0 <= index < len(true_s)
        and not taken[index]
        and abs(true_s[index] - time_s) <= TOLERANCE_S
      ):
        taken[index] = True
        hits += 1
        break
  return 2 * hits / (len(found_s) + len(true_s))


def followed(score: Score) -> np.ndarray:
  """Times at which a follower that hears a score as it goes counts a beat."""
  notes = score.merged().notes
  onset_s = notes["onset_s"].astype(float).tolist()
  follower, beats, at = BeatFollower(), [-np.inf], 0
  for now_s in np.arange(onset_s[0], onset_s[-1], LOOK_S).tolist():
    while at < len(onset_s) and onset_s[at] <= now_s:
      follower.hear(onset_s[at], int(notes["key"][at]))
      at += 1
    follower.advance(now_s)
    pulse = follower.pulse()
    if pulse is not None:
      # The last beat before now, carried on from what is known.
      gone = (now_s - pulse.beat_s) // pulse.period_s
      beat_s = pulse.beat_s + gone * pulse.period_s
      new = beat_s > beats[-1] + 0.5 * pulse.period_s
      if new and now_s - beat_s <= LOOK_S:
        beats.append(beat_s)
  return np.array(beats[1:])


def score_song(song: Song) -> dict[str, float]:
  """F-measures of beats, first beats, beats followed; and the confidence."""
  found = track_beats(song.score)
  onset_s = song.score.notes["onset_s"]
  inside = (song.beat_s >= onset_s.min() - 0.1) & (
    song.beat_s <= onset_s.max() + 0.1
  )
  return dict(
    beats=f_measure(found.time_s, song.beat_s[inside]),
    downbeats=f_measure(
      found.time_s[found.place == 0], song.beat_s[inside & song.down]
    ),
    followed=f_measure(followed(song.score), song.beat_s[inside]),
    confidence=found.confidence,
  )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True)
@click.option("--write", is_flag=True, help="First learn from split train.")
@click.option("--songs", type=bounded(COUNT), help="Only so many.")
def main(
  folder: Path, annotations: Path, split: str, write: bool, songs: int | None
) -> None:
  """Prints figures of each song, and their mean."""
  if write:
    tables = learn(read_songs(folder, annotations, "train"))
    text = json.dumps(dict(strikes=np.round(tables, 4).tolist()))
    write_atomically(TABLES, text + "\n")
  figures = []
  for song in read_songs(folder, annotations, split)[:songs]:
    figures.append(score_song(song))
    print(song.name, *(f"{v:.3f}" for v in figures[-1].values()), flush=True)
  for name in figures[0]:
    mean = np.mean([f[name] for f in figures])
    print(f"{name}: {mean:.3f} in the mean of {len(figures)}")


if __name__ == "__main__":
  main()
