"""Jobs that no player waits for: music without playing, and sound."""

import asyncio
import contextlib
import dataclasses
import secrets
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

from magenta_midi.server.jobs.child import Child

__all__ = ["MAX_WAITING", "MAX_WAV_S", "Busy", "Generated", "Jobs"]

# Jobs that wait for the one that runs.
MAX_WAITING = 4
MAX_WAV_S = 20 * 60.0
_KEPT = 16
# Of a child without work: it holds a model.
_IDLE_S = 300.0
# Types of a job's last message.
_LAST = ("done", "error", "cancelled")
_DIED = "the job ended unexpectedly; the server's log says why."


class Busy(ValueError):
  """Too many jobs wait."""


@dataclasses.dataclass(frozen=True)
class Generated:
  """Music that was generated: its id, and its MIDI file."""

  id: str
  path: Path


class Jobs:
  """Runs jobs one at a time in a child; closed by the server."""

  def __init__(self, module: str = "magenta_midi.server.jobs.studio"):
    self._child = Child(module)
    self._folder = Path(tempfile.mkdtemp(prefix="magenta-midi-"))
    self._turn = asyncio.Lock()
    self._waiting = 0
    self._generated: OrderedDict[str, Generated] = OrderedDict()
    self._idle: asyncio.TimerHandle | None = None
    self._tasks: set[asyncio.Task[None]] = set()

  async def close(self) -> None:
    """Ends the child and removes what was made."""
    if self._idle is not None:
      self._idle.cancel()
    for task in list(self._tasks):
      task.cancel()
    await asyncio.gather(*self._tasks, return_exceptions=True)
    await self._child.end()
    shutil.rmtree(self._folder, ignore_errors=True)

  def find(self, id: str) -> Generated:
    """Music that was generated.

    Raises:
      KeyError: There is none of that id any more.
    """
    return self._generated[id]

  def check_room(self) -> None:
    """Refuses a job where too many wait.

    Raises:
      Busy: They do.
    """
    if self._waiting >= MAX_WAITING:
      raise Busy("other jobs wait already; try again in a minute.")

  async def generate(self, wanted: dict[str, Any]) -> AsyncGenerator[Any, None]:
    """Generates music: the child's messages, the last with an id.

    Args:
      wanted: Fields of the job, with names as the engine takes them.
    """
    id = secrets.token_hex(8)
    path = self._folder / f"{id}.mid"
    job = wanted | {"job": "generate", "out": str(path)}
    async with contextlib.aclosing(self._run(job)) as messages:
      async for message in messages:
        if message["type"] == "done":
          self._keep(Generated(id, path))
          message["id"] = id
        yield message

  def _keep(self, made: Generated) -> None:
    self._generated[made.id] = made
    while len(self._generated) > _KEPT:
      _, old = self._generated.popitem(last=False)
      for suffix in (".mid", ".wav"):
        old.path.with_suffix(suffix).unlink(missing_ok=True)

  async def render(self, midi: Path, name: str) -> Path:
    """Renders a MIDI file as WAV, once.

    Args:
      midi: The file.
      name: Of the result, within the folder of the jobs.

    Raises:
      ValueError: It cannot be done; one line says why.
    """
    out = self._folder / f"{name}.wav"
    if out.is_file() and out.stat().st_mtime >= midi.stat().st_mtime:
      return out
    self.check_room()
    job = {
      "job": "render",
      "midi": str(midi),
      "out": str(out),
      "longest_s": MAX_WAV_S,
    }
    async for message in self._run(job):
      if message["type"] == "error":
        raise ValueError(message["text"])
    self._forget_sounds(out)
    return out

  def _forget_sounds(self, newest: Path) -> None:
    """A WAV of twenty minutes has 200 MB: few are kept."""
    found = sorted(
      (path for path in self._folder.glob("*.wav") if path != newest),
      key=lambda path: path.stat().st_mtime,
    )
    for path in found[: max(0, len(found) - 3)]:
      path.unlink(missing_ok=True)

  async def _run(
    self, job: dict[str, Any]
  ) -> AsyncGenerator[dict[str, Any], None]:
    """The messages of a job; closing it cancels the job."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    gone = asyncio.Event()
    # A task of its own: the end of a connection cancels all that it waits for,
    # and what the child still says must be read before the next job.
    self._keep_task(self._work(job, messages, gone))
    try:
      while True:
        message = await messages.get()
        yield message
        if message["type"] in _LAST:
          return
    finally:
      gone.set()

  async def _work(
    self,
    job: dict[str, Any],
    messages: asyncio.Queue[dict[str, Any]],
    gone: asyncio.Event,
  ) -> None:
    self._waiting += 1
    try:
      if self._turn.locked():
        messages.put_nowait({"type": "queued"})
      async with self._turn:
        if gone.is_set():
          return
        if self._idle is not None:
          self._idle.cancel()
        await self._talk(job, messages, gone)
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(_IDLE_S, self._end_idle)
    finally:
      self._waiting -= 1

  async def _talk(
    self,
    job: dict[str, Any],
    messages: asyncio.Queue[dict[str, Any]],
    gone: asyncio.Event,
  ) -> None:
    """Hands a job to the child, and its messages on."""
    canceller = asyncio.create_task(self._cancel_when(gone))
    try:
      await self._child.start()
      await self._child.send(job)
      while (message := await self._child.receive()) is not None:
        messages.put_nowait(message)
        if message["type"] in _LAST:
          return
    except OSError:
      pass
    finally:
      canceller.cancel()
    await self._child.end()
    messages.put_nowait({"type": "error", "text": _DIED})

  async def _cancel_when(self, gone: asyncio.Event) -> None:
    await gone.wait()
    with contextlib.suppress(OSError):
      await self._child.send({"cancel": True})

  def _keep_task(self, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    self._tasks.add(task)
    task.add_done_callback(self._tasks.discard)

  def _end_idle(self) -> None:
    self._keep_task(self._child.end())
