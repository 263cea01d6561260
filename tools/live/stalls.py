"""Does a live session halt JACK, beside a machine that is busy?

    python -m tools.live.stalls --starts 200 --minutes 30 --load 4

Starts the ports of a session again and again over a JACK server without a sound
card: each start looks for the ports, opens them in a process of their own, a
player connects and plays, the model's side holds a note, and all is closed.
Then plays a whole session for some minutes, and leaves a server to clients of
JACK's own for some. Meanwhile other processes keep the machine busy, and one
more watches whether the server goes through its cycles: it stands still if
there is none for 0.25 s. Beside a busy machine all clients may need so long; a
client that JACK gave up costs 5 s. Needs jackd and its example clients. Prints
one table; the last line is JSON.
"""

import contextlib
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.limits import AMOUNT, COUNT_FROM_0
from magenta_midi.live.processes.port_process import PortConfig, run_ports
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import (
  COMMAND_BYTES,
  MESSAGE_BYTES,
  SOUNDED_BYTES,
  pack_plan,
)
from magenta_midi.live.protocol.events import PlannedNote, is_note_on
from magenta_midi.live.protocol.messages import (
  REQUEST_BYTES,
  TEXT_BYTES,
  PortsFailed,
  PortsReady,
  Quit,
  decode,
  encode,
)
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.messages import note_off, note_on
from tools.help_text import help_of

# What needs JAX is imported late: the processes import this file too, and are
# to stay small.
if TYPE_CHECKING:
  from magenta_midi.live.session_events import SessionEvent

# No cycle for so long: the server stands still. A machine that is busy lets it
# wait for some hundredths of a second.
STILL_S = 0.25
LOOK_S = 0.02
# The server's words as it no longer waits for a client of its graph, after 5 s:
# one that was killed, or that does not wake up.
GIVEN_UP = b"SuspendRefNum error"
CLIENTS = 4
READY_S = 60.0
# The model's note of a start; it is held when all is closed.
HELD_S = 20.0
_RINGS = {
  "to_model": MESSAGE_BYTES,
  "feedback": SOUNDED_BYTES,
  "commands": COMMAND_BYTES,
  "received": MESSAGE_BYTES,
  "sent": MESSAGE_BYTES,
  "control": MESSAGE_BYTES,
  "port_reports": TEXT_BYTES,
  "port_requests": REQUEST_BYTES,
}


def watch(ready: Connection) -> None:
  """Notes when the server stands still; a process's main function.

  Args:
    ready: Is told once it watches; a message back ends it, and it sends the
      time of each stall's begin and its length, both s.
  """
  # Alone in its process, and outside JACK's graph.
  from magenta_midi.live.io.jack_client import JackClient

  client = JackClient("magenta-midi-stalls")
  stalls: list[tuple[float, float]] = []
  ready.send("watching")
  while not ready.poll():
    began = time.monotonic()
    if not client.runs(STILL_S):
      while not client.runs(STILL_S) and not client.server_ended:
        pass
      stalls.append((began, time.monotonic() - began))
    time.sleep(LOOK_S)
  ready.send(stalls)
  client.close()


class Stalls(NamedTuple):
  """Stalls of one server.

  Attributes:
    times: Begin of each and its length, s.
    given_up: How often the server no longer waited for a client.
  """

  times: list[tuple[float, float]]
  given_up: int


class Watched:
  """A server in this process's environment, and its stalls; a context manager.

  Attributes:
    server: The server.
    stalls: What was found; empty until the end.
  """

  def __init__(self) -> None:
    from magenta_midi.testing.jack import JackServer

    self.stalls = Stalls([], 0)
    self._stack = contextlib.ExitStack()
    with contextlib.ExitStack() as stack:
      folder = stack.enter_context(tempfile.TemporaryDirectory())
      self._log = Path(folder) / "jackd.log"
      self.server = stack.enter_context(JackServer(log=self._log))
      stack.enter_context(variables(self.server.environment))
      context = multiprocessing.get_context("spawn")
      self._watch, there = context.Pipe()
      process = context.Process(target=watch, args=(there,), daemon=True)
      process.start()
      stack.callback(process.join)
      there.close()
      self._watch.recv()
      self._stack = stack.pop_all()

  def __enter__(self) -> "Watched":
    return self

  def __exit__(self, *unused: object) -> None:
    with self._stack:
      self._watch.send("end")
      times = self._watch.recv()
      self.stalls = Stalls(times, self._log.read_bytes().count(GIVEN_UP))


