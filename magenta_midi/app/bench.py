"""`magenta-midi bench`: speed here, as ratios to real time and hardware."""

from pathlib import Path

import click

from magenta_midi.app.errors import UserError
from magenta_midi.app.options import checkpoint_option, load_model
from magenta_midi.app.output import console, json_option, print_json

__all__ = ["command"]


@click.command("bench")
@click.option(
  "--config",
  "config_name",
  help="Measure a preset with random weights instead: tiny, small or base.",
)
@click.option(
  "--guidance",
  type=float,
  default=0.0,
  show_default=True,
  help="Not 0: a second row without style is decoded along.",
)
@click.option(
  "--events",
  type=int,
  default=25,
  show_default=True,
  help="Events forced in each 2 s (25: typical; 82: the 99.9th percentile).",
)
@checkpoint_option
@json_option
def command(
  config_name: str | None,
  guidance: float,
  events: int,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Measure encoder, events and real-time factor on this machine."""
  from magenta_midi.generate.streaming import CHUNK_FRAMES

  if not 2 <= events <= CHUNK_FRAMES:
    raise UserError(f"--events must be in 2..{CHUNK_FRAMES}, got {events}.")
  from magenta_midi.app.phrases import phrase_path
  from magenta_midi.generate.bench import bench
  from magenta_midi.midi.score import Score

  with console().status("measuring"):
    if config_name is None:
      generator = load_model(checkpoint).generator
    else:
      generator = _random_model(config_name)
    state = generator.init_state(Score.from_file(phrase_path()))
    facts = bench(generator, state, events=events, guidance=guidance)
  click.echo(
    f"{facts['rtf']:.1f} times real time at {events} events each 2 s;"
    f" encoder {facts['encoder_ms']:.1f} ms, first note"
    f" {facts['first_note_ms']['p50']:.1f} ms, then"
    f" {facts['event_ms']['p50']:.2f} ms an event"
    f" ({facts['roofline_fraction']:.0%} of what the memory allows)"
    f" on {facts['device']}"
  )
  if as_json:
    print_json(facts)


def _random_model(name: str):
  from flax import nnx

  from magenta_midi.generate.streaming import Generator
  from magenta_midi.model.config import preset
  from magenta_midi.model.depthformer import Depthformer
  from magenta_midi.tokens.note import NoteCodec
  from magenta_midi.tokens.vocabulary import RESERVED

  codec = NoteCodec()
  config = preset(
    name, level_sizes=codec.vocabulary.level_sizes, reserved=RESERVED
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return Generator(model, codec)
