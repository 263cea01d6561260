"""Which pitch classes are played over which chord?

Counts the notes of songs with annotated chords and beats (POP909;
`tools.music.beat_tracking` says how its folders lie) by quality of the chord,
on beats and between them, in the bass and above. Writes the densities to
`midi/harmony/chord_density.json` (`--write`), and prints how well they predict
the pitch classes of other songs, in nats a note: all notes, the bass, what is
above, the bass of chords over another bass; and the same where each quality's
own counts are left out, as for a quality that was never seen.
"""

import json
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.harmony import chord_density
from magenta_midi.midi.harmony.chord_density import (
  BASS_BELOW,
  OFF_BEAT,
  ON_BEAT,
  blended_density,
  measured_densities,
)
from magenta_midi.midi.harmony.chord_symbols import ChordSymbol, parse_chord
from tools.music.beat_tracking import Song, read_songs

TABLE = (
  Path(__file__).parents[2] / "magenta_midi/midi/harmony/chord_density.json"
)
# How near a beat a note is on it, in beats.
NEAR = 0.08
# A note that comes so little early belongs to the next chord.
EARLY_S = 0.03
# Added to each count.
PRIOR = 5.0


class ChordChanges(NamedTuple):
  """The chords of a song."""

  start_s: np.ndarray  # [n]
  chords: tuple[ChordSymbol, ...]

  def at(self, time_s: np.ndarray) -> np.ndarray:
    """Number of the chord of each onset; -1: none yet."""
    return np.searchsorted(self.start_s, time_s + EARLY_S, "right") - 1


class Notes(NamedTuple):
  """Notes over chords."""

  key: np.ndarray
  place: np.ndarray  # ON_BEAT or OFF_BEAT
  chord: list[ChordSymbol]


def read_changes(annotations: Path, name: str) -> ChordChanges:
  """The chords of a song: start, end and symbol a line."""
  path = annotations / Path(name).stem / "chord_midi.txt"
  rows = [row.split() for row in path.read_text(encoding="utf-8").splitlines()]
  start_s = np.array([float(row[0]) for row in rows])
  return ChordChanges(start_s, tuple(parse_chord(row[2]) for row in rows))


def place_in_beat(onset_s: np.ndarray, beat_s: np.ndarray) -> np.ndarray:
  """`ON_BEAT` or `OFF_BEAT` of each onset; -1 before and after all beats."""
  beat = np.interp(onset_s, beat_s, np.arange(len(beat_s)), -1, -1)
  near = np.abs(beat - np.round(beat)) < NEAR
  return np.where(beat < 0, -1, np.where(near, ON_BEAT, OFF_BEAT))


def notes_of(song: Song, changes: ChordChanges) -> Notes:
  """A song's notes over chords, those without beat or chord left out."""
  notes = song.score.merged().notes
  onset_s = notes["onset_s"].astype(float)
  place = place_in_beat(onset_s, song.beat_s)
  number = changes.at(onset_s)
  kept = [
    index
    for index in np.flatnonzero((place >= 0) & (number >= 0)).tolist()
    if changes.chords[number[index]].root is not None
  ]
  return Notes(
    notes["key"].astype(int)[kept],
    place[kept],
    [changes.chords[number[index]] for index in kept],
  )


def learn(songs: list[Notes]) -> dict[tuple[int, ...], np.ndarray]:
  """Densities as `measured_densities` has them.

  In the bass's register only chords over their root are counted.
  """
  counts: dict[tuple[int, ...], np.ndarray] = {}
  for song in songs:
    for key, place, chord in zip(*song, strict=True):
      assert chord.root is not None
      high = int(key >= BASS_BELOW)
      if high or chord.bass == chord.root:
        quality = tuple(sorted(chord.intervals))
        table = counts.setdefault(quality, np.full((2, 2, 12), PRIOR))
        table[place, high, (key - chord.root) % 12] += 1
  return {
    quality: table / table.mean(axis=2, keepdims=True)
    for quality, table in counts.items()
  }


def nats(songs: list[Notes]) -> list[float]:
  """Nats a note: all, bass, above, bass of chords over another bass."""
  found, high, over = [], [], []
  for song in songs:
    for key, place, chord in zip(*song, strict=True):
      above = int(key >= BASS_BELOW)
      density = chord_density.chord_density(chord)[place, above, key % 12]
      found.append(-np.log(density / 12))
      high.append(above == 1)
      over.append(chord.bass != chord.root)
  nat, above, slash = np.array(found), np.array(high), np.array(over)
  chosen = (above >= 0, ~above, above, ~above & slash)
  return [float(nat[mask].mean()) for mask in chosen]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True)
@click.option("--write", is_flag=True, help="First learn from split train.")
def main(folder: Path, annotations: Path, split: str, write: bool) -> None:
  """Prints nats a note of a split's pitch classes."""

  def read(split: str) -> list[Notes]:
    return [
      notes_of(song, read_changes(annotations, song.name))
      for song in read_songs(folder, annotations, split)
    ]

  if write:
    table = {
      " ".join(map(str, quality)): np.round(density, 3).tolist()
      for quality, density in sorted(learn(read("train")).items())
    }
    write_atomically(TABLE, json.dumps(table) + "\n")
    measured_densities.cache_clear()
    chord_density.chord_density.cache_clear()
  songs = read(split)
  print("all, bass, above, bass of slash chords")
  print(f"any pitch class: {np.log(12):.3f}")
  print("measured:", *(f"{value:.3f}" for value in nats(songs)))
  measured = measured_densities()
  for quality in list(measured):
    others = {q: table for q, table in measured.items() if q != quality}
    measured[quality] = blended_density(quality, others)
  chord_density.chord_density.cache_clear()
  print("unseen:", *(f"{value:.3f}" for value in nats(songs)))


if __name__ == "__main__":
  main()
