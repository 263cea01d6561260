"""Word vectors of MidiCoCa's text tower, packed.

    python -m tools.assets.pack_words VECTORS.txt --out words.safetensors

Each line of VECTORS.txt has a word and its numbers, the most frequent first, as
in GloVe's files (the embedded model uses the 100 dimensions trained on 6
billion words). Keeps the most frequent words, those that captions are made of
in training and, of the rest, those whose vectors lie nearest to these and to
words of music; rows become int8.
"""

from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.style.text.phrases import load_phrases
from magenta_midi.style.text.words import split_words
from tools.help_text import help_of

# Reference for the rest: the language of scores and program notes.
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


def caption_words() -> list[str]:
  """Words of training captions for levels and moods, none held out."""
  phrases = load_phrases()
  texts = [
    text
    for levels in phrases.attributes.values()
    for level in levels.values()
    for kind in (level.adjectives, level.phrases, level.extreme, level.more)
    for text in kind
  ]
  texts += [text for mood in phrases.moods for text in mood.adjectives]
  said = {word for text in texts for word in split_words(text)}
  return sorted(said - phrases.held_out_words)


@click.command(help=help_of(__doc__))
@click.argument("vectors", type=click.Path(exists=True, path_type=Path))
@click.option(
  "--out", type=click.Path(path_type=Path), required=True, help="File to write."
)
@click.option(
  "--frequent",
  type=bounded(COUNT_FROM_0),
  default=18_000,
  show_default=True,
  help="Number of most frequent words to keep.",
)
@click.option(
  "--musical",
  type=bounded(COUNT_FROM_0),
  default=20_000,
  show_default=True,
  help="Number of words near to words of music to keep.",
)
@click.option(
  "--rarest",
  type=bounded(COUNT_FROM_0),
  default=90_000,
  show_default=True,
  help="Words beyond this place are not kept: their vectors are noise.",
)
def main(
  vectors: Path, out: Path, frequent: int, musical: int, rarest: int
) -> None:
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
  asked = [word for word in (*MUSIC, *caption_words()) if word in index]
  anchors = [index[word] for word in dict.fromkeys(asked)]
  alike = (table / length) @ (table[anchors] / length[anchors]).T
  # Near several of them, not one alone.
  nearness = np.partition(alike, -4, axis=1)[:, -4:].mean(axis=1)
  nearness[rarest:] = -np.inf
  nearness[anchors] = np.inf
  rest = frequent + np.argsort(-nearness[frequent:])[:musical]
  kept = np.append(np.arange(frequent), np.sort(rest))
  scale = np.abs(table[kept]).max(axis=1, keepdims=True)
  packed = np.rint(table[kept] / scale * 127).astype(np.int8)
  chosen = "\n".join(words[row] for row in kept)
  arrays = {"vectors": packed, "words": np.frombuffer(chosen.encode(), "u1")}
  write_atomically(out, save(arrays))
  click.echo(f"{len(kept)} words, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
  main()
