r"""Listening of a checkpoint: its loss with and without the other part.

  python -m tools.music.listening --data DIR [--data DIR ...] \
    [--checkpoint DIR] [--split test] [--windows N] [--json]

Each piece is split into two parts; one is scored. A track named melody against
the rest, the upper hand against the lower, turns. The same notes are scored
with the other part known after 0-150 ms and without it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import rich.console
import rich.table

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.corpus import join_corpora, read_corpus
from magenta_midi.data.examples.partners import MODES, PARTS
from magenta_midi.evaluation.evaluate import LEVEL_NAMES, Players, evaluate
from magenta_midi.limits import COUNT_FROM_0
from tools.help_text import help_of

DELAYS_MS = (0, 20, 50, 100, 150)


def cases(modes: list[str], knows_partners: bool) -> Iterator[Players]:
  """Compared cases: each split both ways, by delay and without other part."""
  for mode in modes:
    for swapped in (False, True):
      if knows_partners:
        for delay_ms in DELAYS_MS:
          yield Players(mode=mode, swapped=swapped, delay_ms=delay_ms)
      yield Players(mode=mode, swapped=swapped, other_part=False)


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  "folders",
  multiple=True,
  required=True,
  type=click.Path(path_type=Path, exists=True),
  help="Folder with DIR.csv beside it; repeatable.",
)
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint [default: the embedded checkpoint].",
)
@click.option(
  "--split", default="test", show_default=True, help="Which pieces."
)
@click.option(
  "--mode",
  "modes",
  multiple=True,
  type=click.Choice(MODES[1:]),
  default=MODES[1:],
  help="How pieces are split; repeatable [default: all].",
)
@click.option(
  "--windows",
  type=bounded(COUNT_FROM_0),
  help="Number of windows of 2 s to score, evenly spread [default: all].",
)
@click.option(
  "--json",
  "as_json",
  is_flag=True,
  help="Print one JSON object as the last line of stdout.",
)
def main(
  folders: tuple[Path, ...],
  checkpoint: Path | None,
  split: str,
  modes: tuple[str, ...],
  windows: int | None,
  as_json: bool,
) -> None:
  """Prints nats a note with and without the other part."""
  mm = MagentaMidi.load(checkpoint)
  model = mm.generator.model
  read = [read_corpus(folder, (split,))[0][split] for folder in folders]
  corpus = join_corpora([found for found in read if len(found)])
  assert corpus is not None
  table = rich.table.Table(
    "self", "partner", "nats a note", "95 %", *LEVEL_NAMES, "pedal", "end"
  )
  figures = []
  sides = dict(
    tracks=("melody", "rest"), hands=("upper", "lower"), turns=("one", "other")
  )
  for players in cases(list(modes), model.config.parts >= PARTS):
    found = evaluate(
      model, mm.codec, corpus, windows=windows, players=players
    ).figures()
    side = sides[players.mode][players.swapped]
    partner = f"{players.delay_ms} ms late" if players.other_part else "none"
    figures.append(
      dict(
        mode=players.mode,
        self=side,
        delay_ms=players.delay_ms if players.other_part else None,
        **found,
      )
    )
    low, high = found["ci95"]
    parts = [found["levels"][level] for level in LEVEL_NAMES]
    table.add_row(
      f"{players.mode}: {side}",
      partner,
      f"{found['nats_per_note']:.3f}",
      f"{low:.2f}-{high:.2f}",
      *(f"{part:.3f}" for part in (*parts, found["pedal"], found["end"])),
    )
  rich.console.Console().print(table)
  if as_json:
    print(json.dumps(figures))


if __name__ == "__main__":
  main()
