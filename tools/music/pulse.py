"""Does a continuation keep the pulse of what it continues?

Continues songs with annotated beats: freely, with the tracked pulse, and told
the beats. Prints how strongly onsets concentrate at the sixteenths of the true
beat (1: all stand there, about 0.1: chance) in stretches of the continuation,
and locally, in windows of 4 s with the tempo left free within 6 %; beside the
real music. Passages are of POP909 (`tools.music.beat_tracking` says how its
folders lie). With --bpm they are first brought to other tempos; with --change
the told beat goes on faster or slower than the context was.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.pieces import packed_times
from magenta_midi.generate.onset_prior import OnsetPrior, prior_after
from magenta_midi.generate.priors import Priors
from magenta_midi.generate.sampling import Sampling
from magenta_midi.limits import (
  COUNT,
  TEMPERATURE,
  TEMPO,
  TIGHTNESS,
  Bounds,
)
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import groove_named
from magenta_midi.midi.score import Score
from tools.music.beat_tracking import Song, read_songs
from tools.music.continuations import (
  Passage,
  choose_passages,
  play,
  read_pieces,
)

SECONDS = 20.0
STRETCHES = ((0, 4), (4, 12), (12, 20))
SIXTEENTHS = 4
# Local windows, and the tempos tried in them, relative to the true one.
WINDOW_S, TEMPOS = 4, np.linspace(0.94, 1.06, 49)
_FEWEST = 4


def song_of(passage: Passage, songs: dict[str, Song]) -> Song:
  """The song that a passage is of."""
  return songs[passage.title.split("/")[-1]]


def true_beats(passage: Passage, song: Song) -> np.ndarray:
  """Beats from a passage's place on, s; carried on beyond the last.

  Places are on the clock of the packed piece, which begins with its first
  event.
  """
  beat_s = packed_times(song.score, song.beat_s) / 1000 - passage.at_s
  gap_s = np.median(np.diff(beat_s))
  return np.append(beat_s, beat_s[-1] + gap_s * np.arange(1, 60))


def concentration(onset_s: np.ndarray, beat_s: np.ndarray) -> float:
  """Of onsets at the sixteenths of beats, 0..1."""
  beat = np.interp(onset_s, beat_s, np.arange(len(beat_s)))
  return float(abs(np.exp(2j * np.pi * SIXTEENTHS * beat).mean()))


def figures(music: Score, beat_s: np.ndarray) -> list[float]:
  """Concentration by stretch, locally, and notes a second; nan: too few."""
  onset_s = np.unique(np.round(music.notes["onset_s"].astype(float), 3))
  found = []
  for low, high in STRETCHES:
    part = onset_s[(onset_s >= low) & (onset_s < high)]
    enough = len(part) >= _FEWEST
    found.append(concentration(part, beat_s) if enough else np.nan)
  inside = beat_s[(beat_s > 0) & (beat_s < SECONDS)]
  sixteenth_s = float(np.median(np.diff(inside))) / SIXTEENTHS
  local = []
  for low in range(0, int(SECONDS), WINDOW_S):
    part = onset_s[(onset_s >= low) & (onset_s < low + WINDOW_S)]
    if len(part) >= _FEWEST:
      turns = np.exp(2j * np.pi * part[:, None] / (sixteenth_s * TEMPOS))
      local.append(float(np.abs(turns.mean(axis=0)).max()))
  return [*found, float(np.mean(local)), len(music) / SECONDS]


def slower(score: Score, factor: float) -> Score:
  """The same music with all times multiplied."""
  notes, pedal = score.notes.copy(), score.pedals.copy()
  for rows, name in (
    (notes, "onset_s"),
    (notes, "duration_s"),
    (pedal, "time_s"),
  ):
    rows[name] *= factor
  return dataclasses.replace(score, notes=notes, pedals=pedal)


def at_tempo(
  passage: Passage, songs: dict[str, Song], bpm: float | int | None
) -> tuple[Passage, np.ndarray]:
  """A passage at another tempo, and its beats from its place on, s."""
  beat_s = true_beats(passage, song_of(passage, songs))
  if bpm is None:
    return passage, beat_s
  near = beat_s[(beat_s > -8) & (beat_s < SECONDS)]
  factor = 60 / bpm / float(np.median(np.diff(near)))
  moved = dataclasses.replace(
    passage,
    history=slower(passage.history, factor),
    now_s=passage.now_s * factor,
    real=slower(passage.real, factor).crop(0.0, SECONDS),
  )
  return moved, beat_s * factor


def changed(beat_s: np.ndarray, factor: float) -> np.ndarray:
  """Beats whose tempo is multiplied from the first beat after 0 s on."""
  later = beat_s >= 0
  first_s = beat_s[later][0]
  return np.where(later, first_s + (beat_s - first_s) / factor, beat_s)


def told(
  passage: Passage, *, beats: dict[int, np.ndarray], tightness: float
) -> Priors:
  """The prior of the true beat at the passage's place, carried on steadily."""
  beat_s = beats[id(passage)]
  near = beat_s[(beat_s >= 0) & (beat_s < SECONDS)]
  period_s = float(np.median(np.diff(near)))
  grid = BeatGrid(
    passage.now_s + float(beat_s[np.searchsorted(beat_s, 0.0)]), period_s
  )
  groove = groove_named("straight", grid.bpm)
  return Priors(onset=OnsetPrior(grid, groove, tightness))


