"""`magenta-midi generate`: a continuation of a MIDI file, or new music."""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.gin.options import GinDefaultsCommand, run_as_module
from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.options import (
  NOTHING_SAID,
  adapter_option,
  checkpoint_option,
  control_options,
  embed_items,
  load_model,
  parse_controls,
  parse_sampling,
  players_named,
  read_music,
  sampling_options,
  style_items,
)
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi

__all__ = ["command"]

# Longer than any session: a typing error must not fill the disk.
MAX_DURATION_S = 24 * 3600


@click.command("generate", cls=GinDefaultsCommand)
@click.option(
  "--seconds",
  type=float,
  required=True,
  help="Length of the music to generate, seconds.",
)
@click.option(
  "--prompt",
  "prompts",
  multiple=True,
  metavar="TEXT|FILE[:WEIGHT]",
  help="Style: a text, a MIDI file, or @NAME for the player of an installed"
  " adapter. Repeatable; weights are relative (default 1).",
)
@click.option(
  "--context",
  type=click.Path(path_type=Path),
  help="MIDI file to continue [default: start from silence].",
)
@click.option(
  "--seed",
  type=int,
  default=0,
  show_default=True,
  help="Random seed. The same seed gives the same music.",
)
@control_options
@sampling_options
@click.option(
  "--guidance",
  type=float,
  help="Strength of style and controls (classifier-free guidance); 0: off"
  " [default: 1.5 with a text or file, 0.75 with only players or controls].",
)
@adapter_option
@checkpoint_option
@click.option(
  "--out",
  type=click.Path(path_type=Path),
  required=True,
  help="MIDI file to write: the context, and the generated music on a track of"
  " its own.",
)
@click.option(
  "--wav", type=click.Path(path_type=Path), help="Also write sound (WAV)."
)
@click.option(
  "--plot",
  type=click.Path(path_type=Path),
  help="Also write a piano roll (PNG).",
)
@json_option
def command(
  seconds: float,
  prompts: tuple[str, ...],
  context: Path | None,
  seed: int,
  temperature: str | None,
  top_k: str | None,
  top_p: str | None,
  min_p: str | None,
  guidance: float | None,
  density: float | None,
  loudness: float | None,
  register: str | None,
  pedal: float | None,
  adapters: tuple[str, ...],
  checkpoint: Path | None,
  out: Path,
  wav: Path | None,
  plot: Path | None,
  as_json: bool,
) -> None:
  """Continue a MIDI file, or play from silence."""
  if not 0 < seconds <= MAX_DURATION_S:
    raise UserError(
      f"--seconds must be above 0 and at most {MAX_DURATION_S}, got"
      f" {seconds:g}."
    )
  if not 0 <= seed < 2**31:
    raise UserError(f"--seed must be in 0..2147483647, got {seed}.")
  for path in (out, wav, plot):
    if path is not None:
      writable(path)
  given = read_music(context, "--context") if context else None
  items = style_items(prompts)
  controls = parse_controls(density, loudness, register, pedal)
  if guidance is not None and not math.isfinite(guidance):
    raise UserError(f"--guidance must be a finite number, got {guidance}.")
  given_sampling = parse_sampling(
    temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
  )

  import numpy as np

  from magenta_midi.midi.continuation import context_then_music

  log = console()
  started = time.perf_counter()
  with log.status("loading the model"):
    mm = load_model(checkpoint, adapters)
    sampling = dataclasses.replace(mm.default_sampling, **given_sampling)
    remarks: list[str] = []
    style, players_alone = None, False
    if items:
      parts = players_named(mm.style_model, items, remarks.append)
      names = [
        name for name, own in zip(prompts, parts, strict=True) for _ in own
      ]
      items = list(itertools.chain.from_iterable(parts))
      style = embed_items(mm.style_model, items, names)
      # Words and files stay what they are; a player is a vector by now.
      players_alone = all(isinstance(item, np.ndarray) for item, _ in items)
    if guidance is None:
      guidance = mm.guidance_for(style, controls, players_alone=players_alone)
    mm.generator.warm_up(guided=guidance != 0)
    first_note_ms = _first_note_ms(
      mm, given, seed, style, controls, sampling, guidance
    )
  ready_s = time.perf_counter() - started
  for line in remarks:
    log.print(line, soft_wrap=True, markup=False)
  for note in _notes(mm, items, controls):
    log.print(f"note: {note}", soft_wrap=True)
  chunks: list[Any] = []
  started = time.perf_counter()
  with progress_bar() as bar:
    task = bar.add_task("playing", total=seconds, note="")

    def show(chunk: Any) -> None:
      chunks.append(chunk)
      bar.update(task, completed=len(chunks) * chunk.seconds)

    music, first = mm.generate(
      seconds,
      context=given,
      style=style,
      controls=controls,
      seed=seed,
      sampling=sampling,
      guidance=guidance,
      on_chunk=show,
    )
  wall_s = time.perf_counter() - started
  score = context_then_music(given, music, first.now_s, "magenta_midi")
  _write(score, out, wav, plot, first.now_s if given else None)

  import jax

  facts = dict(
    notes=len(music),
    seconds=seconds,
    rtf=seconds / wall_s,
    first_note_ms=first_note_ms,
    chunks=len(chunks),
    checkpoint=mm.checkpoint,
    adapters=dict(mm.adapters),
    device=jax.devices()[0].device_kind,
    ready_s=ready_s,
    guidance=guidance,
  )
  wrote = ", ".join(str(path) for path in (out, wav, plot) if path)
  click.echo(
    f"{facts['notes']} notes in {seconds:g} s of music"
    f" ({facts['rtf']:.0f} times real time, first note after"
    f" {first_note_ms:.0f} ms) on {facts['device']}"
  )
  click.echo(f"wrote {wrote}")
  if as_json:
    print_json(facts)


def _notes(
  mm: "MagentaMidi", items: list[tuple[Any, float]], controls: Any
) -> Iterator[str]:
  """Remarks on style and controls that have no or little effect."""
  from magenta_midi.style.model import means_nothing

  if items and not mm.uses_style:
    yield (
      "this checkpoint was trained without style; --prompt does not change"
      " its music."
    )
  for item, _ in items:
    if isinstance(item, str) and means_nothing(
      mm.style_model, mm.embed_style(item)
    ):
      yield f"--prompt {item[:60]!r} {NOTHING_SAID}"
  if controls is not None and not mm.uses_controls:
    only = "; of them only --register holds" if controls.register else ""
    yield f"this checkpoint was trained without controls{only}."


def _first_note_ms(
  mm: "MagentaMidi",
  given: Any,
  seed: int,
  style: Any,
  controls: Any,
  sampling: Any,
  guidance: float,
) -> float:
  """Time from the end of the context to the first event known, ms."""
  import numpy as np

  state = mm.init_state(given)
  started = time.perf_counter()
  asked = mm.request_settings(style, controls, sampling, guidance)
  request = mm.generator.request(state, seed=seed, **asked, limit=1, forced=1)
  np.asarray(mm.generator.decode(request, guided=guidance != 0).codes)
  return (time.perf_counter() - started) * 1000


def _write(
  score: Any,
  out: Path,
  wav: Path | None,
  plot: Path | None,
  given_until_s: float | None,
) -> None:
  """Writes the MIDI file, then the other requested files."""
  score.to_file(out)
  if wav is not None:
    from magenta_midi.audio.render import render

    render(score, wav)
  if plot is not None:
    from magenta_midi.midi.piano_roll import plot_piano_roll

    plot_piano_roll(score, plot, given_until_s=given_until_s)


if __name__ == "__main__":
  run_as_module("generate")
