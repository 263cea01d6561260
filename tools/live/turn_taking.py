"""Ends of phrases: false starts against waiting time.

  python -m tools.live.turn_taking DIR [--solos 20] [--plot curve.png]

Plays solos into `TurnTaking` and counts every decision that a phrase has
ended. It is a false start if the player continues within 0.5 s. The wait is
measured where the player does stop: before gaps of at least 2.5 s without a key
or the pedal, and at the end. It counts from the last sound (note-off or
pedal-up), and also from the last note-on.

Three rules: ours over a sweep of its quantile and base; a time-out from the
last note-off or pedal-up; and a time-out from the last note-on, which ignores
held keys and the pedal. The folder must hold solos with nobody answering.
"""

import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import (
  UserError,
  one_line_errors,
  writable,
)
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  progress_bar,
)
from magenta_midi.limits import COUNT
from magenta_midi.live.engine.turns import TurnSettings, TurnTaking
from magenta_midi.live.player import Keyboard
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.midi.figures import save_figure
from magenta_midi.midi.score_files import SUFFIXES, MidiFileError, read_score
from magenta_midi.plain_text import drawable
from tools.help_text import help_of

FALSE_START_NS = SECOND // 2
LONG_GAP_NS = 5 * SECOND // 2
FIXED_S = (0.5, 0.7, 1.0, 1.2, 1.5, 2.0)
# Quantile, base in seconds.
SWEEP = (
  (0.9, 0.3),
  (0.95, 0.3),
  (0.98, 0.4),
  (0.99, 0.4),
  (0.99, 0.5),
  (0.995, 0.5),
  (1.0, 0.5),
  (1.0, 0.7),
  (1.0, 1.0),
)


class Decision(NamedTuple):
  """A phrase was taken to be over.

  Attributes:
    time_ns: Then.
    silent_ns: Since the last sound.
    since_onset_ns: Since the last note struck.
  """

  time_ns: int
  silent_ns: int
  since_onset_ns: int


class Outcome(NamedTuple):
  """Outcome of a rule in one solo."""

  minutes: float
  false_starts: int
  waits_s: list[float]
  waits_from_onset_s: list[float]


Rule = Callable[[list[Message]], list[Decision]]


def ours(settings: TurnSettings) -> Rule:
  """Our rule with some settings."""

  def decide(messages: list[Message]) -> list[Decision]:
    keyboard = Keyboard()
    turns = TurnTaking(keyboard, settings)
    decisions: list[Decision] = []
    last_onset_ns = 0

    def tick_before(time_ns: int | None) -> None:
      deadline_ns = turns.next_deadline_ns()
      if deadline_ns is None or (time_ns is not None and time_ns < deadline_ns):
        return
      if turns.tick(deadline_ns) is not None:
        silent_ns = keyboard.silent_since_ns or last_onset_ns
        decisions.append(
          Decision(
            deadline_ns, deadline_ns - silent_ns, deadline_ns - last_onset_ns
          )
        )

    for message in messages:
      tick_before(message.time_ns)
      turns.handle(keyboard.receive(message))
      if is_note_on(message.data):
        last_onset_ns = message.time_ns
    tick_before(None)
    return decisions

  return decide


def fixed(wait_s: float, *, from_onset: bool) -> Rule:
  """A time-out from the last sound, or from the last note struck."""
  wait_ns = round(wait_s * SECOND)

  def decide(messages: list[Message]) -> list[Decision]:
    keyboard = Keyboard()
    decisions: list[Decision] = []
    last_onset_ns: int | None = None

    def check(time_ns: float) -> None:
      since_ns = last_onset_ns if from_onset else keyboard.silent_since_ns
      if last_onset_ns is None or since_ns is None:
        return
      at_ns = since_ns + wait_ns
      # Once in each silence.
      if at_ns <= time_ns and (not decisions or decisions[-1][0] < since_ns):
        silent_ns = keyboard.silent_since_ns or at_ns
        decisions.append(
          Decision(at_ns, max(0, at_ns - silent_ns), at_ns - last_onset_ns)
        )

    for message in messages:
      check(message.time_ns)
      keyboard.receive(message)
      if is_note_on(message.data):
        last_onset_ns = message.time_ns
    check(math.inf)
    return decisions

  return decide


def outcome(rule: Rule, messages: list[Message]) -> Outcome:
  """Judges a rule's decisions in a solo."""
  onsets = [m.time_ns for m in messages if is_note_on(m.data)]
  decisions = rule(messages)
  false_starts = 0
  waits: list[float] = []
  from_onset: list[float] = []
  following = iter(onsets)
  onset_ns = next(following, None)
  for decision in decisions:
    while onset_ns is not None and onset_ns < decision.time_ns:
      onset_ns = next(following, None)
    silent_from_ns = decision.time_ns - decision.silent_ns
    if onset_ns is not None:
      if onset_ns - decision.time_ns <= FALSE_START_NS:
        false_starts += 1
      if onset_ns - silent_from_ns < LONG_GAP_NS:
        continue
    waits.append(decision.silent_ns / SECOND)
    from_onset.append(decision.since_onset_ns / SECOND)
  minutes = (onsets[-1] - onsets[0]) / SECOND / 60
  return Outcome(minutes, false_starts, waits, from_onset)


