"""`magenta-midi generate`: a continuation of a MIDI file, or new music."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.gin.options import GinDefaultsCommand, run_as_module
from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.cli.terminal.chart_options import (
  chart_options,
  chart_words,
  comp_option,
  parse_chart,
)
from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import (
  adapter_option,
  checkpoint_option,
  control_options,
  embed_items,
  groove_options,
  load_model,
  meter_option,
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
  print_line,
  progress_bar,
  remark,
)
from magenta_midi.limits import COUNT_IN, GUIDANCE, SECONDS, START_BEAT, TEMPO

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi
  from magenta_midi.generate.onset_prior import OnsetPrior
  from magenta_midi.midi.bar_map import BarMap

__all__ = ["command"]


@click.command("generate", cls=GinDefaultsCommand)
@click.option(
  "--seconds",
  type=bounded(SECONDS),
  required=True,
  help="Length of the music to generate, seconds.",
)
@click.option(
  "--prompt",
  "prompts",
  multiple=True,
  metavar="TEXT|FILE[:WEIGHT]",
  help="Style: a text in English, Korean, Japanese, Chinese, Spanish, German or"
  " French, a MIDI or audio file, or @NAME for the player of an installed"
  " adapter. Repeatable; weights are relative (default 1). A text that says"
  " nothing of music steers nothing.",
)
@click.option(
  "--context",
  type=FilePath(),
  help="MIDI file to continue, or audio file, which is transcribed [default:"
  " start from silence].",
)
@seed_option("Random seed. The same seed gives the same music.")
@control_options
@sampling_options
@click.option(
  "--guidance",
  type=bounded(GUIDANCE),
  help="Strength of style and controls (classifier-free guidance); 0: off"
  " [default: 1.5 with a text or file, 0.75 with only players or controls].",
)
@click.option(
  "--tempo",
  type=bounded(TEMPO),
  help="Play in time, at so many beats a minute [default: the pulse of the"
  " context goes on, where it has a clear one].",
)
@meter_option(None, "that of the chart, else 4/4")
@click.option(
  "--start-beat",
  type=bounded(START_BEAT),
  metavar="N",
  help="The beat of the bar, from 1, on which the music begins; 2.5 is half way"
  " from the second to the third. Needs --tempo [default: the context's beat"
  " goes on].",
)
@groove_options
@chart_options
@comp_option
@click.option(
  "--count-in",
  type=bounded(COUNT_IN),
  default=0,
  show_default=True,
  metavar="BARS",
  help="Begin with so many bars of clicks, in the WAV and on channel 10 of the"
  " MIDI file. Needs a beat; 0: none.",
)
@adapter_option
@checkpoint_option
@click.option(
  "--out",
  type=FilePath(),
  required=True,
  help="MIDI file to write: the context, and the generated music on a track of"
  " its own.",
)
@click.option("--wav", type=FilePath(), help="Also write sound (WAV).")
@click.option(
  "--plot",
  type=FilePath(),
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
  tempo: float | None,
  meter: str | None,
  start_beat: float | None,
  groove: str,
  tightness: float,
  free: bool,
  chords: str | None,
  chord_weight: float,
  comp: bool,
  count_in: int,
  adapters: tuple[str, ...],
  checkpoint: Path | None,
  out: Path,
  wav: Path | None,
  plot: Path | None,
  as_json: bool,
) -> None:
  """Continue a MIDI file, or play from silence."""
  for path in (out, wav, plot):
    if path is not None:
      writable(path)
  given = read_music(context, "--context") if context else None
  items = style_items(prompts)
  controls = parse_controls(density, loudness, register, pedal)
  given_sampling = parse_sampling(
    temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
  )

  if free and tempo is not None:
    raise UserError("give either --tempo or --free, not both.")
  if start_beat is not None and tempo is None:
    raise UserError("--start-beat counts beats of a --tempo: give one.")

  if start_beat is not None and chords is not None:
    raise UserError("a chart begins with its first beat: no --start-beat.")
  if comp and chords is None:
    raise UserError("--comp plays a chart: give --chords.")
  if count_in and free and chords is None:
    raise UserError("--count-in counts beats, and --free keeps none.")
  chart = parse_chart(chords, meter)

  import numpy as np

  from magenta_midi.generate.chart_start import priors_after
  from magenta_midi.generate.file_bars import file_bars
  from magenta_midi.generate.onset_prior import prior_after
  from magenta_midi.generate.priors import Priors
  from magenta_midi.midi.continuation import context_then_music
  from magenta_midi.midi.harmony.comp_part import comp_part
  from magenta_midi.midi.harmony.comping import BASE_VELOCITY
  from magenta_midi.midi.meter import Meter
  from magenta_midi.midi.score import Score

  started = time.perf_counter()
  with console().status("loading the model"):
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
      # What is left may stand there with a weight of 0 only.
      if any(weight for _, weight in items):
        style = embed_items(mm.style_model, items, names)
      # Words and files stay what they are; a player is a vector by now.
      players_alone = all(isinstance(item, np.ndarray) for item, _ in items)
    if style is None and controls is None:
      # Nothing is asked for.
      guidance = 0.0
    if guidance is None:
      guidance = mm.guidance_for(style, controls, players_alone=players_alone)
    mm.generator.warm_up(guided=guidance != 0)
    first_note_ms = _first_note_ms(
      mm, given, seed, style, controls, sampling, guidance
    )
    before = Score.empty() if given is None else given
    written_meter = Meter() if meter is None else Meter.parse(meter)
    if chart is not None:
      written_meter = chart.meter
    priors = Priors()
    if chart is not None:
      priors = priors_after(
        before,
        chart,
        bpm=tempo,
        groove=groove,
        tightness=0.0 if free else tightness,
        weight=chord_weight,
      )
      remarks.append(f"over {chart_words(chart)}, at weight {chord_weight:g}.")
    elif not free:
      beat = prior_after(
        before,
        bpm=tempo,
        groove=groove,
        tightness=tightness,
        meter=written_meter,
        start_beat=start_beat,
      )
      priors = Priors(onset=beat)
    prior = priors.onset
    if prior is not None:
      remarks.append(_pulse(prior))
    if count_in and priors == Priors():
      raise UserError(
        "--count-in needs a beat, and the context has no clear pulse: give a"
        " --tempo."
      )
  ready_s = time.perf_counter() - started
  for line in remarks:
    remark(line)
  for note in _notes(mm, bool(prompts), controls):
    remark(f"note: {note}")
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
      priors=priors,
      on_chunk=show,
    )
  wall_s = time.perf_counter() - started
  score = context_then_music(given, music, first.now_s, "magenta_midi")
  if comp and chart is not None and priors.key and priors.key.grid:
    played = [*before.notes["velocity"], *music.notes["velocity"]]
    beside = comp_part(
      chart,
      priors.key.grid,
      first.now_s + seconds,
      velocity=float(np.mean(played)) if played else BASE_VELOCITY,
    )
    score = score.joined(beside)
  written = file_bars(
    before,
    priors,
    first.now_s + seconds,
    meter=written_meter,
    chart=chart,
    count_in=count_in,
  )
  until_s = first.now_s if given else None
  if written is not None and written.later_s:
    score = score.shifted(written.later_s)
    until_s = written.later_s + first.now_s
  _write(score, out, wav, plot, until_s, written and written.bars)

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
    tempo=None if prior is None else prior.grid.bpm,
    groove=None if prior is None else prior.groove.name,
    tempo_confidence=None if prior is None else prior.confidence,
    chart_bars=None if chart is None else len(chart.bars),
    chord_weight=None if chart is None else chord_weight,
  )
  wrote = ", ".join(str(path) for path in (out, wav, plot) if path)
  print_line(
    f"{facts['notes']} notes in {seconds:g} s of music"
    f" ({facts['rtf']:.0f} times real time, first note after"
    f" {first_note_ms:.0f} ms) on {facts['device']}"
  )
  print_line(f"wrote {wrote}")
  if as_json:
    print_json(facts)


def _pulse(prior: "OnsetPrior") -> str:
  """A remark on the beat that is kept."""
  what = f"{prior.grid.bpm:.0f} beats a minute, {prior.groove.name}"
  if prior.confidence is None:
    return f"in time: {what}."
  return (
    f"in time with the context: {what} (confidence"
    f" {prior.confidence:.2f}). --free keeps no beat."
  )


def _notes(mm: "MagentaMidi", prompted: bool, controls: Any) -> Iterator[str]:
  """Remarks on style and controls that have no or little effect."""
  if prompted and not mm.uses_style:
    yield (
      "this checkpoint was trained without style; --prompt does not change"
      " its music."
    )
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
  bars: "BarMap | None",
) -> None:
  """Writes the MIDI file, then the other requested files."""
  score.to_file(out, bars=bars)
  if wav is not None:
    from magenta_midi.audio.render import render

    render(score, wav, clicks=() if bars is None else bars.clicks)
  if plot is not None:
    from magenta_midi.midi.piano_roll import plot_piano_roll

    plot_piano_roll(score, plot, given_until_s=given_until_s)


if __name__ == "__main__":
  run_as_module("generate")
