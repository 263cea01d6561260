"""Bundled phrases, made from their tables in tools/assets/phrases.

  python -m tools.assets.make_phrases [FOLDER]

Lines of a table:

  overlap X                      a run's notes last X times their step (legato)
  tempo   BEAT BPM BEAT BPM ...  beats a minute, straight lines in between
  pedal   DOWN-UP DOWN-UP ...    in beats
  BEAT /STEP NOTE NOTE ...       notes from a beat on, one every STEP beats
                                 (/0: together)

A note is KEY[:BEATS]:VELOCITY[+MS|-MS]: how long the finger stays down if it
is not the step, how hard it plays, and how much late or early it comes.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.midi.score import PEDAL_DTYPE, Score

TABLES = Path(__file__).with_name("phrases")

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE = re.compile(
  r"([A-G])(#?)(\d)(?::(\d*\.?\d+))?:(\d+)([+-]\d+)?", re.ASCII
)
_STEPS_A_BEAT = 400  # of the tempo integral


def read_table(text: str) -> Score:
  """Plays a table (see the module) into a score, onsets from 0 s.

  Raises:
    ValueError: A line is not understood; the message quotes it.
  """
  overlap = 1.0
  tempo: list[float] = []
  pedal: list[tuple[float, float]] = []
  # Beat, beats down, key, velocity, milliseconds late.
  notes: list[tuple[float, float, int, int, float]] = []
  for line in text.splitlines():
    words = line.partition("# ")[0].split()
    if not words or line.startswith("#"):
      continue
    match words[0]:
      case "overlap":
        overlap = float(words[1])
      case "tempo":
        tempo += map(float, words[1:])
      case "pedal":
        for word in words[1:]:
          down, up = word.split("-")
          pedal.append((float(down), float(up)))
      case _:
        notes += _run(words, overlap)
  return _play(np.array(tempo).reshape(-1, 2), pedal, notes)


def _run(
  words: list[str], overlap: float
) -> list[tuple[float, float, int, int, float]]:
  """Reads one line of notes."""
  step = float(words[1].removeprefix("/"))
  run = []
  for index, word in enumerate(words[2:]):
    found = _NOTE.fullmatch(word)
    if not found:
      raise ValueError(
        f"expected KEY[:BEATS]:VELOCITY[+MS|-MS], got {word!r} in the line "
        f"{' '.join(words)!r}. Correct the table."
      )
    letter, sharp, octave, beats, velocity, late_ms = found.groups()
    key = 12 * (int(octave) + 1) + _LETTERS[letter] + len(sharp)
    lasts = float(beats) if beats else step * overlap
    beat = float(words[0]) + index * step
    run.append((beat, lasts, key, int(velocity), float(late_ms or 0)))
  return run


def _play(
  tempo: np.ndarray,
  pedal: list[tuple[float, float]],
  notes: list[tuple[float, float, int, int, float]],
) -> Score:
  """Turns beats into seconds along the tempo curve."""
  beat, lasts, key, velocity, late_ms = np.array(notes, np.float64).T
  last = (beat + lasts).max() + 1
  grid = np.arange(0, last + 1, 1 / _STEPS_A_BEAT)
  seconds_a_beat = 60 / np.interp(grid, tempo[:, 0], tempo[:, 1])
  middles = (seconds_a_beat[1:] + seconds_a_beat[:-1]) / 2
  clock = np.concatenate([[0], np.cumsum(middles) / _STEPS_A_BEAT])

  onset_s = np.interp(beat, grid, clock) + late_ms / 1000
  off_s = np.interp(beat + lasts, grid, clock)
  start_s = onset_s.min()
  # A finger leaves its key before it can strike it again.
  for earlier in range(len(key)):
    again = onset_s[(key == key[earlier]) & (onset_s > onset_s[earlier])]
    if again.size:
      off_s[earlier] = min(off_s[earlier], again.min() - 0.03)
  changes = [
    (max(0.0, float(np.interp(at, grid, clock) - start_s)), down, 0)
    for pair in pedal
    for at, down in zip(pair, (True, False), strict=True)
  ]
  # Whole milliseconds: the same on every machine.
  return Score.from_arrays(
    onset_s=np.round(onset_s - start_s, 3),
    duration_s=np.round(off_s - onset_s, 3),
    key=key.astype(np.int64),
    velocity=velocity.astype(np.int64),
    pedal=np.array(
      [(round(at, 3), down, part) for at, down, part in changes], PEDAL_DTYPE
    ),
  )


def main() -> None:
  """Writes every phrase, by default into the package."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "folder",
    nargs="?",
    type=Path,
    help="Folder to write to [default: the package].",
  )
  folder = parser.parse_args().folder
  for name in PHRASES:
    score = read_table((TABLES / f"{name}.txt").read_text(encoding="utf-8"))
    path = phrase_path(name)
    if folder is not None:
      path = folder / path.name
    score.to_file(path)
    print(f"{path}: {len(score)} notes, {score.end_s:.1f} s")


if __name__ == "__main__":
  main()
