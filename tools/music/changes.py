"""Does it play over the chords that it is told?

Continues songs with annotated beats and chords (POP909;
`tools.music.beat_tracking` says how its folders lie): without a chart, told the
song's own, and told another song's three semitones higher; the beat is told in
all. Prints for each way, beside the real music:

- tones: share of chord tones; strong: on the first and third beats;
- resolved: notes that are none and go on, within a beat, to one that is no
  further than two semitones;
- root: share of roots; same: notes that repeat the key before them;
- bits: entropy of pitch classes in a bar;
- notes a second, and the area under the curve of the critic
  (`tools.music.two_sample`): 0.5 where it cannot tell played from real.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.pieces import packed_times
from magenta_midi.generate.generator import Generator
from magenta_midi.generate.key_prior import KeyPrior
from magenta_midi.generate.onset_prior import OnsetPrior
from magenta_midi.generate.priors import Priors
from magenta_midi.limits import CHORD_WEIGHT, COUNT
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import groove_named
from magenta_midi.midi.harmony.chart import ChordTimeline
from magenta_midi.midi.score import Score
from tools.music.beat_tracking import read_songs
from tools.music.chord_density import NEAR, read_changes
from tools.music.continuations import (
  Passage,
  Take,
  choose_passages,
  play,
  read_pieces,
)
from tools.music.pulse import true_beats
from tools.music.two_sample import two_sample_figures

SECONDS = 20.0
BEATS_PER_BAR = 4
# How far another song's chart is moved, semitones.
MOVED = 3
COLUMNS = ("tones", "strong", "resolved", "root", "same", "bits", "notes/s")
# Fewer notes in a bar say little of its pitch classes.
_FEWEST = 4


class Told(NamedTuple):
  """What is known of a passage; times from its place on."""

  beat_s: np.ndarray  # of the beats, carried on beyond the last
  first: int  # a beat that begins a bar
  chords: ChordTimeline


class Songs:
  """Passages of songs with their beats and chords."""

  def __init__(
    self, folder: Path, annotations: Path, count: int, generator: Generator
  ):
    codec = generator.codec
    self.pieces, _ = read_pieces(folder, "test", codec)
    self.passages = choose_passages(
      self.pieces, count, SECONDS, codec=codec, seed=0
    )
    self._annotations = annotations
    self._songs = {
      song.name: song for song in read_songs(folder, annotations, "test")
    }

  def told(self, passage: Passage) -> Told:
    """Beats and chords of a passage."""
    piece = self.pieces[passage.piece]
    song = self._songs[piece.name]
    changes = read_changes(self._annotations, song.name)

    start_s = packed_times(song.score, changes.start_s) / 1000 - passage.at_s
    beat_s = true_beats(passage, song)
    downs = np.flatnonzero(song.down)
    before = downs[beat_s[downs] <= 0.0]
    first = before[-1] if len(before) else downs[0]
    return Told(beat_s, int(first), ChordTimeline(start_s, changes.chords))

  def chart(self, passage: Passage, foreign: bool) -> ChordTimeline:
    """The song's chords, or those of another three semitones higher."""
    if not foreign:
      return self.told(passage).chords
    other = self.passages[
      (self.passages.index(passage) + 1) % len(self.passages)
    ]
    start_s, chords, loop_s = self.told(other).chords
    return ChordTimeline(
      start_s, tuple(chord.transposed(MOVED) for chord in chords), loop_s
    )

  def priors(self, passage: Passage, weight: float, foreign: bool) -> Priors:
    """Beat and chart in the time of a passage's history."""
    told = self.told(passage)
    near = told.beat_s[(told.beat_s > -8) & (told.beat_s < SECONDS)]
    period_s = float(np.median(np.diff(near)))
    at = int(np.searchsorted(told.beat_s, 0.0))
    grid = BeatGrid(
      passage.now_s + float(told.beat_s[at]),
      period_s,
      (at - told.first) % BEATS_PER_BAR,
    )
    onset = OnsetPrior(grid, groove_named("straight", grid.bpm))
    if weight == 0.0:
      return Priors(onset=onset)
    chords = self.chart(passage, foreign)
    chords = chords._replace(start_s=chords.start_s + passage.now_s)
    return Priors(onset=onset, key=KeyPrior(chords, grid, weight))


