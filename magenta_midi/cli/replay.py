"""Command `magenta-midi replay`: a recording played into the session."""

import json
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.options import (
  adapter_option,
  checkpoint_option,
  load_model,
  read_music,
)
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

__all__ = ["command"]


@click.command("replay")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
  "--mode",
  type=click.Choice(["call-response", "simultaneous", "listen"]),
  default="call-response",
  show_default=True,
  help="Who plays when.",
)
@click.option(
  "--seed",
  type=int,
  default=0,
  show_default=True,
  help="The same seed gives the same notes.",
)
@click.option(
  "--cost",
  type=click.Path(path_type=Path),
  help="Table of the duration of each job, JSON in ms [default: built in].",
)
@click.option(
  "--wall",
  is_flag=True,
  help="Play in real time over ports, and measure.",
)
@click.option(
  "--seconds",
  type=float,
  help="Only the first seconds of the recording [default: all].",
)
@click.option(
  "--control",
  "settings",
  multiple=True,
  metavar="NAME=VALUE",
  help="A control, as density=0.5 or injection=harmonic; repeatable.",
)
@click.option(
  "--prompt",
  "prompts",
  multiple=True,
  metavar="TEXT[:WEIGHT]",
  help="Style, in words, or @NAME of an installed adapter; repeatable.",
)
@adapter_option
@checkpoint_option
@click.option(
  "--out",
  type=click.Path(path_type=Path),
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
  music = read_music(recording, "replay")
  if seconds is not None:
    if not seconds > 0:
      raise UserError(f"--seconds must be above 0, got {seconds:g}.")
    music = music.crop(0.0, seconds)
  writable(out)
  from magenta_midi.live.engine.adapter_choices import (
    adapter_choices,
    check_choices,
  )
  from magenta_midi.live.recording.serialization import parse_controls

  controls = parse_controls(
    settings, prompts, adapters=adapter_choices(adapters), mode=mode
  )
  digests = check_choices(controls.adapters, checkpoint)
  if wall:
    from magenta_midi.cli.replay_realtime import replay_wall

    report = replay_wall(
      music,
      controls,
      seed=seed,
      checkpoint=checkpoint,
      out=out,
      digests=digests,
    )
    if as_json:
      print_json(report)
    else:
      console().print(_summary(out, report), soft_wrap=True)
    return
  from magenta_midi.live.engine.compile_counter import CompilationCounter
  from magenta_midi.live.engine.style_control import Steering
  from magenta_midi.live.recording.costs import CostTable
  from magenta_midi.live.recording.score_messages import duet_score, messages_of
  from magenta_midi.live.recording.serialization import (
    make_engine,
    make_performer,
    session_json,
  )
  from magenta_midi.live.recording.virtual_clock import Replay
  from magenta_midi.midi.atomic import write_atomically

  costs = CostTable.load(cost)
  mm = load_model(checkpoint)
  engine = make_engine(mm, controls, seed=seed)
  steering = Steering(mm)
  messages = messages_of(music)
  with progress_bar() as progress:
    task = progress.add_task("compiling", total=None, note="")
    engine.warm_up()
    remarks = (steering.warm_up(), steering.set_controls(controls, 0))
    total = messages[-1].time_ns / 1e9 + 20 if messages else 20.0
    progress.update(task, description="replaying", total=total)
    counter = CompilationCounter()
    replay = Replay(engine, make_performer(), costs, steering)
    with counter:
      result = replay.run(
        messages,
        on_progress=lambda at: progress.update(task, completed=at),
      )
  for remark in filter(None, remarks):
    console().print(f"note: {remark}", soft_wrap=True, markup=False)
  score = duet_score(result.received, result.sent)
  score.to_file(out)
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
  write_atomically(
    out.with_suffix(".json"), (json.dumps(session) + "\n").encode()
  )
  if as_json:
    print_json(facts)
  else:
    console().print(_summary(out, facts), soft_wrap=True)


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
  )

  stored = load_session(session)
  writable(out)
  checkpoint = stored["checkpoint"]["path"]
  mm = load_model(None if checkpoint == "embedded" else Path(checkpoint))
  score, facts = play_session_again(mm, stored)
  score.to_file(out)
  if as_json:
    print_json(facts)
  else:
    console().print(
      f"{out}: {facts['notes_out']} notes, as in the session", soft_wrap=True
    )
