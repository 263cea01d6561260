"""Load on `serve`: many clients that play, and one that does not read.

    python -m tools.server.load --clients 8 --sessions 2 --minutes 10

Starts a server with a tiny model (or --embedded) in a process of its own. Each
client plays phrases in `simultaneous` mode for some seconds, leaves, and comes
again; where the server is full it asks again later. One more client never
reads. Reports what was lost, what was left sounding, how long a key takes to
the engine and back, and the server's memory. The last line is JSON.
"""

import asyncio
import contextlib
import json
import multiprocessing
import random
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT, MINUTES
from magenta_midi.server.duets.note_frames import MODEL, NOTES, PLAYER
from tools.help_text import help_of

_HEADER, _RECORD = struct.Struct("<BBH"), struct.Struct("<dB3s")
# A visit, and the pause before a client that was refused asks again.
_VISIT_S, _PAUSE_S = 40.0, 2.0
# A key and its echo: later ones count as lost.
_ECHO_S = 10.0


class Figures:
  """What all clients measured."""

  def __init__(self) -> None:
    self.visits = self.refused = self.lost = self.stuck = 0
    self.sent = self.heard = 0
    self.trips_ms: list[float] = []
    self.slow_closed: int | None = None


class Player:
  """One visit of a client."""

  def __init__(self, url: str, figures: Figures, random_: random.Random):
    self.url, self.figures, self.random = url, figures, random_
    self.waiting: list[float] = []
    self.down: set[int] = set()
    self.phase = asyncio.Event()
    self.ended = False

  async def visit(self, seconds: float) -> bool:
    """Plays so long; returns whether there was room."""
    async with connect(self.url) as socket:
      await socket.send(json.dumps({"type": "hello", "version": 1}))
      first = json.loads(await socket.recv())
      if first["type"] == "full":
        self.figures.refused += 1
        return False
      self.figures.visits += 1
      reader = asyncio.create_task(self._read(socket))
      try:
        async with asyncio.timeout(300):
          await self.phase.wait()
        change = {"type": "change", "name": "mode", "value": "simultaneous"}
        await socket.send(json.dumps(change))
        await self._play(socket, time.monotonic() + seconds)
        await asyncio.sleep(1.0)
        await socket.send(json.dumps({"type": "bye"}))
        async with asyncio.timeout(60):
          await reader
      finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    self.figures.lost += len(self.waiting)
    self.figures.stuck += len(self.down)
    return True

  async def _play(self, socket: Any, until_s: float) -> None:
    while time.monotonic() < until_s:
      key = self.random.randrange(48, 84)
      for data in (bytes((0x90, key, 70)), bytes((0x80, key, 64))):
        record = _RECORD.pack(float("nan"), 3, data)
        self.waiting.append(time.monotonic())
        self.figures.sent += 1
        await socket.send(_HEADER.pack(NOTES, PLAYER, 1) + record)
        await asyncio.sleep(0.1)

  async def _read(self, socket: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
      async for message in socket:
        if isinstance(message, bytes):
          who = message[1]
          for _, _, data in _RECORD.iter_unpack(message[4:]):
            self._hear(who, data)
        elif '"phase":"ready"' in message:
          self.phase.set()

  def _hear(self, who: int, data: bytes) -> None:
    kind, key, velocity = data[0] >> 4, data[1], data[2]
    if who == PLAYER and self.waiting:
      trip_s = time.monotonic() - self.waiting.pop(0)
      self.figures.trips_ms.append(1000 * trip_s)
      if trip_s > _ECHO_S:
        self.figures.lost += 1
    elif who == MODEL and kind == 9 and velocity:
      self.figures.heard += 1
      self.down.add(key)
    elif who == MODEL and kind in (8, 9):
      self.down.discard(key)


async def _client(
  number: int, url: str, figures: Figures, until_s: float
) -> None:
  random_ = random.Random(number)
  while time.monotonic() < until_s:
    player = Player(url, figures, random_)
    left_s = until_s - time.monotonic()
    if not await player.visit(min(_VISIT_S, left_s)):
      await asyncio.sleep(_PAUSE_S)


async def _slow_client(url: str, figures: Figures) -> None:
  """Says hello, plays on, and never reads."""
  while True:
    async with connect(url, max_queue=1, ping_interval=None) as socket:
      await socket.send(json.dumps({"type": "hello", "version": 1}))
      first = json.loads(await socket.recv())
      if first["type"] == "full":
        await asyncio.sleep(_PAUSE_S)
        continue
      socket.transport.pause_reading()
      began_s = time.monotonic()
      note = _HEADER.pack(NOTES, PLAYER, 1) + _RECORD.pack(
        float("nan"), 3, b"\x90\x3c\x40"
      )
      with contextlib.suppress(ConnectionClosed, OSError):
        while time.monotonic() - began_s < 600:
          await socket.send(note)
          await asyncio.sleep(0.2)
      figures.slow_closed = round(time.monotonic() - began_s)
      return


def _serve(
  checkpoint: str | None, sessions: int, takes: str, port: Any
) -> None:
  from magenta_midi.server.serving import Server
  from magenta_midi.server.settings import ServerSettings

  server = Server(
    ServerSettings(
      port=0,
      sessions=sessions,
      checkpoint=checkpoint,
      takes=Path(takes),
      spare_s=0.0,
      lost_s=2.0,
    ),
    lambda address: port.put(address),
  )
  server.run()


def _tiny(folder: Path) -> str:
  from magenta_midi.model.checkpoint import save_checkpoint
  from magenta_midi.testing import tiny_generator

  model = tiny_generator(parts=9).model
  save_checkpoint(folder, model, codec={"name": "note"})
  return str(folder)


def _megabytes(pid: int | None) -> float:
  """Memory of a process alone, MB."""
  with contextlib.suppress(OSError):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
      if line.startswith("VmRSS"):
        return int(line.split()[1]) / 1024
  return 0.0


async def _run(
  url: str, clients: int, minutes: float, pid: int | None, slow: bool
) -> dict[str, Any]:
  figures, until_s = Figures(), time.monotonic() + 60 * minutes
  memory: list[float] = []
  slow_task = None
  if slow:
    slow_task = asyncio.create_task(_slow_client(url, figures))
  tasks = [
    asyncio.create_task(_client(n, url, figures, until_s))
    for n in range(clients)
  ]
  everything = asyncio.gather(*tasks)
  while not everything.done():
    memory.append(_megabytes(pid))
    await asyncio.wait([everything], timeout=5)
  await everything
  if slow_task is not None:
    slow_task.cancel()
    await asyncio.gather(slow_task, return_exceptions=True)
  quarter = max(1, len(memory) // 4)
  trips = np.array(figures.trips_ms or [np.nan])
  return {
    "clients": clients,
    "minutes": minutes,
    "visits": figures.visits,
    "refused": figures.refused,
    "notes_sent": figures.sent,
    "notes_lost": figures.lost,
    "notes_heard": figures.heard,
    "notes_stuck": figures.stuck,
    "echo_ms_p50": round(float(np.percentile(trips, 50)), 2),
    "echo_ms_p99": round(float(np.percentile(trips, 99)), 2),
    "server_mb_early": round(float(np.median(memory[quarter : 2 * quarter])), 1)
    if len(memory) > 3
    else None,
    "server_mb_late": round(float(np.median(memory[-quarter:])), 1),
    "slow_client_closed_after_s": figures.slow_closed,
  }


@click.command(help=help_of(__doc__))
@click.option("--clients", type=bounded(COUNT), default=8, show_default=True)
@click.option("--sessions", type=bounded(COUNT), default=2, show_default=True)
@click.option("--minutes", type=bounded(MINUTES), default=10, show_default=True)
@click.option("--embedded", is_flag=True, help="The embedded model.")
@click.option("--no-slow", is_flag=True, help="Without the slow client.")
def main(
  clients: int, sessions: int, minutes: float, embedded: bool, no_slow: bool
) -> None:
  """Runs the load."""
  context = multiprocessing.get_context("spawn")
  with tempfile.TemporaryDirectory() as folder:
    checkpoint = None if embedded else _tiny(Path(folder, "tiny"))
    port = context.Queue()
    # No daemon: its sessions have processes of their own.
    server = context.Process(
      target=_serve, args=(checkpoint, sessions, f"{folder}/takes", port)
    )
    server.start()
    try:
      address = port.get(timeout=120)
      url = address.replace("http", "ws") + "api/socket"
      found = asyncio.run(_run(url, clients, minutes, server.pid, not no_slow))
      takes = list(Path(folder, "takes").glob("*/session.json"))
    finally:
      server.terminate()
      server.join(60)
    found["takes_saved"] = len(takes)
    found["takes_in_all"] = len(
      list(Path(folder, "takes").glob("*/session.json"))
    )
  for name, value in found.items():
    click.echo(f"{name:28} {value}")
  click.echo(json.dumps(found))


if __name__ == "__main__":
  main()
