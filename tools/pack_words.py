"""Packs word vectors for MidiCoCa's text tower.

    python tools/pack_words.py VECTORS.txt --out words.safetensors

VECTORS.txt has a word and its numbers a line, the most frequent first, as
GloVe's files do (the embedded model uses the 100 dimensions trained on 6
billion words). Keeps the most frequent words and, of the rest, those whose
vectors lie nearest to words of music; rows become int8.
"""

from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save_file

# What the rest is measured by: the language of scores and programme notes.
MUSIC = (
  "piano",
  "pianist",
  "music",
  "melody",
  "chord",
  "harmony",
  "rhythm",
  "tempo",
  "nocturne",
  "waltz",
  "mazurka",
  "sonata",
  "etude",
  "prelude",
  "fugue",
  "ragtime",
  "blues",
  "jazz",
  "swing",
  "ballad",
  "lullaby",
  "adagio",
  "allegro",
  "andante",
  "presto",
  "largo",
  "legato",
  "staccato",
  "arpeggio",
  "forte",
  "pianissimo",
  "crescendo",
  "cantabile",
  "rubato",
  "chopin",
  "liszt",
  "beethoven",
  "debussy",
  "mozart",
  "schumann",
  "brahms",
  "rachmaninoff",
  "bach",
  "joplin",
  "tatum",
  "lyrical",
  "mournful",
  "melancholy",
  "serene",
  "frantic",
  "delicate",
  "dreamy",
  "virtuosic",
)


@click.command()
@click.argument("vectors", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--frequent", default=36_000, show_default=True)
@click.option("--musical", default=6_000, show_default=True)
def main(vectors: Path, out: Path, frequent: int, musical: int) -> None:
  """Reads, chooses, writes."""
  words, rows = [], []
  with open(vectors, encoding="utf-8") as file:
    for line in file:
      word, *numbers = line.rstrip().split(" ")
      if word.isascii() and word.replace("'", "").isalnum():
        words.append(word)
        rows.append(np.array(numbers, np.float32))
  table = np.stack(rows)
  index = {word: row for row, word in enumerate(words)}
  length = np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-6)
  alike = (table / length) @ np.stack(
    [table[index[word]] / length[index[word]] for word in MUSIC]
  ).T
  # Near several of them, not one alone.
  nearness = np.sort(alike, axis=1)[:, -4:].mean(axis=1)
  rest = frequent + np.argsort(-nearness[frequent:])[:musical]
  kept = np.append(np.arange(frequent), np.sort(rest))
  scale = np.abs(table[kept]).max(axis=1, keepdims=True)
  packed = np.rint(table[kept] / scale * 127).astype(np.int8)
  chosen = "\n".join(words[row] for row in kept)
  arrays = {"vectors": packed, "words": np.frombuffer(chosen.encode(), "u1")}
  save_file(arrays, out)
  click.echo(f"{len(kept)} words, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
  main()
