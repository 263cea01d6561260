"""Latency of a live duet, measured over MIDI ports in real time.

    python -m tools.live.latency RECORDING.mid --minutes 5 --json figures.json

Plays a dense recording into the duet in simultaneous mode for some minutes (a
short one several times), then phrases of it with silence between, for the
replies. Where JACK is installed it starts a JACK server of its own without a
sound card; otherwise it uses the system's ports. Prints one table, the aim
beside the measured figure; the last line is JSON.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.limits import AMOUNT, COUNT_FROM_0, SEED
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score
from magenta_midi.testing.jack import JackServer, jack_missing
from tools.help_text import help_of

# A call, and the silence in which its reply begins and ends.
CALL_S, SILENCE_S = 5.0, 11.0


class Row(NamedTuple):
  """A line of the table.

  Attributes:
    name: What is measured.
    measured: How much; None: it never happened.
    limit: What was aimed at.
    least: Whether the limit is a lower one.
  """

  name: str
  measured: float | None
  limit: float
  least: bool = False

  @property
  def met(self) -> bool:
    """Whether it keeps the limit."""
    if self.measured is None:
      return False
    if self.least:
      return self.measured >= self.limit
    return self.measured <= self.limit


@contextlib.contextmanager
def ports() -> Iterator[str]:
  """A JACK server of our own, if there can be one; says which ports it is."""
  if jack_missing():
    yield "the system's ports"
    return
  with JackServer() as server:
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
      yield "JACK, dummy driver"
    finally:
      for name, value in before.items():
        if value is None:
          del os.environ[name]
        else:
          os.environ[name] = value


def filled(score: Score, seconds: float) -> Score:
  """A recording for so long, again and again if it is shorter."""
  pieces, at_s = score.crop(0.0, seconds), score.end_s + 1.0
  while at_s < seconds:
    again = score.crop(0.0, seconds - at_s).shifted(at_s)
    pieces = pieces.joined(again).merged()
    at_s += score.end_s + 1.0
  return pieces


def calls(score: Score, count: int) -> Score:
  """Phrases from all over a recording, a silence after each."""
  last_s = float(score.notes["onset_s"][-1]) if len(score) else 0.0
  starts = np.linspace(0, max(0.0, last_s - CALL_S), count)
  found = Score.empty()
  for index, start in enumerate(starts):
    phrase = score.crop(float(start), float(start) + CALL_S)
    # Nothing is held into the silence.
    fitting = phrase.notes.copy()
    fitting["duration_s"] = np.minimum(
      fitting["duration_s"], CALL_S - fitting["onset_s"]
    )
    phrase = Score.from_arrays(
      onset_s=fitting["onset_s"],
      duration_s=np.maximum(fitting["duration_s"], 0.01),
      key=fitting["key"],
      velocity=fitting["velocity"],
    )
    at_s = index * (CALL_S + SILENCE_S)
    found = found.joined(phrase.shifted(at_s)).merged()
  return found


def rows(together: dict[str, Any], replies: dict[str, Any]) -> list[Row]:
  """Both runs against what was aimed at."""
  bare = together["bare_loop_ms"]["p99"]
  late = 3.0 if bare is None else max(1.5 * bare, 3.0)
  return [
    Row("compute p50, ms", together["compute_ms"]["p50"], 10),
    Row("compute p99, ms", together["compute_ms"]["p99"], 30),
    Row("reaction p99, ms", together["reaction_ms"]["p99"], 50),
    Row("sent late p99, ms", together["jitter_ms"]["p99"], round(late, 3)),
    Row("in time (ISR)", together["isr"], 0.999, least=True),
    Row("reply planned p99, ms", replies["reply_ready_ms"]["p99"], 40),
    Row("reply's first note p99, ms", replies["first_note_ms"]["p99"], 40),
    *(
      Row(f"{name.replace('_', ' ')}, {mode}", facts[name], 0)
      for name in ("stuck_notes", "notes_dropped", "compiles_while_playing")
      for mode, facts in (("together", together), ("replies", replies))
    ),
  ]


def table(lines: list[Row]) -> str:
  """As Markdown."""
  shown = ["| figure | aimed at | measured | |", "|---|---|---|---|"]
  for row in lines:
    sign = "at least" if row.least else "at most"
    value = "none" if row.measured is None else f"{row.measured:g}"
    met = "yes" if row.met else "no"
    shown.append(f"| {row.name} | {sign} {row.limit:g} | {value} | {met} |")
  return "\n".join(shown)


def measure(
  score: Score,
  *,
  minutes: float,
  phrases: int,
  checkpoint: Path | None,
  seed: int,
) -> dict[str, Any]:
  """Both runs, and the table's rows."""
  # Late: the duet's processes import this file, and are to stay small.
  from magenta_midi.cli.replay_realtime import replay_wall
  from magenta_midi.live.recording.serialization import parse_controls

  runs: dict[str, dict[str, Any]] = {}
  backends = set()
  for mode, music in (
    ("simultaneous", filled(score, 60 * minutes)),
    ("call-response", calls(score, phrases)),
  ):
    # A server each: one that lost a client may deliver nothing to the next.
    with ports() as backend, tempfile.TemporaryDirectory() as folder:
      backends.add(backend)
      runs[mode] = replay_wall(
        music,
        parse_controls((), mode=mode),
        seed=seed,
        checkpoint=checkpoint,
        out=Path(folder) / f"{mode}.mid",
        digests={},
      )
  lines = rows(runs["simultaneous"], runs["call-response"])
  return {
    "ports": " and ".join(sorted(backends)),
    "cores": os.cpu_count(),
    "minutes": minutes,
    "figures": [{**row._asdict(), "met": row.met} for row in lines],
    "runs": runs,
  }


@click.command(help=help_of(__doc__))
@click.argument(
  "recording", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
  "--minutes",
  type=bounded(AMOUNT),
  default=5.0,
  show_default=True,
  help="Length of the simultaneous part.",
)
@click.option(
  "--phrases",
  type=bounded(COUNT_FROM_0),
  default=20,
  show_default=True,
  help="Number of phrases to reply to.",
)
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint [default: the embedded checkpoint].",
)
@click.option("--seed", type=bounded(SEED), default=0, show_default=True)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  recording: Path,
  minutes: float,
  phrases: int,
  checkpoint: Path | None,
  seed: int,
  file: Path | None,
) -> None:
  """Measures, and prints a table and one line of JSON."""
  with one_line_errors():
    report = measure(
      Score.from_file(recording).merged(),
      minutes=minutes,
      phrases=phrases,
      checkpoint=checkpoint,
      seed=seed,
    )
  lines = [
    Row(*(figure[name] for name in Row._fields)) for figure in report["figures"]
  ]
  click.echo(f"{report['ports']}, {report['cores']} cores\n{table(lines)}")
  if file is not None:
    write_atomically(file, json.dumps(report, indent=1) + "\n")
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