@contextlib.contextmanager
def variables(wanted: dict[str, str]) -> Iterator[None]:
  """Sets variables of the environment meanwhile."""
  before = {name: os.environ.get(name) for name in wanted}
  os.environ.update(wanted)
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


@contextlib.contextmanager
def busy(load: int) -> Iterator[None]:
  """So many processes that compute, and do nothing else."""
  code = "while True: sum(range(100000))"
  others = [
    subprocess.Popen([sys.executable, "-I", "-c", code]) for _ in range(load)
  ]
  try:
    yield
  finally:
    for process in others:
      process.kill()
      process.wait()


class Start:
  """The ports' process of a session, and both ends of its rings."""

  def __init__(self, config: PortConfig):
    self.rings = {
      name: Ring.create(1024, size) for name, size in _RINGS.items()
    }
    names = {name: ring.name for name, ring in self.rings.items()}
    self._process = multiprocessing.get_context("spawn").Process(
      target=run_ports, args=(config, names), daemon=True
    )
    self._process.start()

  def wait_until_ready(self) -> None:
    """Waits for both ports.

    Raises:
      RuntimeError: They cannot be opened.
      TimeoutError: They do not come.
    """
    from magenta_midi.testing.port_player import wait_until

    reports: list[Any] = []

    def told() -> bool:
      reports.extend(map(decode, self.rings["port_reports"].drain()))
      return any(isinstance(r, PortsReady | PortsFailed) for r in reports)

    wait_until(told, READY_S)
    for report in reports:
      if isinstance(report, PortsFailed):
        raise RuntimeError(report.problem)

  def plan(self, note: PlannedNote) -> None:
    """The model's plan: one note, in the time of `perf_counter_ns`."""
    record = pack_plan(note.time_ns, [note], [], "react")
    self.rings["commands"].put(record)

  def close(self) -> float:
    """Ends it as a session does; seconds until it has ended."""
    began = time.monotonic()
    self.rings["port_requests"].put(encode(Quit()))
    self._process.join(15.0)
    if self._process.is_alive():
      self._process.kill()
      self._process.join()
    for ring in self.rings.values():
      ring.close()
      ring.unlink()
    return time.monotonic() - began


def start_once() -> dict[str, Any]:
  """One start: seconds until it was ready and to its end, stuck notes."""
  from magenta_midi.live.session_settings import PortSettings, find_ports
  from magenta_midi.testing.port_player import PortPlayer, wait_until

  facts: dict[str, Any] = dict(ready_s=None, end_s=None, stuck=0, problem=None)
  with contextlib.closing(PortPlayer()) as player:
    began = time.monotonic()
    config = find_ports(PortSettings(), metronome=False)
    start = Start(config)
    try:
      start.wait_until_ready()
      facts["ready_s"] = time.monotonic() - began
      player.connect()
      player.play(4, 0.1)
      wait_until(lambda: start.rings["received"].drain())
      now_ns = time.perf_counter_ns()
      start.plan(PlannedNote(1, now_ns, round(HELD_S * 1e9), 60, 70))
      wait_until(lambda: player.onsets)
    except (RuntimeError, TimeoutError) as error:
      facts["problem"] = str(error)
    facts["end_s"] = start.close()
    player.rest(0.3)
    facts["stuck"] = len(player.sounding)
  return facts


def starts(count: int) -> dict[str, Any]:
  """Starts the ports so often, all at one server."""
  runs: list[dict[str, Any]] = []
  with (
    Watched() as watched,
    click.progressbar(range(count), file=sys.stderr) as bar,
  ):
    for _ in bar:
      runs.append(start_once())
  ready = [run["ready_s"] for run in runs if run["ready_s"] is not None]
  return {
    "starts": count,
    "ready_s": spread(ready),
    "end_s": spread([run["end_s"] for run in runs]),
    "failed": [run["problem"] for run in runs if run["problem"]],
    "stuck_notes": sum(run["stuck"] for run in runs),
    **told(watched.stalls),
  }


