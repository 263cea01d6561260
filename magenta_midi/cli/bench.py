"""`magenta-midi bench`: speed against real time and the hardware's limit."""

from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import checkpoint_option, load_model
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  print_line,
)
from magenta_midi.limits import EVENTS, GUIDANCE

__all__ = ["command"]


@click.command("bench")
@click.option(
  "--config",
  "config_name",
  metavar="NAME",
  help="Measure a model of this shape with random weights: tiny, small, base,"
  " magenta_rt_base, magenta_rt_large, or v1-59m, the shape at which Magenta"
  " RealTime's own code was timed [default: the checkpoint].",
)
@click.option(
  "--guidance",
  type=bounded(GUIDANCE),
  default=0.0,
  show_default=True,
  help="Guidance; if not 0, a second row without style is decoded too.",
)
@click.option(
  "--events",
  type=bounded(EVENTS),
  default=25,
  show_default=True,
  help="Events generated in each chunk of 2 s; 25 is typical, 82 the 99.9th"
  " percentile.",
)
@click.option(
  "--plot",
  type=FilePath(),
  help="Also write a plot of the time of each stage beside the hardware's limit"
  " (PNG).",
)
@checkpoint_option
@json_option
def command(
  config_name: str | None,
  guidance: float,
  events: int,
  plot: Path | None,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Measure encoder, events and real-time factor on this machine.

  `roofline_fraction` is the shortest time for a chunk that the measured
  bandwidth and throughput of this machine allow, divided by the time it takes.
  """
  if config_name is not None and checkpoint is not None:
    raise UserError(
      "--checkpoint and --config exclude each other: a shape has random"
      " weights. Give one of them."
    )
  from magenta_midi.magenta_rt.bench_tokens import TOKEN_SHAPES
  from magenta_midi.model.config import PRESETS

  names = list(dict.fromkeys([*PRESETS, *TOKEN_SHAPES]))
  if config_name is not None and config_name not in names:
    raise UserError(
      f"unknown --config {config_name!r}. Choose one of {', '.join(names)}."
    )
  if config_name in TOKEN_SHAPES:
    _refuse_given("events", "guidance", shape=config_name)
  if plot is not None:
    writable(plot)
  with console().status("measuring"):
    if config_name in TOKEN_SHAPES:
      facts = _token_shape(config_name, stages=plot is not None)
    else:
      facts = _music(
        config_name, checkpoint, events, guidance, stages=plot is not None
      )
  for line in _lines(facts):
    print_line(line)
  if plot is not None:
    from magenta_midi.generate.bench.plots import plot_stages

    plot_stages(facts, plot)
    print_line(f"wrote {plot}")
  if as_json:
    print_json(facts)


def _refuse_given(*names: str, shape: str) -> None:
  """Refuses options of music where a shape of audio tokens is measured."""
  context = click.get_current_context()
  for name in names:
    source = context.get_parameter_source(name)
    if source is not click.core.ParameterSource.DEFAULT:
      raise UserError(
        f"--{name} does not apply to --config {shape}, which decodes whole"
        f" chunks with guidance. Leave out --{name}."
      )


def _token_shape(name: str, *, stages: bool) -> dict[str, Any]:
  from magenta_midi.magenta_rt.bench_tokens import TOKEN_SHAPES, bench_tokens

  return dict(config=name, **bench_tokens(TOKEN_SHAPES[name], stages=stages))


def _music(
  name: str | None,
  checkpoint: Path | None,
  events: int,
  guidance: float,
  *,
  stages: bool,
) -> dict[str, Any]:
  from magenta_midi.cli.phrases import phrase_path
  from magenta_midi.generate.bench.bench import bench
  from magenta_midi.midi.score import Score

  if name is None:
    generator = load_model(checkpoint).generator
  else:
    generator = _random_model(name)
  if not 2 <= events <= generator.chunk_frames:
    raise UserError(
      f"--events must be in 2..{generator.chunk_frames}, got {events}."
    )
  state = generator.init_state(Score.from_file(phrase_path()))
  facts = bench(
    generator, state, events=events, guidance=guidance, stages=stages
  )
  return dict(config=name or "checkpoint", **facts)


def _lines(facts: dict[str, Any]) -> list[str]:
  """Summary for a reader, one statement a line."""
  what = f"{facts['events']} events" if "events" in facts else "a chunk"
  lines = [
    f"{facts['rtf']:.1f} times real time at {what} each 2 s; encoder"
    f" {facts['encoder_ms']:.1f} ms, first note"
    f" {facts['first_note_ms']['p50']:.1f} ms (99 %:"
    f" {facts['first_note_ms']['p99']:.1f}), then"
    f" {facts['event_ms']['p50']:.2f} ms an event on {facts['device']}",
    f"{facts['roofline_fraction']:.0%} of what this machine allows at"
    f" {facts['bandwidth_gb_per_s']:.0f} GB/s and"
    f" {facts['throughput_gflop_per_s']:.0f} GFLOP/s; at most"
    f" {facts['peak_memory_mb']:.0f} MB of memory",
  ]
  if "guided_event_ms" in facts:
    lines.append(
      f"with guidance {facts['guided_event_ms']:.2f} ms an event"
      f" ({facts['guidance_cost']:.2f} times)"
    )
  if "sliced" in facts:
    lines.append(
      f"{facts['chunk_ms']['p50'] / 1000:.2f} s a chunk with guidance;"
      f" {facts['sliced']['chunk_ms']['p50'] / 1000:.2f} s with the head cut"
      " to the current level"
    )
  if "times_faster" in facts:
    lines.append(
      f"{facts['times_faster']:.1f} times faster than Magenta RealTime's own"
      f" code on 2 cores of a Xeon ({facts['original_chunk_s']:.2f} s)"
    )
  return lines


def _random_model(name: str):
  from flax import nnx

  from magenta_midi.generate.generator import Generator
  from magenta_midi.model.config import preset
  from magenta_midi.model.depthformer import Depthformer
  from magenta_midi.tokens.note.codec import NoteCodec
  from magenta_midi.tokens.vocabulary import RESERVED

  codec = NoteCodec()
  config = preset(
    name, level_sizes=codec.vocabulary.level_sizes, reserved=RESERVED
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return Generator(model, codec)