def figures(music: Score, told: Told, chords: ChordTimeline) -> list[float]:
  """`COLUMNS` of one continuation; nan where nothing can be said."""
  notes = music.notes
  onset_s, key = notes["onset_s"].astype(float), notes["key"].astype(int)
  beat = np.interp(onset_s, told.beat_s, np.arange(len(told.beat_s)))
  beat = beat - told.first
  numbers = chords.numbers(onset_s)
  symbols = [chords.chords[n] if n >= 0 else None for n in numbers.tolist()]
  known = np.array([s is not None and s.root is not None for s in symbols])
  tone = np.array(
    [
      s is not None and (k % 12 in s.classes or k % 12 == s.bass)
      for k, s in zip(key.tolist(), symbols, strict=True)
    ]
  )
  root = np.array(
    [
      s is not None and k % 12 == s.root
      for k, s in zip(key.tolist(), symbols, strict=True)
    ]
  )
  nearest = np.round(beat).astype(int)
  strong = (np.abs(beat - nearest) < NEAR) & (nearest % 2 == 0)
  resolved = []
  for index in np.flatnonzero(known & ~tone).tolist():
    later = (beat > beat[index] + 0.02) & (beat <= beat[index] + 1.02)
    near = later & (np.abs(key - key[index]) <= 2) & tone
    resolved.append(near.any())
  bits = []
  bar = np.floor((beat + NEAR) / BEATS_PER_BAR).astype(int)
  for number in np.unique(bar).tolist():
    inside = key[bar == number] % 12
    if len(inside) >= _FEWEST:
      share = np.bincount(inside, minlength=12) / len(inside)
      share = share[share > 0]
      bits.append(float(-(share * np.log2(share)).sum()))

  def mean(values: np.ndarray | list) -> float:
    return float(np.mean(values)) if len(values) else np.nan

  return [
    mean(tone[known]),
    mean(tone[known & strong]),
    mean(resolved),
    mean(root[known]),
    mean(key[1:] == key[:-1]),
    mean(bits),
    len(key) / SECONDS,
  ]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option(
  "--count",
  type=bounded(COUNT),
  default=20,
  show_default=True,
  help="Continuations.",
)
@click.option(
  "--weight",
  "weights",
  type=bounded(CHORD_WEIGHT),
  multiple=True,
  default=(0.0, 0.5, 1.0),
  show_default=True,
  help="Of the chart; repeatable.",
)
@click.option("--foreign", is_flag=True, help="Also tell another song's chart.")
@click.option("--save", type=click.Path(path_type=Path), help="Folder of MIDI.")
def main(
  folder: Path,
  annotations: Path,
  checkpoint: Path | None,
  count: int,
  weights: tuple[float, ...],
  foreign: bool,
  save: Path | None,
) -> None:
  """Prints a row of means for each way of playing."""
  mm = MagentaMidi.load(checkpoint, ())
  songs = Songs(folder, annotations, count, mm.generator)

  def show(name: str, scores: list[Score], alien: bool) -> None:
    rows = [
      figures(score, songs.told(passage), songs.chart(passage, alien))
      for score, passage in zip(scores, songs.passages, strict=True)
    ]
    means = " ".join(f"{x:.3f}" for x in np.nanmean(rows, axis=0))
    print(f"{name}: {means}", end=" ", flush=True)
    if save is not None:
      save.mkdir(parents=True, exist_ok=True)
      for index, score in enumerate(scores):
        score.to_file(save / f"{index:02d}_{name.replace(' ', '_')}.mid")

  print("way:", *COLUMNS, "auc")
  show("real", [passage.real for passage in songs.passages], False)
  print()
  for weight in weights:
    for alien in (False, True) if foreign else (False,):
      priors_of: Callable[[Passage], Priors] = functools.partial(
        songs.priors, weight=weight, foreign=alien
      )
      takes: list[Take] = play(
        mm.generator,
        songs.passages,
        sampling=mm.default_sampling,
        priors_of=priors_of,
      )
      name = f"{'foreign' if alien else 'own'} {weight:g}"
      show(name, [take.music for take in takes], alien)
      found = two_sample_figures(takes)
      tells = ", ".join(f"{n} {x:+.2f}" for n, x in found["tells"].items())
      print(f"{found['auc']:.3f} [{tells}]", flush=True)


if __name__ == "__main__":
  main()
