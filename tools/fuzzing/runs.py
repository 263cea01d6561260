"""Runs of a kind of file in processes of its own, with limits for each input.

A process reports each input before it reads it and after. One that does not
answer, or ends, is replaced, and its input is counted.
"""

import collections
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from tools.fuzzing.kinds import KINDS

__all__ = ["Limits", "Outcome", "Tally", "run_kind"]

# Failures that are described.
_SHOWN = 40
# A process is ended when it has not answered for so many times the limit.
_PATIENCE = 4
# Inputs handed out at once.
_BLOCK = 50
# Address space beyond that of the modules, in multiples of the memory limit:
# allocators reserve more than they use.
_ADDRESSES = 6
# The longest message of an error.
_MESSAGE = 20_000


class Limits(NamedTuple):
  """What one input may take."""

  seconds: float
  memory_mb: int


class Outcome(NamedTuple):
  """What became of one input.

  Attributes:
    number: Of the input.
    result: `read`, `refused`, `crash`, `hang` or `memory`.
    detail: The error; empty for `read`.
    seconds: Time of reading.
    grown_mb: The most memory that reading took, beyond what there was.
  """

  number: int
  result: str
  detail: str
  seconds: float
  grown_mb: float


class Tally(NamedTuple):
  """Figures of a kind."""

  kind: str
  inputs: int
  read: int
  refused: int
  crashes: int
  hangs: int
  over_memory: int
  seconds: float
  slowest_s: float
  slowest_input: int
  peak_mb: float
  peak_input: int
  # One line each.
  failures: list[str]


class _TimeUp(BaseException):
  """The limit of time has passed; no reader catches it."""


def run_kind(
  kind: str,
  numbers: range,
  *,
  seed: int,
  limits: Limits,
  jobs: int,
  keep: Path | None = None,
  keep_all: bool = False,
  on_progress: Callable[[int], None] = lambda done: None,
) -> Tally:
  """Makes and reads inputs.

  Args:
    kind: One of `KINDS`.
    numbers: Of the inputs.
    seed: An input depends on it and its number alone.
    limits: Of each input.
    jobs: Processes.
    keep: Folder for the inputs that fail; None: they are not kept.
    keep_all: Whether all are kept.
    on_progress: Called with the number of inputs done.
  """
  started = time.monotonic()
  blocks = collections.deque(
    numbers[at : at + _BLOCK] for at in range(0, len(numbers), _BLOCK)
  )
  outcomes: list[Outcome] = []
  settings = (kind, seed, limits, keep, keep_all)
  context = multiprocessing.get_context("spawn")
  workers: dict[Connection, _Worker] = {}

  def start() -> None:
    worker = _Worker(context, settings)
    workers[worker.connection] = worker

  for _ in range(jobs):
    start()
  try:
    while workers:
      for ready in wait(list(workers), timeout=0.5):
        worker = workers[ready]  # pyright: ignore
        try:
          message = ready.recv()  # pyright: ignore
        except EOFError:
          _lost(worker, "crash", blocks, outcomes)
          del workers[ready]  # pyright: ignore
          if blocks:
            start()
          continue
        worker.heard_at = time.monotonic()
        if isinstance(message, Outcome):
          outcomes.append(message)
          worker.number = None
          on_progress(len(outcomes))
        elif isinstance(message, int):
          worker.number = message
        elif blocks:
          worker.give(blocks.popleft())
        else:
          worker.end()
          del workers[ready]  # pyright: ignore
      for connection, worker in list(workers.items()):
        patience = max(_PATIENCE * limits.seconds, 5.0)
        if worker.number is not None and worker.silent_s > patience:
          _lost(worker, "hang", blocks, outcomes)
          del workers[connection]
          start()
  finally:
    for worker in workers.values():
      worker.end()
  return _tally(kind, outcomes, time.monotonic() - started)


class _Worker:
  """One process, and what it is at."""

  def __init__(self, context: Any, settings: tuple):
    self.connection, theirs = context.Pipe()
    self.process = context.Process(
      target=_work, args=(theirs, *settings), daemon=True
    )
    self.process.start()
    theirs.close()
    self.number: int | None = None
    self.block = range(0)
    self.heard_at = time.monotonic()

  @property
  def silent_s(self) -> float:
    return time.monotonic() - self.heard_at

  def give(self, block: range) -> None:
    self.block = block
    self.connection.send(block)

  def end(self) -> None:
    self.process.kill()
    self.process.join()
    self.connection.close()


def _lost(
  worker: _Worker,
  result: str,
  blocks: collections.deque,
  outcomes: list[Outcome],
) -> None:
  """Counts the input that a process was lost at; gives back the others."""
  silent_s = worker.silent_s
  if result == "crash":
    worker.process.join()
  worker.end()
  if worker.number is None:
    raise RuntimeError(
      f"a process ended before its first input, with code"
      f" {worker.process.exitcode}."
    )
  detail = f"the process ended with code {worker.process.exitcode}"
  if result == "hang":
    detail = "did not answer"
  outcomes.append(Outcome(worker.number, result, detail, silent_s, 0.0))
  rest = [number for number in worker.block if number > worker.number]
  if rest:
    blocks.appendleft(range(rest[0], rest[-1] + 1))


