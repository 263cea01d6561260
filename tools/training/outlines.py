"""What are beats and chords worth to a model that is given them?

Scores the same windows with nothing given, beats, chords and both; with wrong
chords (a tritone off) and with beats half a beat late. The difference to
nothing is what knowing is worth, that of wrong ones is what they cost.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.corpus import Corpus, read_corpus
from magenta_midi.data.examples.outline_draws import OutlineDraws
from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import Evaluation, evaluate
from magenta_midi.limits import COUNT
from magenta_midi.midi.outline import Outline


def same(outline: Outline) -> Outline:
  """As it is."""
  return outline


def tritone_off(outline: Outline) -> Outline:
  """The most distant chords."""
  return outline.moved(up=6)


def half_a_beat_late(outline: Outline) -> Outline:
  """Beats where the offbeats are."""
  beat_ms = outline.beat_ms
  if len(beat_ms) < 2:
    return outline
  middle = beat_ms[:-1] + np.diff(beat_ms) / 2
  last = beat_ms[-1] + (beat_ms[-1] - beat_ms[-2]) / 2
  return dataclasses.replace(outline, beat_ms=np.append(middle, last))


CASES: tuple[tuple[str, str, Callable[[Outline], Outline]], ...] = (
  ("beats", "beats", same),
  ("chords", "chords", same),
  ("both", "both", same),
  ("wrong chords", "chords", tritone_off),
  ("beats half a beat late", "beats", half_a_beat_late),
)


def changed(corpus: Corpus, change: Callable[[Outline], Outline]) -> Corpus:
  """The corpus with other outlines."""
  outlines = tuple(o and change(o) for o in corpus.outlines)
  return Corpus(corpus.events, corpus.offsets, corpus.names, outlines)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path, exists=True),
  help="Folder that train --outline wrote [default: the embedded one].",
)
@click.option("--split", default="test", show_default=True)
@click.option(
  "--windows",
  type=bounded(COUNT),
  default=384,
  show_default=True,
  help="Windows of 2 s, evenly spread.",
)
def main(
  folder: Path, checkpoint: Path | None, split: str, windows: int
) -> None:
  """Score FOLDER, whose files have beats and chords beside them."""
  mm = MagentaMidi.load(checkpoint, ())
  if not mm.generator.config.outline_rows:
    raise click.ClickException(
      "the checkpoint has no input for beats and chords. Train one with"
      " --outline."
    )
  corpus = read_corpus(folder, (split,), with_outlines=True)[0][split]
  if not corpus.outlines:
    raise click.ClickException(
      f"{folder}: no beats or chords in split {split}."
    )

  def score(
    change: Callable[[Outline], Outline], given: str | None
  ) -> Evaluation:
    draws = given and OutlineDraws({given: 1.0}, jitter=False)
    return evaluate(
      mm.generator.model,
      mm.codec,
      changed(corpus, change),
      windows=windows,
      outlines=draws or None,
    )

  nothing = score(same, None)
  rows = [
    dict(given="nothing", nats_per_note=nothing.nats_per_note)
    | dict(levels=nothing.figures()["levels"])
  ]
  for name, given, change in CASES:
    found = score(change, given)
    gain = Comparison(found, nothing).figures()
    rows.append(
      dict(
        given=name,
        nats_per_note=found.nats_per_note,
        levels=found.figures()["levels"],
        against_nothing=gain,
      )
    )
  for row in rows:
    click.echo(json.dumps(row))


if __name__ == "__main__":
  main()
