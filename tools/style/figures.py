"""MidiCoCa's understanding of words: retrieval, attributes, speed.

    python -m tools.style.figures --data rolls --data pop --json figures.json

On pieces held out of training (split `test` of each folder's list): is a
clip's own caption, or a caption's own clip, among the nearest 1, 5 and 10 of
200; of two opposite captions that training never saw (`held_out` in
style/text/phrases.json), is the right one nearer; how far a text that means
nothing lies from neutral; what each level of tokens keeps; how long it takes.
"""

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.data.corpus import read_corpus
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.quantizer import level_cosines
from magenta_midi.style.text.captions import ATTRIBUTES, nonsense, pairs
from magenta_midi.style.text.facts import read_facts
from magenta_midi.tokens.codec import get_codec
from magenta_midi.train.style.data import Window, draw_windows
from magenta_midi.train.style.recall import embed_windows, recall
from tools.help_text import help_of

DRAWS = 1000
SCORED = ("speed", "loudness", "density", "register", "mode")


def interval(values: np.ndarray, rng: np.random.Generator) -> list[float]:
  """95 % of the means of draws with repetition."""
  rows = rng.integers(0, len(values), (DRAWS, len(values)))
  means = values[rows].mean(axis=1)
  return [round(float(x), 4) for x in np.percentile(means, [2.5, 97.5])]


def attribute_accuracy(
  model: MidiCoCa, windows: list[Window], name: str, *, held_out: bool
) -> dict[str, Any]:
  """Share of clear clips that lie nearer to the right one of two captions."""
  measure, low, high = ATTRIBUTES[name]
  values = np.array([measure(w.description) for w in windows])
  clear = np.flatnonzero((values <= low) | (values >= high))
  is_high = values[clear] >= high
  music = embed_windows(model, [windows[row] for row in clear])
  right = []
  for pair in pairs(name, held_out):
    texts = model.embed_texts(pair)
    nearer_high = (music @ texts[1]) > (music @ texts[0])
    right.append(nearer_high == is_high)
  table = np.array(right, float)
  # Low and high count the same, however many clips are so.
  by_clip = table.mean(axis=0)
  balanced = (by_clip[is_high].mean() + by_clip[~is_high].mean()) / 2
  worst = int(table.mean(axis=1).argmin())
  return {
    "accuracy": round(float(balanced), 4),
    "ci95": interval(by_clip, np.random.default_rng(0)),
    "clips": len(clear),
    "pairs": len(table),
    "worst": [list(pairs(name, held_out)[worst]), float(table[worst].mean())],
  }


def times(model: MidiCoCa, windows: list[Window]) -> dict[str, float]:
  """Milliseconds for a text and for 10 s of music, medians."""
  model.warm_up()
  report = {}
  for name, run in (
    ("text_ms", lambda i: model.embed_texts([f"slow waltz {i}"])),
    ("midi_ms", lambda i: embed_windows(model, [windows[i % len(windows)]])),
  ):
    taken = []
    for i in range(50):
      start = time.perf_counter()
      run(i)
      taken.append(1000 * (time.perf_counter() - start))
    report[name] = round(float(np.median(taken)), 2)
  return report


def measure(
  model: MidiCoCa, data: tuple[Path, ...], clips: int, split: str
) -> dict[str, Any]:
  """Everything, as JSON."""
  corpora, facts, seen = [], [], set()
  for folder in data:
    found, _ = read_corpus(folder, (split, "train"))
    seen |= {f.composer for f in read_facts(folder, found["train"].names)}
    if len(found[split]):
      corpora.append(found[split])
      facts.append(read_facts(folder, found[split].names))
  shares = [1.0] * len(corpora)
  rng = np.random.default_rng(0)
  codec = get_codec("note")
  windows = draw_windows(rng, codec, corpora, shares, facts, 6 * clips)
  unseen = [
    w for w in windows if w.facts.composer and w.facts.composer not in seen
  ]
  report: dict[str, Any] = {
    "recall": recall(model, windows[:clips]),
    "recall_chance": {f"@{n}": n / clips for n in (1, 5, 10)},
    "windows": len(windows),
  }
  if len(unseen) >= 20:
    count = min(clips, len(unseen))
    report["recall_unseen_composers"] = recall(model, unseen[:count])
    report["unseen_clips"] = count
  report["attributes"] = {
    name: {
      "held_out": attribute_accuracy(model, windows, name, held_out=True),
      "trained": attribute_accuracy(model, windows, name, held_out=False),
    }
    for name in SCORED
  }
  nothing = model.embed_texts([nonsense(rng) for _ in range(200)])
  said = [
    text for name in SCORED for pair in pairs(name, True) for text in pair
  ]
  report["neutral_cosine"] = {
    "nonsense": _quantiles(nothing @ model.neutral),
    "held_out_captions": _quantiles(model.embed_texts(said) @ model.neutral),
    "threshold": model.neutral_cosine,
  }
  music = embed_windows(model, windows[:500])
  report["cosine_by_level"] = [
    round(x, 4) for x in level_cosines(model.quantizer, music)
  ]
  report["times"] = times(model, windows[:50])
  return report


def _quantiles(values: np.ndarray) -> dict[str, float]:
  found = np.percentile(values, [5, 50, 95])
  return {
    f"p{share}": round(float(x), 3)
    for share, x in zip((5, 50, 95), found, strict=True)
  }


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  multiple=True,
  required=True,
  help="Folder with DIR.csv beside it; repeatable.",
  type=click.Path(exists=True, path_type=Path),
)
@click.option(
  "--model",
  type=click.Path(exists=True, path_type=Path),
  help="Folder of a MidiCoCa [default: the embedded one].",
)
@click.option(
  "--clips",
  type=bounded(COUNT_FROM_0),
  default=200,
  show_default=True,
  help="Number of clips to rank.",
)
@click.option(
  "--split", default="test", show_default=True, help="Which pieces."
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  data: tuple[Path, ...],
  model: Path | None,
  clips: int,
  split: str,
  file: Path | None,
) -> None:
  """Measures; the last line is JSON."""
  enable_compilation_cache()
  with one_line_errors():
    loaded = MidiCoCa.load(model) if model else MidiCoCa.embedded()
    report = measure(loaded, data, clips, split)
  if file is not None:
    write_atomically(file, json.dumps(report, indent=1) + "\n")
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
