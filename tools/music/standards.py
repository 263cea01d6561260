"""Does it play over the harmony of standards?

Plays from silence over the charts of `tools/music/charts` (progressions only),
each with its tempo, without the chart and with it at each weight; the beat is
told in all. Prints for each weight the columns of `tools.music.changes`, in the
mean of all charts, and its chord tones by quality of the chord.
"""

from collections import defaultdict
from pathlib import Path

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.generate.chart_start import priors_after
from magenta_midi.limits import CHORD_WEIGHT, SECONDS
from magenta_midi.midi.harmony.charts import read_chart
from magenta_midi.midi.score import Score
from tools.music.changes import COLUMNS, Told, figures

CHARTS = Path(__file__).parent / "charts"


def by_quality(music: Score, told: Told) -> dict[str, list[bool]]:
  """Whether each note is a chord tone, by the quality of its chord."""
  found = defaultdict(list)
  for note in music.notes:
    chord = told.chords.chord_at(float(note["onset_s"]))
    if chord.root is not None:
      found[chord.quality].append(int(note["key"]) % 12 in chord.classes)
  return found


@click.command(help=__doc__)
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option(
  "--seconds", type=bounded(SECONDS), default=24.0, show_default=True
)
@click.option(
  "--weight",
  "weights",
  type=bounded(CHORD_WEIGHT),
  multiple=True,
  default=(0.0, 0.75, 1.0),
  show_default=True,
  help="Of the chart; repeatable.",
)
@click.option("--save", type=click.Path(path_type=Path), help="Folder of MIDI.")
def main(
  checkpoint: Path | None,
  seconds: float,
  weights: tuple[float, ...],
  save: Path | None,
) -> None:
  """Prints a row of means for each weight."""
  mm = MagentaMidi.load(checkpoint, ())
  paths = sorted(CHARTS.glob("*.txt"))
  print("weight:", *COLUMNS)
  for weight in weights:
    rows, qualities = [], defaultdict(list)
    for seed, path in enumerate(paths):
      chart = read_chart(str(path))
      priors = priors_after(Score.empty(), chart, weight=weight)
      assert priors.onset is not None and priors.key is not None
      music, _ = mm.generate(seconds, seed=seed, priors=priors)
      beat_s = np.arange(2 * int(seconds * 8)) * priors.onset.grid.period_s
      told = Told(beat_s, 0, priors.key.chords)
      row = figures(music, told, told.chords)
      # Its columns count the notes of continuations of 20 s.
      rows.append([*row[:-1], len(music) / seconds])
      for quality, hits in by_quality(music, told).items():
        qualities[quality] += hits
      if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        music.to_file(save / f"{path.stem}_{weight:g}.mid")
    means = " ".join(f"{x:.3f}" for x in np.nanmean(rows, axis=0))
    print(f"{weight:g}: {means}", flush=True)
    usual = sorted(qualities.items(), key=lambda item: -len(item[1]))[:12]
    print(
      *(f"{quality or 'triad'} {np.mean(h):.2f}" for quality, h in usual),
      flush=True,
    )


if __name__ == "__main__":
  main()