def tracked(passage: Passage, *, tightness: float) -> Priors:
  """The prior of the pulse that is found in the context."""
  return Priors(onset=prior_after(passage.history, tightness=tightness))


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option(
  "--count",
  type=bounded(COUNT),
  default=16,
  show_default=True,
  help="Continuations.",
)
@click.option(
  "--tightness", type=bounded(TIGHTNESS), default=1.0, show_default=True
)
@click.option(
  "--onset-temperature",
  type=bounded(TEMPERATURE),
  help="Of the onset level, for all.",
)
@click.option(
  "--bpm",
  "tempos",
  type=bounded(TEMPO),
  multiple=True,
  help="Tempo of the contexts, BPM. Repeatable [default: their own].",
)
@click.option(
  "--change",
  type=bounded(Bounds(0.5, 2.0)),
  default=1.0,
  show_default=True,
  help="Factor on the told tempo from the continuation's first beat on.",
)
@click.option("--save", type=click.Path(path_type=Path), help="Folder of MIDI.")
def main(
  folder: Path,
  annotations: Path,
  checkpoint: Path | None,
  count: int,
  tightness: float,
  onset_temperature: float | None,
  tempos: tuple[float, ...],
  change: float,
  save: Path | None,
) -> None:
  """Prints a row of means for each way of playing."""
  generator = MagentaMidi.load(checkpoint, ()).generator
  pieces, _ = read_pieces(folder, "test", generator.codec)
  songs = {song.name: song for song in read_songs(folder, annotations, "test")}
  passages = choose_passages(
    pieces, count, SECONDS, codec=generator.codec, seed=0
  )
  sampling = None
  if onset_temperature is not None:
    others = [1.0] * (generator.codec.levels - 1)
    sampling = Sampling(temperature=(onset_temperature, *others))
  print("bpm way", *(f"{a}-{b} s" for a, b in STRETCHES), "locally", "notes/s")
  for bpm in tempos or (None,):
    moved = [at_tempo(passage, songs, bpm) for passage in passages]
    at = [passage for passage, _ in moved]
    beats = {id(passage): changed(beat_s, change) for passage, beat_s in moved}
    ways: dict[str, Callable[[Passage], Priors | None] | None] = {
      "real": None,
      "free": lambda passage: None,
      "tracked": functools.partial(tracked, tightness=tightness),
      "told": functools.partial(told, beats=beats, tightness=tightness),
    }
    if change != 1.0:
      ways = {"told": ways["told"]}
    for name, way in ways.items():
      if way is None:
        scores = [passage.real for passage in at]
      else:
        takes = play(generator, at, sampling=sampling, priors_of=way)
        scores = [take.music for take in takes]
      rows = [
        figures(score, beats[id(passage)])
        for score, passage in zip(scores, at, strict=True)
      ]
      means = (f"{x:.3f}" for x in np.nanmean(rows, axis=0))
      print(f"{bpm:g}" if bpm else "own", name, *means, flush=True)
      if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        stem = f"{name}_{bpm:g}" if bpm else name
        for index, score in enumerate(scores):
          score.to_file(save / f"{index:02d}_{stem}.mid")


if __name__ == "__main__":
  main()