def figures(rule: Rule, solos: list[list[Message]]) -> dict[str, Any]:
  """A rule over all solos."""
  outcomes = [outcome(rule, messages) for messages in solos]
  minutes = sum(o.minutes for o in outcomes)
  false_starts = sum(o.false_starts for o in outcomes)
  waits = [wait for o in outcomes for wait in o.waits_s]
  from_onset = [wait for o in outcomes for wait in o.waits_from_onset_s]
  return {
    "false_starts": false_starts,
    "false_starts_per_min": false_starts / minutes,
    "median_wait_s": statistics.median(waits) if waits else None,
    "median_wait_from_onset_s": (
      statistics.median(from_onset) if from_onset else None
    ),
    "waits": len(waits),
    "minutes": minutes,
  }


def curves(
  solos: list[list[Message]], on_rule: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
  """All rules, each with its figures."""
  rules: list[tuple[str, str, Rule]] = [
    (
      "adaptive",
      f"quantile {quantile:g}, base {base_s:g} s",
      ours(TurnSettings(quantile=quantile, base_s=base_s, shortest_s=0.3)),
    )
    for quantile, base_s in SWEEP
  ]
  rules.append(("adaptive", "default", ours(TurnSettings())))
  for name, from_onset in (("time-out", False), ("from onset", True)):
    rules += [
      (name, f"{wait_s:g} s", fixed(wait_s, from_onset=from_onset))
      for wait_s in FIXED_S
    ]
  rows = []
  for name, setting, rule in rules:
    rows.append({"rule": name, "setting": setting, **figures(rule, solos)})
    on_rule()
  return rows


def table(rows: list[dict[str, Any]]) -> str:
  """The figures as a Markdown table."""
  lines = [
    "| rule | setting | false starts | a minute | median wait, s"
    " | from last onset, s |",
    "|---|---|---|---|---|---|",
  ]
  for row in rows:
    waits = [row["median_wait_s"], row["median_wait_from_onset_s"]]
    shown = ["-" if wait is None else f"{wait:.2f}" for wait in waits]
    lines.append(
      f"| {row['rule']} | {row['setting']} | {row['false_starts']}"
      f" | {row['false_starts_per_min']:.3f} | {shown[0]} | {shown[1]} |"
    )
  return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
  """Draws the curves as a PNG."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 5), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  for name, style in (
    ("adaptive", "o-"),
    ("time-out", "s--"),
    ("from onset", "^:"),
  ):
    # Each rule from where it counts itself.
    wait = "median_wait_s"
    if name == "from onset":
      wait = "median_wait_from_onset_s"
    points = [
      (row[wait], row["false_starts_per_min"])
      for row in rows
      if row["rule"] == name and row["setting"] != "default"
    ]
    axes.plot(*zip(*sorted(points), strict=True), style, label=drawable(name))
  default = next(row for row in rows if row["setting"] == "default")
  axes.plot(
    default["median_wait_s"],
    default["false_starts_per_min"],
    "k*",
    ms=12,
    label="default",
  )
  axes.set(
    xlabel="median wait, s, from the last sound or the last note struck",
    ylabel="false starts a minute",
    title=f"Turn-taking, {default['minutes']:.0f} minutes of solos",
  )
  axes.set_yscale("symlog", linthresh=0.1)
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  save_figure(figure, path)


def read_solos(folder: Path, count: int) -> list[list[Message]]:
  """Solos spread evenly over a folder, by name.

  Raises:
    UserError: There is none.
  """
  paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
  if not paths:
    raise UserError(f"{folder}: expected MIDI files, found none.")
  count = min(count, len(paths))
  step = (len(paths) - 1) / max(count - 1, 1)
  solos = []
  for path in [paths[round(i * step)] for i in range(count)]:
    try:
      score = read_score(path)
    except MidiFileError as error:
      raise UserError(str(error)) from None
    if len(score) > 1:
      solos.append(messages_of(score))
  return solos


@click.command(
  help=help_of(__doc__),
  context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
  "--solos",
  "count",
  type=bounded(COUNT),
  default=20,
  show_default=True,
  help="How many, spread evenly over the folder.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="PNG to write.")
@json_option
def command(folder: Path, count: int, plot: Path | None, as_json: bool) -> None:
  """False starts a minute against the median wait, over solos in FOLDER."""
  if plot is not None:
    writable(plot)
  solos = read_solos(folder, count)
  with progress_bar() as bar:
    task = bar.add_task("Listening", total=len(SWEEP) + 13, note="")
    rows = curves(solos, lambda: bar.advance(task))
  click.echo(table(rows))
  if plot is not None:
    draw(rows, plot)
  if as_json:
    print_json({"solos": len(solos), "rules": rows})


def main() -> None:
  """Runs the tool; a user's mistake is one line and exit 2."""
  try:
    with one_line_errors():
      command.main(standalone_mode=False)
  except click.ClickException as error:
    click.echo(f"turn_taking_curve: {error.format_message()}", err=True)
    sys.exit(2)
  except (click.Abort, KeyboardInterrupt):
    sys.exit(130)


if __name__ == "__main__":
  main()
