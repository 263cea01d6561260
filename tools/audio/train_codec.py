"""Training of the piano codec, the embedded audio codec.

    python -m tools.audio.train_codec --data piano_rolls:0.6 --data pop909:0.4
        --minutes 60 --out runs/codec

Clips are rendered once, into OUT/clips: music of the corpora's training splits
(FOLDER.csv names them) and drawn notes, played by FluidSynth and by the
package's own piano. An interrupted rendering or training continues with the
same command. OUT/codec is the codec: copy it to magenta_midi/audio/codec/piano.
"""

import json
import signal
from pathlib import Path

import click
import numpy as np

from magenta_midi.audio.render import find_soundfont
from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.limits import COUNT, LEARNING_RATE, MINUTES, split_number
from magenta_midi.train.codec.clips import Clips, make_clips
from magenta_midi.train.codec.trainer import CodecTrainConfig, train_codec
from magenta_midi.train.machine import keep_memory
from tools.help_text import help_of

HELD_OUT = 16


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  multiple=True,
  required=True,
  metavar="FOLDER:SHARE",
  help="Corpus and its share of the clips; repeatable.",
)
@click.option(
  "--clips",
  type=bounded(COUNT),
  default=600,
  show_default=True,
  help="Clips of 10 s to render, 1 MB each.",
)
@click.option(
  "--minutes",
  type=bounded(MINUTES),
  default=60.0,
  show_default=True,
  help="Minutes of training.",
)
@click.option(
  "--learning-rate",
  type=bounded(LEARNING_RATE),
  default=1e-3,
  show_default=True,
  help="Peak of the learning rate.",
)
@click.option(
  "--batch",
  type=bounded(COUNT),
  default=6,
  show_default=True,
  help="Crops of 1.1 s a step.",
)
@click.option(
  "--out",
  type=click.Path(file_okay=False, path_type=Path),
  required=True,
  help="Folder of the run.",
)
@click.option(
  "--init-from",
  "start",
  type=click.Path(exists=True, file_okay=False, path_type=Path),
  help="Folder of an ended run that a new one starts from.",
)
@seed_option("Of the clips, the first weights and the crops.")
def main(
  data: tuple[str, ...],
  clips: int,
  minutes: float,
  learning_rate: float,
  batch: int,
  out: Path,
  start: Path | None,
  seed: int,
) -> None:
  """Renders clips and trains."""
  soundfont = find_soundfont()
  if soundfont is None:
    raise click.UsageError(
      "no soundfont was found. Install one (Debian: apt install fluidsynth"
      " fluid-soundfont-gm), or name it in MAGENTA_MIDI_SOUNDFONT."
    )
  corpora = [
    (Path(folder), float(1 if share is None else share))
    for folder, share in map(split_number, data)
  ]
  keep_memory()
  for split, count in (("train", clips), ("valid", 25)):
    make_clips(
      out / "clips" / split,
      corpora,
      soundfont,
      clips=count,
      split=split,
      seed=seed,
      on_shard=lambda done: print(f"{done} clips", flush=True),
    )
  config = CodecTrainConfig(
    minutes=minutes, learning_rate=learning_rate, batch=batch, seed=seed
  )
  rng = np.random.default_rng(seed)
  held_out = Clips(out / "clips" / "valid").crops(
    HELD_OUT, config.frames * 640, rng
  )
  stopped = []
  signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
  signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
  ended = train_codec(
    config,
    Clips(out / "clips" / "train"),
    held_out,
    out,
    start=start,
    on_progress=lambda facts: print(json.dumps(facts), flush=True),
    should_stop=lambda: bool(stopped),
  )
  print("ended" if ended else "stopped; the same command continues it")


if __name__ == "__main__":
  main()
