"""Command `magenta-midi replay`: a recording played into the session."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from magenta_midi.cli.terminal.bounded_number import (
  bounded,
  scaled,
  seed_option,
)
from magenta_midi.cli.terminal.chart_options import (
  chart_options,
  comp_option,
  harmony_option,
  parse_chart,
)
from magenta_midi.cli.terminal.errors import (
  UserError,
  one_line_errors,
  writable,
)
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import (
  adapter_option,
  checkpoint_option,
  control_settings,
  groove_options,
  load_model,
  meter_option,
  read_music,
)
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  progress_bar,
  remark,
)
from magenta_midi.limits import PROMPT_WEIGHT, SESSION_S, TEMPO

__all__ = ["command"]


@click.command("replay")
@click.argument("recording", type=FilePath())
@click.option(
  "--mode",
  type=click.Choice(["call-response", "simultaneous", "listen"]),
  default="call-response",
  show_default=True,
  help="Who plays when.",
)
@seed_option("The same seed gives the same notes.")
@click.option(
  "--cost",
  type=FilePath(),
  help="Table of the duration of each job, JSON in ms [default: built in].",
)
@click.option(
  "--wall",
  is_flag=True,
  help="Play in real time over ports, and measure.",
)
@click.option(
  "--seconds",
  type=bounded(SESSION_S),
  help="Only the first seconds of the recording [default: all].",
)
@click.option(
  "--control",
  "settings",
  multiple=True,
  metavar="NAME=VALUE",
  callback=control_settings,
  help="A control, as density=0.5 or injection=harmonic; repeatable.",
)
@click.option(
  "--prompt",
  "prompts",
  multiple=True,
  metavar="TEXT[:WEIGHT]",
  callback=scaled(PROMPT_WEIGHT, "the weight"),
  help="Style, in words, or @NAME of an installed adapter; repeatable.",
)
@click.option(
  "--tempo",
  type=bounded(TEMPO),
  help="Beats a minute: the first note is the first beat [default: the tempo of"
  " the recording, where it has a clear beat].",
)
@meter_option("4/4", "4/4")
@groove_options
@chart_options
@comp_option
@harmony_option
@adapter_option
@checkpoint_option
@click.option(
  "--out",
  type=FilePath(),
  required=True,
  help="MIDI file to write, a track for each; the session is"
  " written beside it as .json.",
)
@json_option
def command(
  recording: Path,
  mode: str,
  seed: int,
  cost: Path | None,
  wall: bool,
  seconds: float | None,
  settings: tuple[str, ...],
  prompts: tuple[str, ...],
  tempo: float | None,
  meter: str,
  groove: str,
  tightness: float,
  free: bool,
  chords: str | None,
  chord_weight: float,
  comp: bool,
  harmony: str,
  adapters: tuple[str, ...],
  checkpoint: Path | None,
  out: Path,
  as_json: bool,
) -> None:
  """Plays RECORDING into the duet, or a session's JSON once more.

  Time is virtual: it advances by a table of costs, so two runs are identical
  and faster than real time. With --wall it is real, over real ports.
  """
  if recording.suffix == ".json":
    if adapters:
      raise UserError(
        "a session is played again with its adapters; leave --adapter out."
      )
    _again(recording, out, as_json)
    return
  chart = parse_chart(chords, meter)
  if comp and chart is None:
    raise UserError("--comp plays a chart: give --chords.")
  if comp and wall:
    raise UserError("--comp and --wall do not go together: try jam --comp.")
  music = read_music(recording, "replay")
  if seconds is not None:
    music = music.crop(0.0, seconds)
  writable(out)
  from magenta_midi.live.engine.adapter_choices import (
    adapter_choices,
    check_choices,
  )
  from magenta_midi.live.recording.serialization import parse_controls
  from magenta_midi.live.timing.chart_position import live_text

  text = ""
  if chart is not None:
    with one_line_errors():
      text = live_text(chart)
    tempo = tempo or (None if free else chart.bpm)
    source = click.get_current_context().get_parameter_source("meter")
    if source is ParameterSource.DEFAULT:
      meter = f"{chart.meter.count}/{chart.meter.unit}"
  controls = parse_controls(
    settings,
    prompts,
    adapters=adapter_choices(adapters),
    mode=mode,
    tempo=tempo or 0.0,
    groove=groove,
    tightness=tightness,
    free=free,
    chords=text,
    chord_weight=chord_weight,
    comp=comp,
    harmony=harmony,
  )
  digests = check_choices(controls.adapters, checkpoint)
  if wall:
    from magenta_midi.cli.replay_realtime import replay_wall

    report = replay_wall(
      music,
      controls,
      seed=seed,
      meter=meter,
      checkpoint=checkpoint,
      out=out,
      digests=digests,
    )
    if as_json:
      print_json(report)
    else:
      remark(_summary(out, report))
    return
  from magenta_midi.live.engine.compile_counter import CompilationCounter
  from magenta_midi.live.engine.settings import EngineSettings
  from magenta_midi.live.engine.style_control import Steering
  from magenta_midi.live.engine.timekeeper import Timekeeper
  from magenta_midi.live.recording.costs import CostTable
  from magenta_midi.live.recording.score_messages import duet_score, messages_of
  from magenta_midi.live.recording.serialization import (
    make_comp,
    make_engine,
    make_performer,
    session_json,
  )
  from magenta_midi.live.recording.session_bars import session_bars
  from magenta_midi.live.recording.virtual_clock import Replay
  from magenta_midi.midi.atomic import write_atomically
  from magenta_midi.midi.meter import Meter
  from magenta_midi.model.lora.player_grooves import player_grooves

  costs = CostTable.load(cost)
  mm = load_model(checkpoint)
  engine = make_engine(
    mm, controls, settings=EngineSettings(seed=seed, meter=meter)
  )
  steering = Steering(mm)
  messages = messages_of(music)
  with progress_bar() as progress:
    task = progress.add_task("compiling", total=None, note="")
    engine.warm_up()
    remarks = (steering.warm_up(), steering.set_controls(controls, 0))
    total = messages[-1].time_ns / 1e9 + 20 if messages else 20.0
    progress.update(task, description="replaying", total=total)
    counter = CompilationCounter()
    timekeeper = Timekeeper(controls, Meter.parse(meter))
    replay = Replay(
      engine,
      make_performer(),
      costs,
      steering,
      timekeeper,
      make_comp(controls),
    )
    replay.take_groove(player_grooves())
    with counter:
      result = replay.run(
        messages,
        on_progress=lambda at: progress.update(task, completed=at),
      )
  for note in filter(None, remarks):
    remark(f"note: {note}")
  score = duet_score(result.received, result.sent, result.comp)
  end_ns = round(result.seconds * 1e9)
  charts = [(0, text)]
  bars = session_bars(result.bars, charts, end_ns, Meter.parse(meter))
  score.to_file(out, bars=bars)
  facts: dict[str, Any] = {
    "mode": mode,
    "seed": seed,
    **result.report,
    "seconds": round(result.seconds, 3),
    "compiles_while_playing": counter.count,
    "horizon_ms": engine.settings.horizon_ns / 1e6,
    "cost": {"source": costs.source, "ms": costs.to_json()},
    "checkpoint": mm.checkpoint,
    "adapters": digests,
  }
  session = session_json(
    checkpoint=mm.checkpoint,
    sha256=mm.config.get("sha256"),
    settings=engine.settings,
    controls=controls,
    adapters=digests,
    trace=result.trace,
    decisions=result.log,
    report=facts,
  )
  session["bars"] = {
    "counted": [
      [since_ns, counted.bpm, counted.beats_per_bar, counted.start_ns]
      for since_ns, counted in result.bars
    ],
    "end_ns": end_ns,
  }
  write_atomically(
    out.with_suffix(".json"), (json.dumps(session) + "\n").encode()
  )
  if as_json:
    print_json(facts)
  else:
    remark(_summary(out, facts))


def _summary(out: Path, facts: dict[str, Any]) -> str:
  parts = [
    f"{out}: {facts['notes_in']} notes in, {facts['notes_out']} out",
    f"{facts['seconds']:.0f} s, {facts['mode']}",
  ]
  if facts["compute_ms"]["p50"] is not None:
    reaction = facts["reaction_ms"]
    source = "by the cost table" if "cost" in facts else "measured"
    parts.append(
      f"reaction {reaction['p50']:.0f} ms (99 %: {reaction['p99']:.0f}),"
      f" {source}"
    )
  if facts["stuck_notes"]:
    parts.append(f"{facts['stuck_notes']} stuck")
  return "; ".join(parts)


def _again(session: Path, out: Path, as_json: bool) -> None:
  """Plays the calls of a session again; the notes are the same."""
  from magenta_midi.live.recording.serialization import (
    load_session,
    play_session_again,
    stored_bars,
  )

  stored = load_session(session)
  writable(out)
  checkpoint = stored["checkpoint"]["path"]
  mm = load_model(None if checkpoint == "embedded" else Path(checkpoint))
  score, facts = play_session_again(mm, stored)
  score.to_file(out, bars=stored_bars(stored))
  if as_json:
    print_json(facts)
  else:
    remark(f"{out}: {facts['notes_out']} notes, as in the session")
