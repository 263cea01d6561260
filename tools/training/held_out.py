r"""Held-out figures of a checkpoint, as in the model card.

  python -m tools.training.held_out --data DIR [--data DIR ...] \
    [--checkpoint DIR] [--split test] [--json]

For each folder and all together: nats a note by level with a 95 % interval,
the same without context, and the nats of the training split's marginal
distribution of each level.
"""

import json
from pathlib import Path

import click
import numpy as np
import rich.console
import rich.table

from magenta_midi.api import MagentaMidi
from magenta_midi.data.corpus import Corpus, join_corpora, read_corpus
from magenta_midi.data.examples.examples import cut_examples
from magenta_midi.evaluation.evaluate import (
  CHUNK_STEPS,
  LEVEL_NAMES,
  Evaluation,
  evaluate,
  protocol_windows,
)
from magenta_midi.tokens.note.codec import PEDAL_DOWN
from tools.help_text import help_of

# Windows of each training corpus that the marginals are counted on.
MARGINAL_WINDOWS = 6000
FRAMES = 192

# Columns of nats: the levels of notes, pedal events, END.
COLUMNS = (*LEVEL_NAMES, "pedal", "end")


def _targets(codec, corpus: Corpus, windows: np.ndarray):
  """Codes, notes and ends of 2 s windows, in slices."""
  for start in range(0, len(windows), 256):
    part = windows[start : start + 256]
    batch, _ = cut_examples(
      codec,
      [corpus],
      part,
      context_frames=8,
      target_frames=FRAMES,
      target_steps=CHUNK_STEPS,
    )
    codes = codec.vocabulary.to_codes(batch.targets)
    codes = np.where(batch.weights, codes, -1)
    yield part, codes


def marginals(codec, corpora: list[Corpus]) -> list[np.ndarray]:
  """Counts of each level's codes in the training split, one added to each."""
  counts = [np.ones(size) for size in codec.vocabulary.level_sizes]
  for corpus in corpora:
    windows = protocol_windows(corpus, 0)
    chosen = np.linspace(
      0, len(windows) - 1, min(MARGINAL_WINDOWS, len(windows))
    ).astype(int)
    for _, codes in _targets(codec, corpus, windows[chosen]):
      for level, count in enumerate(counts):
        used = codes[..., level]
        count += np.bincount(used[used >= 0], minlength=len(count))
  return [count / count.sum() for count in counts]


def marginal_nats(
  codec, corpus: Corpus, probabilities: list[np.ndarray]
) -> Evaluation:
  """Nats of the marginals on a corpus, by the same protocol."""
  nats = np.zeros((len(corpus), len(COLUMNS)))
  notes = np.zeros(len(corpus), np.int64)
  windows = protocol_windows(corpus, 0)
  for part, codes in _targets(codec, corpus, windows):
    cost = [
      np.where(codes[..., i] >= 0, -np.log(p)[codes[..., i]], 0.0)
      for i, p in enumerate(probabilities)
    ]
    event = codes[..., 1] >= 0
    pedal = event & (codes[..., 1] >= PEDAL_DOWN)
    note = event & ~pedal
    end = (codes[..., 0] >= 0) & ~event
    columns = [(c * note).sum(axis=1) for c in cost]
    columns.append(((cost[0] + cost[1]) * pedal).sum(axis=1))
    columns.append((cost[0] * end).sum(axis=1))
    np.add.at(nats, part["piece"], np.stack(columns, axis=1))
    np.add.at(notes, part["piece"], note.sum(axis=1))
  seconds = np.bincount(windows["piece"], minlength=len(corpus)) * 2.0
  return Evaluation(nats, notes, seconds)


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
  "--json",
  "as_json",
  is_flag=True,
  help="Print one JSON object as the last line of stdout.",
)
def main(
  folders: tuple[Path, ...],
  checkpoint: Path | None,
  split: str,
  as_json: bool,
) -> None:
  """Prints the held-out figures of a checkpoint."""
  mm = MagentaMidi.load(checkpoint)
  codec = mm.codec
  read = [read_corpus(folder, ("train", split))[0] for folder in folders]
  probabilities = marginals(codec, [r["train"] for r in read])
  table = rich.table.Table("corpus", "what", "nats a note", "95 %", *COLUMNS)
  figures: dict = {}
  console = rich.console.Console()

  named = [(f.name, r[split]) for f, r in zip(folders, read, strict=True)]
  pooled = join_corpora([corpus for _, corpus in named])
  assert pooled is not None
  for name, corpus in [*named, ("all", pooled)]:
    found = {
      "model": evaluate(mm.generator.model, codec, corpus),
      "no context": evaluate(mm.generator.model, codec, corpus, context=False),
      "marginals": marginal_nats(codec, corpus, probabilities),
    }
    figures[name] = {what: e.figures() for what, e in found.items()}
    for what, values in figures[name].items():
      low, high = values["ci95"]
      parts = [values["levels"][level] for level in LEVEL_NAMES]
      parts += [values["pedal"], values["end"]]
      table.add_row(
        name,
        what,
        f"{values['nats_per_note']:.3f}",
        f"{low:.2f}-{high:.2f}",
        *(f"{part:.3f}" for part in parts),
      )
  console.print(table)
  if as_json:
    print(json.dumps(figures))


if __name__ == "__main__":
  main()
