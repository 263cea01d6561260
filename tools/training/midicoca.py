"""Training of MidiCoCa, the embedded style model.

    python -m tools.training.midicoca --data rolls:0.5 --data pop:0.5
        --words words.safetensors --minutes 40 --out runs/midicoca

Corpora are those of `magenta-midi train`; what is known of a piece comes from
the list `FOLDER.csv` beside a folder (path, title, composer, tags), or from
its file name. The words' vectors are packed by
tools/assets/pack_words.py. The MIDI tower starts from a checkpoint's encoder.
An interrupted training continues with the same command. The style model loads
OUT/midicoca.
"""

import json
import signal
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.data.corpus import read_corpus
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.limits import AMOUNT, SEED
from magenta_midi.model.checkpoint import embedded_path, load_checkpoint
from magenta_midi.style.text.facts import read_facts
from magenta_midi.style.text.words import Words
from magenta_midi.tokens.codec import get_codec
from magenta_midi.train.machine import keep_memory
from magenta_midi.train.style.data import CocaStream, draw_windows
from magenta_midi.train.style.train_coca import CocaConfig, train_coca
from tools.help_text import help_of

CLIPS = 200


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="FOLDER:SHARE",
  help="Corpus and its share of the examples; repeatable.",
)
@click.option(
  "--words",
  "vectors",
  type=click.Path(exists=True, path_type=Path),
  help="Word vectors from tools.assets.pack_words.",
)
@click.option(
  "--minutes",
  type=bounded(AMOUNT),
  default=40.0,
  show_default=True,
  help="Minutes in which both towers train.",
)
@click.option(
  "--text-minutes",
  type=bounded(AMOUNT),
  default=8.0,
  show_default=True,
  help="Minutes after these in which only the text tower trains.",
)
@click.option(
  "--init-from",
  type=click.Path(exists=True, path_type=Path),
  help="Checkpoint whose encoder the MIDI tower starts from.",
)
@click.option(
  "--continue-from",
  type=click.Path(exists=True, path_type=Path),
  help="Folder of a MidiCoCa whose training is continued.",
)
@click.option(
  "--learning-rate", type=bounded(AMOUNT), default=0.01, show_default=True
)
@click.option("--seed", type=bounded(SEED), default=0, show_default=True)
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  required=True,
  help="Folder of the run.",
)
def main(
  data: tuple[str, ...],
  vectors: Path,
  minutes: float,
  text_minutes: float,
  init_from: Path | None,
  continue_from: Path | None,
  learning_rate: float,
  seed: int,
  out: Path,
) -> None:
  """Reads, trains, writes; prints a line of JSON every ten steps."""
  keep_memory()
  enable_compilation_cache()
  packed = load_file(vectors)
  words = Words(
    packed["words"].tobytes().decode().split("\n"), packed["vectors"]
  )
  corpora, facts, shares, held, held_facts = [], [], [], [], []
  for entry in data:
    name, _, share = entry.rpartition(":")
    folder = Path(name)
    found, bad = read_corpus(folder, ("train", "valid"))
    for path, reason in bad:
      click.echo(f"left out: {path}: {reason}", err=True)
    corpora.append(found["train"])
    facts.append(read_facts(folder, found["train"].names))
    held.append(found["valid"])
    held_facts.append(read_facts(folder, found["valid"].names))
    shares.append(float(share))
  codec = get_codec("note")
  stream = CocaStream(
    codec,
    corpora,
    shares,
    facts,
    words,
    # Wider than the base model's: loudness, register and pace are what words
    # name.
    Augmentation(
      transpose=(-5, 6),
      tempo=(0.8, 1.25),
      velocity_gain=(0.75, 1.25),
      velocity_shift=(-12.0, 12.0),
      short_context=0.0,
      empty_context=0.0,
    ),
    seed=seed,
  )
  windows = draw_windows(
    np.random.default_rng(1), codec, held, shares, held_facts, 2 * CLIPS
  )[:CLIPS]
  start, _ = load_checkpoint(init_from or embedded_path())
  stop = False

  def ask(number: int, frame: object) -> None:
    nonlocal stop
    stop = True

  signal.signal(signal.SIGINT, ask)
  signal.signal(signal.SIGTERM, ask)
  model = train_coca(
    CocaConfig(
      minutes=minutes,
      text_minutes=text_minutes,
      learning_rate=learning_rate,
      seed=seed,
    ),
    stream,
    windows,
    out,
    start=start,
    earlier=continue_from,
    on_progress=lambda found: click.echo(json.dumps(found)),
    should_stop=lambda: stop,
  )
  if model is not None:
    click.echo(json.dumps(model.facts))


if __name__ == "__main__":
  main()