def play(minutes: float, checkpoint: Path | None) -> dict[str, Any]:
  """A session in simultaneous mode: the player plays, the model joins in."""
  from magenta_midi.live.protocol.controls import Controls
  from magenta_midi.live.session import LiveSession
  from magenta_midi.live.session_events import MessageReceived
  from magenta_midi.live.session_settings import SessionSettings
  from magenta_midi.testing.port_player import PortPlayer

  times: list[int] = []
  sent: list[int] = []

  def handle(event: "SessionEvent") -> None:
    if isinstance(event, MessageReceived) and is_note_on(event.message.data):
      times.append(event.message.time_ns)

  settings = SessionSettings(
    checkpoint=str(checkpoint) if checkpoint else None,
    controls=Controls(mode="simultaneous"),
  )
  draw = random.Random(1)
  with (
    Watched() as watched,
    contextlib.closing(PortPlayer()) as player,
  ):
    began = time.monotonic()
    with LiveSession(settings, on_event=handle) as session:
      session.wait_until_ready()
      ready_s = time.monotonic() - began
      player.connect()
      first_ns = time.perf_counter_ns() - session.now_ns()
      end = time.monotonic() + 60 * minutes
      while time.monotonic() < end:
        key = draw.choice((48, 52, 55, 60, 62, 64, 67))
        sent.append(time.perf_counter_ns() - first_ns)
        for message in (note_on(1, key, 70), note_off(1, key)):
          player.send(message)
          until = time.monotonic() + 0.1
          while time.monotonic() < until:
            session.poll()
            player.listen()
            time.sleep(0.005)
      session.poll()
    player.rest(0.5)
    stuck, out = len(player.sounding), len(player.onsets)
  late = [b - a for a, b in zip(sent, times, strict=False)]
  return {
    "minutes": minutes,
    "ready_s": round(ready_s, 2),
    "notes_in": len(sent),
    "received": len(times),
    "latest_ms": round(max(late, default=0) / 1e6, 1),
    "notes_out": out,
    "stuck_notes": stuck,
    **told(watched.stalls),
  }


def idle(minutes: float) -> dict[str, Any]:
  """The same server with four clients of JACK's own, which only listen."""
  # They are killed after the server has ended.
  with contextlib.ExitStack() as stack, Watched() as watched:
    for _ in range(CLIENTS):
      client = subprocess.Popen(
        ["jack_midi_dump"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
      )
      stack.callback(client.wait)
      stack.callback(client.kill)
    time.sleep(60 * minutes)
  return {"minutes": minutes, "clients": CLIENTS, **told(watched.stalls)}


def told(stalls: Stalls) -> dict[str, Any]:
  """Figures of stalls."""
  times, given_up = stalls
  return {
    "stalls": len(times),
    "stalled_s": round(sum(seconds for _, seconds in times), 1),
    "stalls_of_1_s": sum(seconds > 1 for _, seconds in times),
    "given_up": given_up,
    "longest_s": round(max((s for _, s in times), default=0.0), 2),
  }


def spread(values: list[float]) -> dict[str, float]:
  """Median, 99th percentile and largest; empty where there are none."""
  if not values:
    return {}
  ordered = sorted(values)
  high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
  return {
    "p50": round(statistics.median(ordered), 2),
    "p99": round(high, 2),
    "max": round(ordered[-1], 2),
  }


def table(report: dict[str, Any]) -> str:
  """As Markdown."""
  lines = ["| part | figure | value |", "|---|---|---|"]
  for part, facts in report.items():
    if isinstance(facts, dict):
      lines += [f"| {part} | {name} | {facts[name]} |" for name in facts]
  return "\n".join(lines)


@click.command(help=help_of(__doc__))
@click.option(
  "--starts", "count", type=bounded(COUNT_FROM_0), default=20, show_default=True
)
@click.option(
  "--minutes",
  type=bounded(AMOUNT),
  default=1.0,
  show_default=True,
  help="Of play, after them.",
)
@click.option(
  "--idle",
  "idle_minutes",
  type=bounded(AMOUNT),
  default=1.0,
  show_default=True,
  help="Minutes of JACK's own clients only, which tell what the machine does.",
)
@click.option(
  "--load",
  type=bounded(COUNT_FROM_0),
  default=4,
  show_default=True,
  help="Processes that compute.",
)
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint [default: the embedded checkpoint].",
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  count: int,
  minutes: float,
  idle_minutes: float,
  load: int,
  checkpoint: Path | None,
  file: Path | None,
) -> None:
  """Measures, and prints a table and one line of JSON."""
  report: dict[str, Any] = {"load": load, "cores": os.cpu_count()}
  with one_line_errors(), busy(load):
    if count:
      report["starts"] = starts(count)
    if minutes:
      report["play"] = play(minutes, checkpoint)
    if idle_minutes:
      report["idle"] = idle(idle_minutes)
  click.echo(table(report))
  if file is not None:
    write_atomically(file, json.dumps(report, indent=1) + "\n")
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