def _tally(kind: str, outcomes: list[Outcome], seconds: float) -> Tally:
  counts = collections.Counter(outcome.result for outcome in outcomes)
  slowest = max(outcomes, key=lambda outcome: outcome.seconds)
  peak = max(outcomes, key=lambda outcome: outcome.grown_mb)
  bad = sorted(o for o in outcomes if o.result not in ("read", "refused"))
  return Tally(
    kind,
    len(outcomes),
    counts["read"],
    counts["refused"],
    counts["crash"],
    counts["hang"],
    counts["memory"],
    round(seconds, 1),
    round(slowest.seconds, 3),
    slowest.number,
    round(peak.grown_mb, 1),
    peak.number,
    [f"input {o.number}: {o.result}: {o.detail}" for o in bad[:_SHOWN]],
  )


# In the process --------------------------------------------------------------


def _work(
  connection: Connection,
  name: str,
  seed: int,
  limits: Limits,
  keep: Path | None,
  keep_all: bool,
) -> None:
  """Reads blocks of inputs until it is ended."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ["HOME"] = home = tempfile.mkdtemp(prefix="fuzzing-")
  # What readers print is of no interest.
  sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
  kind = KINDS[name]
  folder = Path(home) / "x"
  folder.mkdir()
  made = kind.make(folder)
  errors = tuple(map(_error_named, kind.errors))
  _read_once(kind, folder, made, seed)
  _limit_addresses(limits)
  try:
    while True:
      connection.send(None)
      for number in connection.recv():
        connection.send(number)
        path = kind.write(folder, made, _rng(name, seed, number))
        outcome = _outcome(kind, folder, number, errors, limits)
        if keep is not None and (keep_all or _failed(outcome)):
          keep.mkdir(parents=True, exist_ok=True)
          target = keep / f"{name}-{seed}-{number}{path.suffix}"
          if path.exists():
            shutil.copyfile(path, target)
        connection.send(outcome)
  except (EOFError, OSError):
    pass
  finally:
    shutil.rmtree(home, ignore_errors=True)


def _failed(outcome: Outcome) -> bool:
  return outcome.result not in ("read", "refused")


def _rng(name: str, seed: int, number: int) -> random.Random:
  return random.Random(f"{name} {seed} {number}")


def _read_once(kind: Any, folder: Path, made: Any, seed: int) -> None:
  """Imports what readers import late, so that no input is blamed for it."""
  for number in range(-20, 0):
    kind.write(folder, made, _rng("first", seed, number))
    with contextlib.suppress(Exception):
      kind.read(folder)


def _outcome(
  kind: Any,
  folder: Path,
  number: int,
  errors: tuple[type[Exception], ...],
  limits: Limits,
) -> Outcome:
  signal.signal(signal.SIGALRM, _time_up)
  before_mb = _memory_mb(reset=True)
  result, detail = "read", ""
  started = time.monotonic()
  signal.setitimer(signal.ITIMER_REAL, limits.seconds)
  try:
    kind.read(folder)
  except _TimeUp:
    result, detail = "hang", f"more than {limits.seconds:g} s"
  except MemoryError:
    result, detail = "memory", "the address space was full"
  except errors as error:
    result, detail = _judged(error)
  except Exception as error:
    result, detail = "crash", _described(error)
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
  seconds = time.monotonic() - started
  grown_mb = max(0.0, _memory_mb() - before_mb)
  if result in ("read", "refused") and grown_mb > limits.memory_mb:
    result, detail = "memory", f"{grown_mb:.0f} MB"
  return Outcome(number, result, detail, seconds, grown_mb)


def _judged(error: Exception) -> tuple[str, str]:
  """A documented error is refused as one only if it is one short line."""
  text = str(getattr(error, "message", error))
  if isinstance(error, UnicodeError | json.JSONDecodeError):
    return "crash", _described(error)
  if "\n" in text or len(text) > _MESSAGE:
    return "crash", f"a message of {len(text)} characters: {text[:200]!r}"
  return "refused", text[:200]


def _described(error: Exception) -> str:
  place = traceback.extract_tb(error.__traceback__)[-1]
  where = f"{Path(place.filename).name}:{place.lineno}"
  return f"{type(error).__name__} at {where}: {str(error)[:200]!r}"


def _error_named(name: str) -> type[Exception]:
  """An error by `module:name`."""
  module, _, attribute = name.partition(":")
  return getattr(importlib.import_module(module), attribute)


def _time_up(*_: object) -> None:
  raise _TimeUp


def _limit_addresses(limits: Limits) -> None:
  pages = int(Path("/proc/self/statm").read_text().split()[0])
  now = pages * resource.getpagesize()
  most = now + _ADDRESSES * limits.memory_mb * 2**20
  resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _memory_mb(*, reset: bool = False) -> float:
  """The most memory so far, since the last reset, MB (resident)."""
  if reset:
    with open("/proc/self/clear_refs", "w") as file:
      file.write("5")
  with open("/proc/self/status") as file:
    for row in file:
      if row.startswith("VmHWM:"):
        return int(row.split()[1]) / 1000
  return 0.0
