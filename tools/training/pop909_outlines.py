"""Beats and chords of POP909, beside its songs: `NNN.beats` and `NNN.lab`.

Reads `beat_midi.txt` and `chord_midi.txt` of each song's annotations and writes
the files that `train --outline` reads. Bars are those of the second mark.
"""

from pathlib import Path

import click
import numpy as np

from magenta_midi.data.corpus import midi_files
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.outline import PLACES

# A bar of another length is an error of the marks.
_METERS = (2, 3, 4, 6)


@click.command()
@click.argument("songs", type=click.Path(path_type=Path, exists=True))
@click.argument("annotations", type=click.Path(path_type=Path, exists=True))
def main(songs: Path, annotations: Path) -> None:
  """Write beats and chords of ANNOTATIONS beside the SONGS."""
  written = 0
  for path in midi_files(songs):
    folder = annotations / path.stem[:3]
    if not (folder / "beat_midi.txt").is_file():
      continue
    write_atomically(
      path.with_suffix(".beats"), beat_lines(folder / "beat_midi.txt")
    )
    chords = (folder / "chord_midi.txt").read_text()
    write_atomically(path.with_suffix(".lab"), chords)
    written += 1
  click.echo(f"{songs}: beats and chords of {written} songs written.")


def beat_lines(path: Path) -> str:
  """Each beat inside a bar: its time in seconds, its place from 1."""
  rows = [line.split() for line in path.read_text().splitlines() if line]
  down = np.flatnonzero([float(row[2]) > 0 for row in rows])
  lines = []
  for first, stop in zip(down, np.append(down[1:], len(rows)), strict=True):
    count = stop - first
    beats = count if count in _METERS else 4
    for index in range(min(count, PLACES)):
      place = index + 1 if count in _METERS else index % beats + 1
      lines.append(f"{rows[first + index][0]}\t{place}\n")
  return "".join(lines)


if __name__ == "__main__":
  main()
